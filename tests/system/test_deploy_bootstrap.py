"""Bootstrap images from their input to a root that can be mounted; files out of /boot's image."""

import json
import subprocess
import tarfile

import pytest
import yaml

from goldsmith.deploy.bootstrap_image import take_boot_files
from goldsmith.errors import GoldsmithError

UUID = "8d1b0f4e-2c0e-4d53-9a1f-1f6b2b1a0001"


@pytest.fixture
def boot_image(tmp_path):
    """Makes an ext2 of files (name -> content), with a link and a directory beside them."""

    def make(**files):
        tree = tmp_path / "boot"
        (tree / "grub").mkdir(parents=True)
        (tree / "vmlinuz.old").symlink_to("vmlinuz-1")
        for name, content in files.items():
            (tree / name.replace("_", "-").replace("initrd-", "initrd.img-")).write_bytes(content)
        image = tmp_path / "boot.img"
        argv = ["mkfs.ext2", "-q", "-d", tree, image, "4M"]
        subprocess.run(argv, check=True, capture_output=True)
        return image

    return make


def test_kernel_and_initramfs_come_out_as_they_are(boot_image, tmp_path):
    kernel, initramfs = bytes(range(256)) * 700, b"0707" * 5000
    image = boot_image(vmlinuz_6=kernel, initrd_6=initramfs, config_6=b"x")
    take_boot_files(image, tmp_path)
    assert (tmp_path / "vmlinuz").read_bytes() == kernel
    assert (tmp_path / "initrd.img").read_bytes() == initramfs


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"vmlinuz_5": b"a", "vmlinuz_6": b"b", "initrd_6": b"c"}, "vmlinuz-5, vmlinuz-6"),
        ({"initrd_6": b"c"}, "exactly one vmlinuz.*none"),
        ({"vmlinuz_6": b"b"}, "exactly one initrd.*none"),
        ({"vmlinuz_6 x": b"b", "initrd_6": b"c"}, "not a plain file name"),
    ],
)
def test_anything_but_one_kernel_is_refused(boot_image, tmp_path, files, message):
    with pytest.raises(GoldsmithError, match=message):
        take_boot_files(boot_image(**files), tmp_path)


def bootstrap_input(tmp_path, **changes):
    data = {
        "repos": [{"name": "debian", "uri": "", "suite": "bookworm", "section": "main"}],
        "packages": ["linux-image-cloud-amd64", "systemd-sysv", "live-boot",
                     "live-boot-initramfs-tools", "xz-utils", "zstd"],
        "root_password": "a wonderful secret",
        "output": str(tmp_path / "bootstrap.tar.gz"),
        "bootstrap": {"uuid": UUID, "label": "site A", "extend_kopts": "quiet"},
        **changes,
    }  # fmt: skip
    place = tmp_path / "input.json"
    place.write_text(json.dumps(data))
    return place


def test_what_cannot_be_made_is_said_before_anything_is_done(goldsmith, tmp_path):
    wrong = {"uuid": "x", "extra_files": ["/no/such"], "certs": ["/no/ca.pem"], "colour": 1}
    place = bootstrap_input(tmp_path, bootstrap={**wrong, "uuid": UUID, "colour": 1})
    done = goldsmith("fa-mkbootstrap", "--input_data_file", place)
    assert done.status == 255
    assert "bootstrap.colour: there is no such key" in done.stderr
    del wrong["colour"]
    place = bootstrap_input(tmp_path, bootstrap={**wrong, "uuid": UUID})
    done = goldsmith("fa-mkbootstrap", "--input_data_file", place)
    assert done.status == 255
    assert "bootstrap.extra_files.0: there is no directory /no/such" in done.stderr
    assert "bootstrap.certs.0: there is no file /no/ca.pem" in done.stderr
    (tmp_path / "bootstrap.tar.gz").write_text("in the way")
    done = goldsmith("fa-mkbootstrap", "--input_data_file", bootstrap_input(tmp_path))
    assert (done.status, "is there already" in done.stderr) == (255, True)
    assert "wonderful" not in done.stdout + done.stderr


def test_import_is_told_of_what_it_needs(goldsmith, tmp_path):
    archive = tmp_path / "x.tar.gz"
    archive.write_bytes(b"no archive")
    done = goldsmith("fa-mkbootstrap", "--import", archive)
    assert (done.status, "--into DIRECTORY" in done.stderr) == (255, True)
    done = goldsmith("fa-mkbootstrap", "--import", archive, "--into", tmp_path)
    assert (done.status, "not a whole tar.gz" in done.stderr) == (255, True)


@pytest.mark.root
@pytest.mark.network
@pytest.mark.nightly
def test_a_bootstrap_image_has_all_that_was_asked_for(goldsmith, tmp_path, own_places):
    extra = tmp_path / "extra"
    (extra / "etc").mkdir(parents=True)
    (extra / "etc/site.conf").write_text("site A\n")
    keys, script = tmp_path / "keys", tmp_path / "after.sh"
    keys.write_text("ssh-ed25519 AAAA ops\n")
    script.write_text("#!/bin/bash\ncat /etc/site.conf >/etc/after-ran\n")
    options = {"uuid": UUID, "extra_files": [str(extra)], "post_script_file": str(script),
               "root_ssh_authorized_file": str(keys), "extend_kopts": "quiet"}  # fmt: skip
    place = bootstrap_input(tmp_path, bootstrap=options)
    goldsmith("fa-mkbootstrap", "--input_data_file", place, "--image_build_dir", tmp_path / "work",
              check=True, timeout_s=1800, env={"GOLDSMITH_CACHE_DIR": str(own_places / "cache")}
              )  # fmt: skip
    assert list((tmp_path / "work").iterdir()) == []
    images = tmp_path / "images"
    images.mkdir()
    archive = tmp_path / "bootstrap.tar.gz"
    goldsmith("fa-mkbootstrap", "--import", archive, "--into", images, check=True)
    with tarfile.open(archive) as tar:
        assert sorted(tar.getnames()) == ["initrd.img", "metadata.yaml", "root.squashfs", "vmlinuz"]
    document = yaml.safe_load((images / UUID / "metadata.yaml").read_text())
    assert document["extend_kopts"] == "quiet"
    assert "live-boot" in document["all_packages"]

    def cat(path):
        argv = ["unsquashfs", "-cat", images / UUID / "root.squashfs", path]
        return subprocess.run(argv, check=True, capture_output=True, text=True).stdout

    assert cat("etc/after-ran") == "site A\n"
    assert cat("root/.ssh/authorized_keys") == keys.read_text()
    assert "root:$6$" in cat("etc/shadow")
    assert f"runtime_uuid: {UUID}" in cat("etc/nailgun-agent/config.yaml")
    listed = subprocess.run(["unsquashfs", "-l", images / UUID / "root.squashfs", "boot"],
                            check=True, capture_output=True, text=True).stdout  # fmt: skip
    assert "vmlinuz" not in listed
