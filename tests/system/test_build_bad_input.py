"""Bad input: each kind with a clear error at the right place, and nothing left behind."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from private_namespace import run_privately
from small_image import ROOT_PARTITION, Project, file, shell

from goldsmith.host.process import find_tool

pytestmark = pytest.mark.root


@pytest.fixture
def project(tmp_path, goldsmith, small_tree):
    return Project(tmp_path, small_tree, goldsmith)


def place_of(text: str, marked: str) -> str:
    """The line and column at which `marked` first stands in a template, as errors write them."""
    before = text[: text.index(marked)]
    return f"t.pkr.hcl:{before.count(chr(10)) + 1}:{len(before) - before.rfind(chr(10))}"


def carets(said: str, place: str) -> str:
    """What the caret line of the error at a place marks."""
    lines = said.splitlines()
    at = next(number for number, line in enumerate(lines) if f" {place}" in line)
    excerpt, marks = lines[at + 1], lines[at + 2]
    assert re.fullmatch(r" *\^+ *", marks), said
    return excerpt[marks.index("^") : marks.rindex("^") + 1]


# ---- what the template says


def test_a_syntax_error(project):
    text = project.write().replace('source "image" "small" {', 'source "image" "small" = {')
    (project.path / "t.pkr.hcl").write_text(text)
    said = project.failed()
    assert place_of(text, "= {") in said
    assert carets(said, place_of(text, "= {")) == "="


@pytest.mark.parametrize(
    ("options", "marked", "words"),
    [
        ('frmats = ["raw"]', "frmats", ['"frmats" is not expected here', 'Did you mean "formats"']),
        ("formats = 3", "3\n", ["formats", "list of string"]),
        ('formats = ["raw"]\n  hostname = ["a"]', '["a"]', ["hostname", "string required"]),
        ('formats = ["row"]', '"row"', ["row", "raw"]),
        ('formats = ["raw", "iso"]', '"iso"', ["iso"]),
        ("formats = [var.absent]", "absent", ['no variable "absent"']),
        ('formats = ["raw"]\n  dsk {\n  }', "dsk", ['"dsk" are not expected', 'mean "disk"']),
    ],
)
def test_a_wrong_option(project, options, marked, words):
    text = project.write(options=options)
    said = project.failed()
    place = place_of(text, marked)
    assert f" {place}" in said, said
    assert carets(said, place).startswith(marked.strip())
    assert all(word in said for word in words), said


def test_several_errors_at_once(project):
    text = project.write(
        '  provisioner "shel" {\n    inline = ["true"]\n  }\n'
        + file(source="absent", destination="/x")
        + '  provisioner "shell" {\n    inlin = ["true"]\n  }\n',
        options='formats = ["raw"]\n  hostname = "-bad-"\n  sise = 3',
        more='  post-processor "cheksum" {}\n',
    )
    said = project.failed()
    wrong = ('"-bad-"', "sise", 'provisioner "shel"', '"absent"', "inlin =", "post-processor")
    places = [place_of(text, marked) for marked in wrong]
    assert [place for place in places if f" {place}" not in said] == [], said
    assert len(re.findall(r"^Error: ", said, re.MULTILINE)) >= len(places)
    for near in ("shell", "checksum", "inline"):
        assert f'Did you mean "{near}"' in said or f'did you mean "{near}"' in said, said


def test_arguments_that_exclude_each_other(project):
    both = '    inline = ["true"]\n    script = "t.pkr.hcl"\n'
    text = project.write(f'  provisioner "shell" {{\n{both}  }}\n')
    said = project.failed()
    assert place_of(text, 'provisioner "shell"') in said
    assert "exactly one of inline, script and scripts" in said
    assert 'value for ""' not in said


NUL = "x\\u0000"


@pytest.mark.parametrize(
    "block",
    [
        f'  provisioner "file" {{\n    source = "{NUL}"\n    destination = "/x"\n  }}\n',
        f'  provisioner "file" {{\n    content = ""\n    destination = "{NUL}"\n  }}\n',
        f'  provisioner "shell" {{\n    inline = ["true", "{NUL}"]\n  }}\n',
        f'  provisioner "shell" {{\n    inline = ["true"]\n    env = {{ A = "{NUL}" }}\n  }}\n',
        f'  post-processor "checksum" {{\n    output = "{NUL}"\n  }}\n',
    ],
)
def test_a_nul_where_none_can_be(project, block):
    project.write(block)
    said = project.failed()
    assert "t.pkr.hcl:" in said
    assert "can hold the character NUL" in said


def test_two_builds_that_make_the_same_file(project):
    text = project.write(options='formats = ["raw"]\n  image_name = "same"')
    source, builds = text[: text.index("build {")], text[text.index("build {") :]
    text = (
        source
        + source.replace('"small"', '"other"')
        + builds.replace('["source.image.small"]', '["source.image.small", "source.image.other"]')
    )
    (project.path / "t.pkr.hcl").write_text(text)
    said = project.failed()
    assert re.search(r'"image.small" and "image.other" both\s+write', said)
    assert "same.raw" in said
    assert place_of(text, 'source "image" "other"') in said


def test_an_unset_variable(project):
    before = 'variable "nom" {\n  type = string\n}\n'
    text = project.write(options="hostname = var.nom", before=before)
    said = project.failed()
    assert place_of(text, 'variable "nom"') in said
    assert "-var" in said
    project.write(options='hostname = var.nom\n  formats = ["raw"]', before=before)
    project.built("-var", "nom=golden")


def test_a_variable_of_the_wrong_type(project):
    project.write(before='variable "n" {\n  type = number\n}\n')
    said = project.failed("-var", "n=many")
    assert "number" in said
    assert '"n"' in said or "var.n" in said


def test_an_unknown_source(project):
    text = project.write().replace("source.image.small", "source.image.smal")
    (project.path / "t.pkr.hcl").write_text(text)
    said = project.failed()
    place = place_of(text, '"source.image.smal"')
    assert carets(said, place) == '"source.image.smal"'
    assert 'mean "image.small"' in said


def test_an_unknown_type_of_source(project):
    text = project.write().replace('"image"', '"imag"').replace("source.image.", "source.imag.")
    (project.path / "t.pkr.hcl").write_text(text)
    said = project.failed()
    assert place_of(text, 'source "imag"') in said
    assert 'mean "image"' in said


def test_a_missing_template(project):
    said = project.failed()
    assert "t.pkr.hcl" in said


def test_the_file_of_a_file_provisioner_is_missing(project):
    text = project.write(file(source="no such", destination="/x"))
    said = project.failed()
    place = place_of(text, '"no such"')
    assert carets(said, place) == '"no such"'
    assert str(project.path) in said


def test_the_archive_is_missing_or_no_tree(project):
    project.write(tree=project.path / "absent.tar")
    assert "absent.tar" in project.failed()
    (project.path / "not.tar").write_text("this is no archive\n" * 100)
    project.write(tree=project.path / "not.tar")
    assert "tar archive" in project.failed()


# ---- layouts


DATA = '    partition "data" {\n      type = "data"\n      size = "%s"\n%s    }\n'
EXT4 = '      filesystem = "ext4"\n      mount = "/srv"\n'


@pytest.mark.parametrize(
    ("disk", "marked", "words"),
    [
        (ROOT_PARTITION + ROOT_PARTITION.replace('"root" {', '"two" {'), None,
         ['more than one partition of type "root"']),
        (DATA % ("60%", EXT4) + ROOT_PARTITION.replace("100%", "50%"), None, ["110"]),
        (ROOT_PARTITION.replace("ext4", "ext5"), '"ext5"', ['"ext5" is not a file system', "ext4"]),
        (ROOT_PARTITION.replace("ext4", "zfs"), '"zfs"', ["zfs"]),
        (ROOT_PARTITION.replace("100%", "many"), '"many"', ["many"]),
        ('    label = "dos"\n' + ROOT_PARTITION, '"dos"', ["dos"]),
        (DATA % ("64MiB", EXT4), None, ['no partition of type "root"']),
        (ROOT_PARTITION.replace('"root"\n', '"rot"\n'), '"rot"', ["rot"]),
    ],
)  # fmt: skip
def test_an_impossible_layout(project, disk, marked, words):
    text = project.write(disk=disk)
    said = project.failed()
    assert "t.pkr.hcl:" in said
    assert all(word in said for word in words), said
    if marked is not None:
        assert carets(said, place_of(text, marked)) == marked


def test_a_disk_that_is_too_small(project):
    project.write(disk='    size = "2MiB"\n' + ROOT_PARTITION)
    said = project.failed()
    assert 'partition "root"' in said
    assert "auto" in said


def test_firmware_without_its_partition(project):
    text = project.write(options='formats = ["raw"]')
    text = text.replace("firmware = []", 'firmware = ["uefi"]')
    (project.path / "t.pkr.hcl").write_text(text)
    said = project.failed()
    assert "esp" in said
    assert "t.pkr.hcl:" in said


@pytest.mark.parametrize("target", ["/etc", "../../etc/passwd", "/proc/1/root/etc", "/absent"])
def test_a_mount_point_that_is_a_link(project, target):
    # Followed outside of the tree it would fill the partition with files of this host.
    disk = DATA % ("auto", EXT4.replace("/srv", "/data")) + ROOT_PARTITION
    project.write(shell(f"ln -s {target} /data"), disk=disk)
    assert "/data cannot be a mount point" in project.failed()


def test_a_mount_point_below_a_link(project):
    disk = DATA % ("auto", EXT4.replace("/srv", "/alias/passwd")) + ROOT_PARTITION
    project.write(shell("ln -s /etc /alias"), disk=disk)
    assert "/alias/passwd cannot be a mount point" in project.failed()


# ---- packages


APT = """source "image" "small" {
  bootstrap {
    method   = "apt"
    suite    = "%s"
    mirror   = "%s"
    packages = ["%s"]
  }
  disk {
%s  }
  firmware = []
  formats  = ["raw"]
}
build {
  sources = ["source.image.small"]
}
"""


def suite_of_host() -> str:
    release = Path("/etc/os-release").read_text()
    return re.search(r"^VERSION_CODENAME=(\w+)", release, re.MULTILINE).group(1)


def write_apt(project, suite="", mirror="", package="bash"):
    text = APT % (suite or suite_of_host(), mirror, package, ROOT_PARTITION)
    (project.path / "t.pkr.hcl").write_text(text)


def test_what_cannot_be_a_package(project):
    write_apt(project, package='bash", "--allow-unauthenticated')
    said = project.failed()
    place = place_of((project.path / "t.pkr.hcl").read_text(), '"--allow')
    assert carets(said, place) == '"--allow-unauthenticated"'


def test_a_suite_that_this_host_does_not_know(project):
    write_apt(project, suite="nosuch")
    said = project.failed()
    assert "'nosuch'" in said
    assert suite_of_host() in said


@pytest.fixture
def empty_mirror():
    """An HTTP server on loopback that has nothing."""
    import http.server
    import threading

    class Nothing(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_error(404)

        def log_message(self, *words):
            """Nobody reads it."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Nothing) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/debian"
        server.shutdown()
        thread.join()


