"""Which plugins count, and how they are started: as packer 1.16.0 decided, row by row."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
import sys
from pathlib import Path

import pytest

from goldsmith.cli.requirements import Requirements
from goldsmith.errors import GoldsmithError, Position, SourceRange
from goldsmith.plugin.described import parse_description
from goldsmith.plugin.discovery import system_name
from goldsmith.plugin.remote.catalogue import Catalogue
from goldsmith.plugin.remote.configuration import RunSettings
from goldsmith.plugin.remote.session import Session
from goldsmith.template.hcl2.required_plugins import RequiredPlugin

DATA = Path(__file__).parent / "data"
ROWS = json.loads((DATA / "plugin_acceptance.json").read_text())
NAMES = {
    "accessor differs": "other-img",
    "default name": "gp",
    "ConfigSpec fails in the plugin": "gp-gp",
}
"""The source type of a row's template where it was not gp-img."""
ENCODING_BY_PLUGIN = {"unrelated old plugin"}
"""Packer speaks gob with all when one cannot do better; we speak with each as it can."""
WAITED_FOR = {"wrapper script without exec: its child keeps stderr open"}
"""Packer hangs there; we end the whole group of processes."""

PLUGIN = """\
from goldsmith.plugin import Builder, NoOptions, PluginSet


class Image(Builder[NoOptions]):
    def run(self, ui, hooks):
        return None


PluginSet(version="1.2.3", builders={"img": Image, "": Image}).serve()
"""
NOWHERE = SourceRange("t.pkr.hcl", Position(1, 1, 0), Position(1, 1, 0))


@pytest.fixture(scope="module")
def programs(tmp_path_factory):
    """The programs that the rows' scripts start: a plugin, and one on an SDK before protobuf."""
    place = tmp_path_factory.mktemp("programs")
    (place / "plugin.py").write_text(PLUGIN)
    start = f'exec {shlex.quote(sys.executable)} {shlex.quote(str(place / "plugin.py"))} "$@"\n'
    refuse = 'case "$*" in *--protobuf*) exit 1;; esac\n'
    for name, text in (("goplug", start), ("goplug054", refuse + start)):
        (place / name).write_text(f"#!/bin/sh\n{text}")
        (place / name).chmod(0o755)
    return place


def install(plugin, directory, programs, log):
    """One of a row's files, with its checksum file."""
    path = directory / plugin["file"].replace("linux_amd64", system_name())
    path.parent.mkdir(parents=True, exist_ok=True)
    printed = plugin["describe_prints"]
    if printed.startswith("{"):
        printed = f"echo {shlex.quote(printed)}"
    elif match := re.search(r"\{.*\}", printed):
        printed = printed.replace(match[0], shlex.quote(match[0]))
    start = plugin["start"].replace("/combo.argv", str(log))
    path.write_text(
        f'#!/bin/sh\nPATH={programs}:$PATH\nif [ "$1" = describe ]; then {printed}; exit; fi\n'
        f'echo "$*" >>{log}\n{start}\n'
    )
    path.chmod(0o755)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    given = plugin["sum_file"]
    if given is not None:
        text = (
            digest if given == "right" else
            digest.upper() if "upper case" in given else
            digest[:32] if "first 32" in given else given.replace("<sha256>", digest)
        )  # fmt: skip
        path.with_name(path.name + "_SHA256SUM").write_text(text)
    return path


def required(row):
    for accessor, rest in row["required"]:
        source, version = re.findall(r'"([^"]*)"', rest)
        yield RequiredPlugin(accessor, source, version, NOWHERE)


def accepted(row, environment):
    """Whether a template with that row's requirements could be prepared here."""
    catalogue = Catalogue(environment)
    requirements = Requirements(catalogue)
    settings = RunSettings(core_version="1.16.0")
    try:
        if any(requirements.remedy(one) for one in required(row)):
            return False
        place = catalogue.find("builder", NAMES.get(row["case"], "gp-img"))
        if place is None:
            return False
        with Session(settings).passing_use(place) as use, use.phase("prepare"):
            use.component.config_spec()
            use.component.prepare([{}])
    except GoldsmithError:
        return False
    return True


@pytest.mark.parametrize("row", ROWS, ids=[row["case"] for row in ROWS])
def test_a_plugin_counts_where_it_does_for_packer(row, programs, tmp_path):
    directory, log = tmp_path / "plugins", tmp_path / "argv"
    log.write_text("")
    paths = [install(one, directory, programs, log) for one in row["installed"]]
    if row["case"] == "not executable":
        paths[0].chmod(0o644)
    place = str(directory)
    if row["case"] == "two dirs in PACKER_PLUGIN_PATH":
        place = f"{directory}:{tmp_path}"
    environment = {"PACKER_PLUGIN_PATH": place, **row["environment"]}
    was_accepted = accepted(row, environment)
    started = [line for line in log.read_text().splitlines() if line.startswith("start ")]
    if row["case"] in WAITED_FOR:
        assert was_accepted
        return
    assert was_accepted == row["accepted"]
    if row["case"] in ENCODING_BY_PLUGIN:
        assert started == ["start builder --protobuf img"]
        return
    wanted = [line for line in row["started_with"] if line.startswith("start ")]
    assert started == wanted[: len(started)]
    assert bool(started) == bool(wanted)


@pytest.mark.parametrize("name", json.loads((DATA / "plugin_describe.json").read_text()))
def test_what_real_plugins_say_of_themselves_is_read(name):
    recorded = json.loads((DATA / "plugin_describe.json").read_text())[name]
    description = parse_description(recorded["stdout"], name)
    assert description.api_version == "x5.0"
    assert any(description.components.values())
