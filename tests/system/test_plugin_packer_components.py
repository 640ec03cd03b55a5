"""Components inside the real packer 1.6, as plugins of goldsmith over its own communicators."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import tarfile
import time
from pathlib import Path

import pytest
from plugin_programs import old_component, processes_naming
from small_image import Project, hcl, shell

pytestmark = pytest.mark.root

DEADLINE_S = 60.0


@pytest.fixture
def plugins(tmp_path):
    return tmp_path / "plugins"


@pytest.fixture
def env(plugins):
    return {"PACKER_PLUGIN_PATH": str(plugins)}


@pytest.fixture
def project(tmp_path, goldsmith, small_tree):
    place = tmp_path / "project"
    place.mkdir()
    return Project(place, small_tree, goldsmith)


def wait_until(true, what):
    deadline_s = time.monotonic() + DEADLINE_S
    while not true():
        assert time.monotonic() < deadline_s, what
        time.sleep(0.05)


FILE_TEMPLATE = """\
variable "secret" {
  default   = "swordfish-1"
  sensitive = true
}
source "file" "a" {
  content = "content of a file\\n"
  target  = "a.txt"
}
build {
  sources = ["file.a"]
  provisioner "shell-local" {
    inline = ["echo in $PACKER_BUILD_NAME ${var.secret} >local.txt", "echo told ${var.secret}"]
  }
  post-processors {
    post-processor "checksum" {
      checksum_types = ["md5", "sha256"]
      output         = "a.{{.ChecksumType}}"
    }
    post-processor "manifest" {
      output     = "manifest.json"
      strip_path = true
    }
  }
  post-processor "compress" {
    output              = "a.tar.gz"
    keep_input_artifact = true
  }
}
"""


def results_in(directory: Path) -> dict[str, object]:
    """What the builds of that template left, without times and ids of runs."""
    manifest = json.loads((directory / "manifest.json").read_text())
    for build in manifest["builds"]:
        build["build_time"] = build["packer_run_uuid"] = 0
        build["files"] = sorted(file["name"] for file in build["files"])
    manifest["last_run_uuid"] = ""
    with tarfile.open(directory / "a.tar.gz") as archive:
        names = archive.getnames()
    texts = {
        name: (directory / name).read_text() for name in ("a.txt", "a.md5", "a.sha256", "local.txt")
    }
    return {"manifest": manifest, "archive": names, **texts}


def test_builds_are_the_same_with_components_of_packer(goldsmith, plugins, env, tmp_path):
    for kind, name in (
        ("builder", "file"), ("provisioner", "shell-local"), ("post-processor", "checksum"),
        ("post-processor", "compress"), ("post-processor", "manifest"),
    ):  # fmt: skip
        old_component(plugins, kind, name)
    found = {}
    for name, environment in (("own", {}), ("packers", env)):
        place = tmp_path / name
        place.mkdir()
        (place / "t.pkr.hcl").write_text(FILE_TEMPLATE)
        result = goldsmith("build", "t.pkr.hcl", cwd=place, env=environment, check=True)
        assert "swordfish-1" not in result.stdout + result.stderr
        assert "told <sensitive>" in result.stdout
        found[name] = results_in(place)
    assert found["own"] == found["packers"]
    assert processes_naming(str(plugins)) == []


JSON_TEMPLATE = {
    "variables": {"greeting": "hi"},
    "builders": [{"type": "file", "name": "f", "content": "{{user `greeting`}}", "target": "j"}],
    "provisioners": [
        {"type": "shell-local", "inline": ["echo {{user `greeting`}} {{build_name}} >told"]}
    ],
    "post-processors": [{"type": "checksum", "checksum_types": ["sha1"], "output": "sums"}],
}


def test_json_templates_reach_packers_components_unrendered(goldsmith, plugins, env, tmp_path):
    for kind, name in (
        ("builder", "file"), ("provisioner", "shell-local"), ("post-processor", "checksum"),
    ):  # fmt: skip
        old_component(plugins, kind, name)
    (tmp_path / "t.json").write_text(json.dumps(JSON_TEMPLATE))
    goldsmith("build", "t.json", env=env, check=True)
    assert (tmp_path / "told").read_text() == "hi f\n"
    assert "c22b5f9178342609428d6f51b2c5af4c0bde6a42" in (tmp_path / "sums").read_text()


def test_provisioners_of_packer_work_in_a_tree(project, plugins, env):
    for name in ("shell", "file", "shell-local"):
        old_component(plugins, "provisioner", name)
    (project.path / "big").write_bytes(os.urandom(3_000_000))
    folder = project.path / "folder"
    folder.mkdir()
    (folder / "inside").write_text("deep\n")
    project.write(
        '  provisioner "file" {\n    source = "big"\n    destination = "/opt/big"\n  }\n'
        '  provisioner "file" {\n    source = "folder"\n    destination = "/opt"\n  }\n'
        + shell(
            "sha256sum </opt/big >/opt/sum",
            "echo told $GIVEN; printf 'to stderr' >&2",
            more=f"    environment_vars = [{hcl('GIVEN=by packer')}]",
        )
        + '  provisioner "file" {\n    source = "/opt/sum"\n    destination = "sum"\n'
        '    direction = "download"\n  }\n'
        '  provisioner "shell-local" {\n    inline = ["echo local >local"]\n  }\n'
    )
    result = project.built(env=env)
    assert "told by packer" in result.stdout
    assert "to stderr" in result.stdout
    digest = hashlib.sha256((project.path / "big").read_bytes()).hexdigest()
    assert (project.path / "sum").read_text().split()[0] == digest
    assert (project.path / "local").read_text() == "local\n"

    def looked(tree):
        left = sorted(path.name for path in (tree / "tmp").iterdir())
        return (tree / "opt/folder/inside").read_text(), left

    assert project.look(looked) == ("deep\n", [])


def test_a_failing_script_of_a_plugin_fails_the_build(project, plugins, env):
    old_component(plugins, "provisioner", "shell")
    project.write(shell("echo before", "exit 7"))
    text = project.failed(env=env)
    assert "exit status: 7" in text
    assert "packer-provisioner-shell" in text


def test_a_step_of_a_plugin_runs_each_time_unless_it_has_a_key(project, plugins, env):
    program = old_component(plugins, "provisioner", "shell")
    epoch = {"SOURCE_DATE_EPOCH": "1700000000", **env}
    project.write(shell("echo ran >>/ran; echo it runs"))
    for _ in range(2):
        assert "it runs" in project.built(env=epoch).stdout
    wishes = '    cache_key = "1"\n    cache_ttl = "24h"'
    keyed = shell("echo ran >>/ran; echo it runs", more=wishes)
    project.write(keyed)
    assert "it runs" in project.built(env=epoch).stdout
    assert "it runs" not in project.built(env=epoch).stdout
    with program.open("a") as file:
        file.write("# another program\n")
    assert "it runs" in project.built(env=epoch).stdout
    project.write(keyed.replace("it runs", "it runs anew"))
    assert "it runs anew" in project.built(env=epoch).stdout


def test_what_plugins_refuse_is_shown_where_it_stands(goldsmith, plugins, env, tmp_path):
    for kind, name in (
        ("builder", "file"), ("provisioner", "shell-local"), ("post-processor", "checksum"),
    ):  # fmt: skip
        old_component(plugins, kind, name)
    (tmp_path / "t.pkr.hcl").write_text(
        'source "file" "a" {\n  contnt = "x"\n  target = "a"\n}\n'
        'build {\n  sources = ["file.a"]\n  provisioner "shell-local" {\n    inline = 5\n  }\n'
        '  post-processor "checksum" {\n    checksum_types = ["sha25"]\n  }\n}\n'
    )
    result = goldsmith("validate", "t.pkr.hcl", env=env)
    assert result.status == 1
    text = re.sub(r"\s+", " ", result.stdout)
    assert 'An argument named "contnt" is not expected here. Did you mean "content"?' in text
    assert "t.pkr.hcl:2" in text
    assert 'Inappropriate value for attribute "inline"' in text
    assert "Unrecognized checksum type: sha25" in text


SLEEPING = """\
source "null" "a" {
  communicator = "none"
}
build {
  sources = ["null.a"]
  provisioner "shell-local" {
    inline = ["echo ready >ready; sleep 300"]
  }
}
"""


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGKILL])
def test_nothing_of_a_plugin_outlives_the_command(goldsmith, plugins, env, tmp_path, signum):
    for kind, name in (("builder", "null"), ("provisioner", "shell-local")):
        old_component(plugins, kind, name)
    (tmp_path / "t.pkr.hcl").write_text(SLEEPING)
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    env = {**env, "TMPDIR": str(temporary)}
    with goldsmith.start("build", "t.pkr.hcl", env=env) as running:
        wait_until((tmp_path / "ready").exists, "the script has not begun")
        assert processes_naming(f"PACKER_PLUGIN_PATH={plugins}")
        running.send_signal(signum)
        running.communicate(timeout=DEADLINE_S)
    wait_until(
        lambda: not processes_naming(f"PACKER_PLUGIN_PATH={plugins}"),
        "processes of plugins live on",
    )
    if signum == signal.SIGINT:
        assert list(temporary.iterdir()) == []