WITHOUT_PROXY = {name: "" for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY")}


def test_a_mirror_without_the_suite(project, empty_mirror):
    write_apt(project, mirror=empty_mirror)
    said = project.failed(env={**WITHOUT_PROXY, "no_proxy": "127.0.0.1"})
    assert "does not have a Release file" in said
    assert "mirror has no such suite" in said


def test_a_mirror_that_cannot_be_reached(project):
    with socket.socket() as closed:
        # Bound and not listening: connections are refused, and nobody else gets the port.
        closed.bind(("127.0.0.1", 0))
        write_apt(project, mirror=f"http://127.0.0.1:{closed.getsockname()[1]}/debian")
        said = project.failed(env={**WITHOUT_PROXY, "no_proxy": "127.0.0.1"})
    assert "mirror cannot be reached" in said
    assert "Connection refused" in said


@pytest.mark.network
def test_a_package_that_does_not_exist(project):
    write_apt(project, package="no-such-package-at-all")
    said = project.failed()
    assert "E: Unable to locate package no-such-package-at-all" in said
    assert "spelling" in said


# ---- the host


@contextlib.contextmanager
def small_disk(path: Path, size: str) -> Iterator[Path]:
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", path], check=True)
    try:
        yield path
    finally:
        subprocess.run(["umount", path], check=True)
        path.rmdir()


@pytest.mark.parametrize("formats", ['["raw"]', '["qcow2"]', '["qcow2", "raw"]'])
def test_the_disk_of_the_output_is_full(project, formats):
    project.write(options=f"formats = {formats}")
    with small_disk(project.output, "1M"):
        said = project.failed()
        assert list(project.output.iterdir()) == []
        assert f"file system at {project.output} is full" in said


def test_the_disk_of_the_state_is_full(project):
    project.write(shell("cat /dev/zero > /big"))
    with small_disk(project.path / "full", "48M") as project.state:
        said = project.failed()
        assert "No space left on device" in said or "is full" in said


def test_the_disk_of_the_state_is_full_while_unpacking(project):
    project.write()
    with small_disk(project.path / "full", "1M") as project.state:
        said = project.failed()
        assert "No space left on device" in said
        assert "free space" in said


def test_the_state_directory_cannot_be_made(project):
    project.write()
    (project.path / "file").write_text("")
    said = project.failed(env={"GOLDSMITH_CACHE_DIR": str(project.path / "file")})
    assert "GOLDSMITH_CACHE_DIR" in said


@pytest.mark.parametrize(
    ("tool", "package", "made"),
    [("mkfs.ext4", "e2fsprogs", "raw"), ("qemu-img", "qemu-utils", "vmdk")],
)
def test_a_tool_is_missing(project, tool, package, made):
    project.write(options=f'formats = ["{made}"]')

    def without():
        # PATH cannot hide it: the system's own directories always count.
        while place := find_tool(tool):
            subprocess.run(["mount", "--bind", "/dev/null", place], check=True)
        return project.failed()

    said = run_privately(without)
    assert f"{tool} is not installed" in said
    assert f"apt-get install {package}" in said


def test_not_root(project):
    project.write()
    argv = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups",
            # pytest's directories are root's own.
            "--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search",
            sys.executable, "-m", "goldsmith", "build", "t.pkr.hcl"]  # fmt: skip
    env = {**os.environ, "GOLDSMITH_CACHE_DIR": str(project.state)}
    done = subprocess.run(
        argv, cwd=project.path, capture_output=True, text=True, check=False, env=env
    )
    said = done.stdout + done.stderr
    assert done.returncode == 1, said
    assert "building an image without root needs a user namespace" in said
    assert "usermod --add-subuids" in said and "run the same command as root" in said
    assert "Traceback" not in said
    assert not project.output.exists()
    assert not project.state.exists()


