"""shell-local and post-processors in builds of images: on the host's files, outside of the tree."""

from __future__ import annotations

import json
import tarfile
import time
import zipfile
from pathlib import Path

import pytest
from small_image import Project, hcl, shell

pytestmark = pytest.mark.root


@pytest.fixture
def project(tmp_path, goldsmith, small_tree):
    return Project(tmp_path, small_tree, goldsmith)


def local(*commands: str, more: str = "") -> str:
    """A shell-local provisioner of these commands."""
    lines = ", ".join(map(hcl, commands))
    return f'  provisioner "shell-local" {{\n    inline = [{lines}]\n{more}  }}\n'


UPLOAD = (
    '  provisioner "file" {\n    source = "made"\n    destination = "/made"\n'
    "    generated = true\n  }\n"
)


def read(name):
    return lambda tree: (tree / name).read_bytes() if (tree / name).exists() else None


def test_it_works_on_the_hosts_files_between_two_provisioners(project):
    project.write(
        shell("echo in the tree > /tree-only")
        + local("echo $PACKER_BUILD_NAME $PACKER_BUILDER_TYPE > made", "[ ! -e /tree-only ]", "pwd")
        + UPLOAD
        + shell("cat /made > /seen")
    )
    result = project.built()
    assert f"==> image.small: {project.path}\n" in result.stdout
    assert project.look(read("seen")) == b"small image\n"
    assert (project.path / "made").read_text() == "small image\n"


def test_it_makes_no_layer_and_no_other_image(project):
    epoch = {"SOURCE_DATE_EPOCH": "1700000000"}
    project.write(shell("echo x > /x"))
    project.built(env=epoch)
    first = project.manifest()
    project.write(local("date > made") + shell("echo x > /x"))
    project.built(env=epoch)
    assert project.manifest()["files"] == first["files"]
    assert project.manifest()["inputs_sha256"] == first["inputs_sha256"]


def test_it_runs_again_when_it_fails_and_its_error_is_the_builds(project):
    project.write(local("echo try", "exit 3", more="    max_retries = 2\n"))
    said = project.failed()
    assert said.count("==> image.small: try\n") == 3
    assert "exit status: 3" in said


def test_a_timeout_kills_what_it_started(project):
    marker = f"3{time.time_ns() % 10**6}"
    command = f"(trap '' TERM INT; sleep {marker}) & sleep {marker}"
    project.write(local(command, more='    timeout = "300ms"\n'))
    assert "did not end within its timeout of 0.3 s" in project.failed()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                assert marker.encode() not in (entry / "cmdline").read_bytes().split(b"\0")
            except FileNotFoundError:
                continue


def test_an_image_and_builds_on_threads_in_one_command(project):
    more = '  source "source.null.n" {}\n'
    before = 'source "null" "n" {\n  communicator = "none"\n}\n'
    only = '    only = ["image.small"]\n'
    project.write(
        shell("echo x > /x", more=only) + local("echo from ${source.type}").replace("$$", "$"),
        more=more, before=before,
    )  # fmt: skip
    said = project.built().stdout
    assert "==> image.small: from image\n" in said
    assert "==> null.n: from null\n" in said
    assert project.look(read("x")) == b"x\n"
    assert "Time of image.small by step" in said
    assert "Time of null.n by step" not in said


def test_the_run_is_the_same_in_all_places(project):
    commands = ("echo $PACKER_RUN_UUID > one", "echo ${build.PackerRunUUID} > two")
    project.write(
        local(*commands).replace("$$", "$"),
        more='  post-processor "manifest" {}\n  post-processor "shell-local" {\n'
        '    inline = ["echo $PACKER_RUN_UUID > three"]\n  }\n',
    )
    project.built()
    seen = {(project.path / name).read_text().strip() for name in ("one", "two", "three")}
    seen.add(json.loads((project.path / "packer-manifest.json").read_text())["last_run_uuid"])
    assert len(seen) == 1
    assert len(seen.pop()) == 36


def test_an_image_and_its_manifest_can_be_archived(project):
    project.write(
        shell("echo x > /x"),
        more='  post-processor "compress" {\n    output = "small.tar.gz"\n'
        "    keep_input_artifact = true\n  }\n",
    )
    said = project.built().stdout
    assert "==> image.small (compress): Archive small.tar.gz completed\n" in said
    with tarfile.open(project.path / "small.tar.gz") as box:
        assert box.getnames() == ["small.raw", "small.manifest.json"]
        assert box.extractfile("small.raw").read() == project.image().read_bytes()


def test_without_a_wish_the_archive_replaces_the_image(project):
    project.write(
        shell("echo x > /x"), more='  post-processor "compress" {\n    output = "s.zip"\n  }\n'
    )
    project.built()
    assert [path.name for path in project.output.iterdir()] == []
    with zipfile.ZipFile(project.path / "s.zip") as box:
        assert box.namelist() == ["small.raw", "small.manifest.json"]
