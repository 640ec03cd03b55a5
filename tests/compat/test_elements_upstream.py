"""Upstream's own programs beside ours: dependencies, and the order of a phase's scripts."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from goldsmith.elements import catalog, expansion, hooks, run_parts

PACKAGE = catalog.upstream_package()
EXPAND = """
import json, sys
from diskimage_builder import element_dependencies
asked = json.load(sys.stdin)
answers = []
for names in asked:
    try:
        answers.append(sorted(name for name, _ in element_dependencies.get_elements(names)))
    except Exception as e:
        answers.append(type(e).__name__)
json.dump(answers, sys.stdout)
"""
SYSTEMS = ("debian-minimal", "ubuntu-minimal", "fedora-minimal", "gentoo", "rhel")


@pytest.fixture(scope="module")
def upstream():
    assert PACKAGE is not None, "the extra `elements` is not installed"
    return catalog.Catalog.read(catalog.search_directories(""))


def test_every_element_of_upstream_brings_the_same_ones(upstream):
    # Upstream refuses an element that is named twice.
    asked = [
        [system, name] for system in SYSTEMS for name in sorted({*upstream.elements} - {system})
    ]
    run = subprocess.run(
        [sys.executable, "-c", EXPAND], input=json.dumps(asked), capture_output=True, text=True,
        check=True, timeout=600,
        env={**os.environ, "ELEMENTS_PATH": str(PACKAGE / "elements")},
    )  # fmt: skip
    for names, theirs in zip(asked, json.loads(run.stdout), strict=True):
        try:
            ours = sorted(expansion.expand(upstream, names).names)
        except catalog.ElementError:
            assert isinstance(theirs, str), (names, theirs)
        else:
            assert ours == theirs, names


def test_hooks_of_one_image_have_no_duplicates(upstream):
    names = expansion.asked_for(["vm", "debian-minimal", "cloud-init", "growroot"])
    merged = hooks.merge(expansion.expand(upstream, names).elements)
    assert merged.element_of("root.d/08-debootstrap") == "debootstrap"


NAMES = (
    "100-x", "5x", "10-b", "10-a", "nonum", "01_q", "9-z", "ABC", "foo.sh", "10-c~", "-5-minus",
    "007", "7-x", "7", "_x", "0x10", "1e3-x", "10", "9", "a b",
)  # fmt: skip


def test_the_real_program_lists_the_same_scripts(tmp_path):
    phase = tmp_path / "install.d"
    phase.mkdir()
    for name in NAMES:
        (phase / name).write_text("#!/bin/sh\n")
        (phase / name).chmod(0o755)
    (phase / "20-plain").write_text("")
    program = Path(PACKAGE) / "lib/dib-run-parts"
    run = subprocess.run(
        ["/bin/bash", program, "--list", phase], capture_output=True, text=True, check=True
    )
    theirs = [Path(line).name for line in run.stdout.splitlines()]
    assert list(run_parts.scripts_of(phase).scripts) == theirs