@pytest.mark.parametrize("name", ["small.raw", "small.manifest.json"])
def test_a_foreign_file_is_in_the_way(project, name):
    project.write()
    project.output.mkdir()
    project.image(name).write_text("precious")
    said = project.failed()
    assert str(project.image(name)) in said
    assert "-force" in said
    assert project.image(name).read_text() == "precious"
    project.built("-force")
    assert project.image(name).stat().st_size > 100


def test_an_output_of_ours_that_was_changed_is_foreign(project):
    project.write()
    project.built()
    with project.image().open("r+b") as image:
        image.write(b"mine now")
    assert "-force" in project.failed()


@pytest.mark.parametrize("place", ["t.pkr.hcl", "t.pkr.hcl/below", "/proc/below"])
def test_the_output_directory_cannot_be_made(project, place):
    project.write(options=f'formats = ["raw"]\n  output_directory = "{place}"')
    said = project.failed()
    assert place in said
    assert "choose another output_directory" in said


def test_a_directory_is_where_the_output_goes(project):
    project.write()
    project.image().mkdir(parents=True)
    for flags in ((), ("-force",)):
        said = project.failed(*flags)
        assert f"{project.image()} is a directory" in said


@pytest.mark.parametrize("place", ["t.pkr.hcl/below", "/proc/below", "folder"])
def test_a_post_processor_cannot_write(project, place):
    (project.path / "folder").mkdir()
    project.write(more=f'  post-processor "checksum" {{\n    output = "{place}"\n  }}\n')
    result = project.build()
    assert result.status == 1
    assert "Traceback" not in result.stdout + result.stderr
    assert place.removesuffix("/below") in result.stdout
    assert project.leftovers() == []
    # The image itself is good, and stays.
    assert project.manifest()["files"].keys() == {"small.raw"}


