"""Plugins installed from programs, directories and wheels; required, locked and removed."""

from __future__ import annotations

import json
import zipfile

import pytest
from plugin_programs import described, file_name, old_component, program, python_program, summed

SOURCE = "example.com/ours/greet"
MODULE = """\
from goldsmith.plugin import NoOptions, Options, PluginSet, PostProcessor, DataSource, Builder


class Said(Options):
    text: str = "hello"


class Words(DataSource[Said, Said]):
    def execute(self):
        return Said(text=self.options.text + "!")


class Nothing(Builder[NoOptions]):
    def run(self, ui, hooks):
        ui.say("built nothing")


plugins = PluginSet(
    version="%s", builders={"nothing": Nothing}, datasources={"words": Words}
)
"""
TEMPLATE = """\
packer {
  required_plugins {
    greet = {
      source  = "example.com/ours/greet"
      version = "%s"
    }
  }
}
data "greet-words" "w" {
  text = "good day"
}
source "greet-nothing" "a" {}
build {
  sources = ["greet-nothing.a"]
}
locals {
  heard = data.greet-words.w.text
}
"""


@pytest.fixture
def env(tmp_path):
    return {"PACKER_PLUGIN_PATH": str(tmp_path / "plugins")}


def wheel(path, version="1.0.0"):
    """A wheel with that plugin, as `pip wheel` would make it."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("greet_plugin.py", MODULE % version)
        archive.writestr(
            f"greet-{version}.dist-info/METADATA",
            f"Metadata-Version: 2.1\nName: greet\nVersion: {version}\n",
        )
        archive.writestr(
            f"greet-{version}.dist-info/entry_points.txt",
            "[goldsmith.plugins]\ngreet = greet_plugin:plugins\n",
        )
    return path


def greet(path, version):
    """A program with that plugin."""
    return python_program(path, MODULE % version + "plugins.serve()\n")


def installed(goldsmith, env):
    return goldsmith("plugins", "installed", env=env, check=True).stdout.split()


def test_a_wheel_is_installed_used_and_removed(goldsmith, env, tmp_path):
    made = wheel(tmp_path / "greet-1.0.0-py3-none-any.whl")
    goldsmith("plugins", "install", "-path", made, SOURCE, env=env, check=True)
    made.unlink()
    (path,) = installed(goldsmith, env)
    assert path.endswith(f"{SOURCE}/{file_name('greet', '1.0.0')}")
    (tmp_path / "t.pkr.hcl").write_text(TEMPLATE % ">= 1")
    goldsmith("init", "t.pkr.hcl", env=env, check=True)
    assert json.loads((tmp_path / ".goldsmith.lock.json").read_text())["plugins"][SOURCE]
    result = goldsmith("build", "t.pkr.hcl", env=env, check=True)
    assert "built nothing" in result.stdout
    assert "no artifacts were created" in result.stdout
    goldsmith("plugins", "remove", SOURCE, env=env, check=True)
    assert installed(goldsmith, env) == []
    assert [p for p in (tmp_path / "plugins").rglob("*") if p.is_file()] == []
    assert "Missing plugin" in goldsmith("build", "t.pkr.hcl", env=env).stdout


def test_a_wheel_that_is_changed_does_not_run(goldsmith, env, tmp_path):
    made = wheel(tmp_path / "greet-1.0.0-py3-none-any.whl")
    goldsmith("plugins", "install", "-path", made, SOURCE, env=env, check=True)
    (kept,) = (tmp_path / "plugins").rglob("*.whl")
    wheel(kept, "1.0.1")
    (tmp_path / "t.pkr.hcl").write_text(TEMPLATE % ">= 1")
    assert goldsmith("validate", "t.pkr.hcl", env=env).status == 1


def test_a_directory_is_searched_for_the_program_of_this_host(goldsmith, env, tmp_path):
    place = tmp_path / "unpacked"
    summed(greet(place / file_name("greet", "2.0.0"), "2.0.0"))
    program(place / "packer-plugin-greet_v2.0.0_x5.0_plan9_mips", "")
    goldsmith("plugins", "install", "-path", place, SOURCE, ">= 2", env=env, check=True)
    assert installed(goldsmith, env)[0].endswith(file_name("greet", "2.0.0"))
    refused = goldsmith("plugins", "install", "-path", place, SOURCE, "< 2", env=env)
    assert "does not suit" in refused.stdout
    again = goldsmith("plugins", "install", "-path", place, SOURCE, env=env)
    assert "-force" in again.stdout
    goldsmith("plugins", "install", "-force", "-path", place, SOURCE, env=env, check=True)


def test_what_is_not_what_its_checksum_says_is_not_installed(goldsmith, env, tmp_path):
    place = tmp_path / "unpacked"
    path = summed(greet(place / file_name("greet", "2.0.0"), "2.0.0"))
    path.write_text(path.read_text() + "# changed\n")
    for origin in (place, path):
        refused = goldsmith("plugins", "install", "-path", origin, SOURCE, env=env)
        assert refused.status == 1
        assert "checksum" in refused.stdout
    assert installed(goldsmith, env) == []


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 broken", b"#!/bin/sh\nexit 1\n"])
def test_what_is_no_plugin_is_not_installed(goldsmith, env, tmp_path, content):
    for name in ("a.whl", "packer-plugin-greet"):
        (tmp_path / name).write_bytes(content)
        (tmp_path / name).chmod(0o755)
        refused = goldsmith("plugins", "install", "-path", tmp_path / name, SOURCE, env=env)
        assert refused.status == 1
        assert "Traceback" not in refused.stdout + refused.stderr
    assert installed(goldsmith, env) == []


def test_the_lock_file_decides_until_it_is_upgraded(goldsmith, env, tmp_path):
    old = greet(tmp_path / "packer-plugin-greet", "1.0.0")
    goldsmith("plugins", "install", "-path", old, SOURCE, env=env, check=True)
    (tmp_path / "t.pkr.hcl").write_text(TEMPLATE % ">= 1")
    goldsmith("init", "t.pkr.hcl", env=env, check=True)
    greet(old, "1.5.0")
    goldsmith("plugins", "install", "-path", old, SOURCE, env=env, check=True)
    goldsmith("validate", "t.pkr.hcl", env=env, check=True)
    goldsmith("plugins", "remove", SOURCE, "= 1.0.0", env=env, check=True)
    missing = goldsmith("validate", "t.pkr.hcl", env=env)
    assert missing.status == 1
    assert "locks v1.0.0" in " ".join(missing.stdout.split())
    goldsmith("init", "-upgrade", "t.pkr.hcl", env=env, check=True)
    goldsmith("validate", "t.pkr.hcl", env=env, check=True)
    (tmp_path / ".goldsmith.lock.json").write_text("[]")
    broken = goldsmith("validate", "t.pkr.hcl", env=env)
    assert broken.status == 1
    assert "is no lock file" in broken.stdout


def test_a_changed_single_program_is_refused_by_its_checksum(goldsmith, env, tmp_path):
    path = summed(old_component(tmp_path / "plugins", "provisioner", "shell-local"))
    (tmp_path / "t.pkr.hcl").write_text(
        'source "null" "a" {\n  communicator = "none"\n}\nbuild {\n  sources = ["null.a"]\n'
        '  provisioner "shell-local" {\n    inline = ["true"]\n  }\n}\n'
    )
    goldsmith("validate", "t.pkr.hcl", env=env, check=True)
    path.write_text(path.read_text() + "# changed\n")
    refused = goldsmith("validate", "t.pkr.hcl", env=env)
    assert refused.status == 1
    assert "is not what" in refused.stdout


def test_a_plugin_that_describes_itself_wrongly_is_not_there(goldsmith, env, tmp_path):
    place = tmp_path / "plugins/example.com/ours/greet"
    text = described("9.9.9", builders=["nothing"])
    summed(program(place / file_name("greet", "1.0.0"), f"#!/bin/sh\necho '{text}'\n"))
    (tmp_path / "t.pkr.hcl").write_text(TEMPLATE % ">= 1")
    result = goldsmith("validate", "t.pkr.hcl", env=env)
    assert result.status == 1
    assert "Missing plugin" in result.stdout
