"""The input of bootstrap images: what is refused, and the build that is made of it."""

import pytest

from goldsmith.template.fuel.bootstrap import image_set, provisioners
from goldsmith.template.fuel.bootstrap_input import read_bootstrap_input
from goldsmith.template.fuel.build_input import InputError
from goldsmith.template.fuel.command_line import BuildCommand, is_fuel_command, parse_command

UUID = "8d1b0f4e-2c0e-4d53-9a1f-1f6b2b1a0001"


def data(**bootstrap):
    return {
        "repos": [{"name": "debian", "uri": "", "suite": "bookworm", "section": "main"}],
        "output": "/srv/bootstrap.tar.gz",
        "bootstrap": {"uuid": UUID, **bootstrap},
    }


def refused(given):
    with pytest.raises(InputError) as told:
        read_bootstrap_input(given, "in.json")
    return str(told.value)


@pytest.mark.parametrize(
    ("bootstrap", "message"),
    [
        ({"uuid": "x"}, "in.json: bootstrap.uuid: 'x' is not a UUID"),
        ({"labl": "x"}, 'there is no such key. Did you mean "label"?'),
        ({"extend_kopts": "a\nb"}, "bootstrap.extend_kopts: it has more than one line"),
        ({"modules": [{"name": "kernal"}]}, "bootstrap.modules.0.name: it is 'kernel'"),
        ({"modules": [{"name": "initrd"}] * 2}, "bootstrap.modules: there are several of the name"),
        ({"container": {"format": "zip"}}, "bootstrap.container.format: it is 'tar.gz'"),
        ({"extra_files": ["/no/such"]}, "bootstrap.extra_files.0: there is no directory /no/such"),
        ({"post_script_file": "/no/x"}, "bootstrap.post_script_file: there is no file /no/x"),
    ],
)
def test_what_is_wrong_is_told_with_its_path(bootstrap, message):
    assert message in refused(data(**bootstrap))


def test_a_uuid_and_a_place_on_this_host_are_needed():
    assert "bootstrap.uuid: it is missing" in refused({**data(), "bootstrap": {}})
    assert "bootstrap: it is missing" in refused(
        {k: v for k, v in data().items() if k != "bootstrap"}
    )
    assert "output: it is a file or directory" in refused({**data(), "output": "http://x/y"})


def test_fuel_agents_image_data_is_its_one_root():
    root = {"uri": "http://x/root", "format": "ext4", "container": "raw"}
    assert read_bootstrap_input({**data(), "image_data": {"/": root}}, "in").name == "bootstrap"
    assert "image_data./boot" in refused({**data(), "image_data": {"/boot": root}})


def test_root_and_boot_are_images_of_their_own():
    modules = [{"name": "rootfs", "compress_format": "zstd"}]
    images = image_set(read_bootstrap_input(data(modules=modules), "in"))["image"]
    assert images["/"]["filesystem_options"] == ["-comp", "zstd"]
    assert images["/boot"]["filesystem"] == "ext2"
    assert images["/boot"]["mount_options"] == ["noauto", "nofail"]


def test_files_keys_and_script_become_steps_in_order(tmp_path):
    extra = tmp_path / "files"
    extra.mkdir()
    ca, keys, script = (tmp_path / name for name in ("ca.pem", "keys", "{{after}}.sh"))
    for file in (ca, keys, script):
        file.write_text("x")
    given = data(extra_files=[str(extra)], certs=[str(ca)], root_ssh_authorized_file=str(keys),
                 post_script_file=str(script))  # fmt: skip
    steps = provisioners(read_bootstrap_input(given, "in"))
    files = {options["destination"]: options["source"] for kind, options in steps if kind == "file"}
    assert files["/"] == f"{extra}/"
    assert files["/usr/local/share/ca-certificates/ca.crt"] == str(ca)
    assert str(keys) in files.values()
    assert steps[-1] == ("shell", {"script": str(script).replace("{{", '{{"{{"}}')})
    inline = [line for _, options in steps for line in options.get("inline", ())]
    assert "update-ca-certificates" in inline
    assert any(f"runtime_uuid: {UUID}" in line for line in inline)
    assert any("COMPRESS=xz" in line for line in inline)


def test_both_programs_stand_for_a_template():
    command = BuildCommand("in.json", "/tmp/x y", program="fa-mkbootstrap")
    path = command.as_path()
    assert is_fuel_command(path)
    read = parse_command(path, command.config_files)
    assert (read.program, read.build_directory) == ("fa-mkbootstrap", "/tmp/x y")
    assert not is_fuel_command("fa-mkbootstrapx y")