@pytest.mark.parametrize("place", ["t.pkr.hcl/below", "/proc/below"])
@pytest.mark.parametrize("source", ["/etc/passwd", "/etc/", "/etc"])
def test_a_download_cannot_be_written(project, place, source):
    project.write(file(direction="download", source=source, destination=place))
    said = project.failed()
    assert place.removesuffix("/below") in said


# ---- provisioners that misbehave


def test_a_provisioner_fails(project):
    project.write(shell("echo to the user", "echo why >&2", "exit 3", "touch /never"))
    said = project.failed()
    assert "==> image.small: to the user" in said
    assert "==> image.small: why" in said
    assert "exit status: 3" in said


def test_a_provisioner_does_not_find_its_command(project):
    project.write(shell("no-such-command --now"))
    said = project.failed()
    assert "no-such-command" in said
    assert "127" in said


def test_a_provisioner_hangs(project):
    project.write(shell("echo before", "sleep 1000", more='    timeout = "2s"'))
    said = project.failed()
    assert "before" in said
    assert "did not end within its timeout of 2 s" in said


def test_a_provisioner_hangs_and_ignores_signals(project):
    stubborn = "trap '' INT TERM HUP; while :; do sleep 1000; done"
    project.write(shell(stubborn, more='    timeout = "1s"'))
    assert "timeout of 1 s" in project.failed()


def test_a_provisioner_leaves_a_daemon_behind_and_fails(project):
    daemon = "setsid sh -c 'trap \"\" INT TERM HUP; echo I live > /daemon; sleep 1000' &"
    project.write(shell(daemon, "until [ -s /daemon ]; do sleep 0.01; done", "exit 1"))
    assert "exit status: 1" in project.failed()


def test_a_provisioner_leaves_a_daemon_behind_and_succeeds(project):
    daemon = "setsid sh -c 'trap \"\" INT TERM HUP; echo I live > /daemon; sleep 1000' &"
    project.write(shell(daemon, "until [ -s /daemon ]; do sleep 0.01; done"))
    project.built()


def test_a_provisioner_is_killed(project):
    project.write(shell("kill -KILL $$"))
    said = project.failed()
    assert "exit status: 137" in said
    assert "signal 9" in said


def test_a_provisioner_kills_all_that_it_can(project):
    project.write(shell("kill -KILL -1"))
    said = project.failed()
    assert "exit status: 137" in said or "signal 9" in said


def test_a_failed_download_leaves_no_file(project):
    project.write(file(direction="download", source="/absent", destination="absent"))
    assert "/absent" in project.failed()
