"""Upstream's own programs beside ours: dependencies, and the order of a phase's scripts."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from goldsmith.disk.block_devices.checking import check_block_devices
from goldsmith.disk.block_devices.layouts import fstab_text, to_layout
from goldsmith.disk.block_devices.reading import read_block_devices
from goldsmith.disk.layout import check
from goldsmith.elements import catalog, expansion, hooks, run_parts
from goldsmith.elements.lint import lint
from goldsmith.errors import Diagnostics

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


def test_the_real_lint_agrees_on_bad_elements(tmp_path):
    told, ours = [], []
    # It ends at the first list that is not sorted, so that one is an element of its own.
    for name, files in (("bad", BAD_FILES), ("unsorted", UNSORTED)):
        place = tmp_path / name / "element"
        for path, mode, text in files:
            (place / path).parent.mkdir(parents=True, exist_ok=True)
            (place / path).write_text(text)
            (place / path).chmod(mode)
        told += real_lint(place.parent)
        ours += lint(place)
    for finding in ours:
        words = SAYS_UPSTREAM[finding.check]
        assert any(words in line and finding.path.name in line for line in told), finding
    assert {finding.check for finding in ours} == set(SAYS_UPSTREAM)


def test_upstreams_own_elements_have_no_findings(upstream):
    found = [one for name in sorted(upstream.elements) for one in lint(upstream.get(name).path)]
    assert [str(one) for one in found] == []


def real_lint(directory):
    programs = Path(sys.executable).parent
    run = subprocess.run(
        ["/bin/bash", programs / "dib-lint"],
        env={**os.environ, "ELEMENTS_DIR": str(directory), "LIB_DIR": str(directory),
             "PATH": f"{programs}:{os.environ['PATH']}"},
        cwd=directory.parent, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert run.returncode == 1, run.stderr
    return [line for line in run.stdout.splitlines() if line.startswith("ERROR: ")]


BASH = "#!/bin/bash\nset -eu\nset -o pipefail\n: ${DIB_DEBUG_TRACE:-0}\n"
BAD_FILES = (
    ("install.d/10-bits", 0o644, BASH),
    ("install.d/20-indent", 0o755, f"{BASH}  true\n"),
    ("install.d/30-tab", 0o755, f"{BASH}\ttrue\n"),
    ("install.d/40-end", 0o755, f"{BASH}true"),
    ("install.d/50-first", 0o755, BASH.replace("/bin/bash", "/usr/bin/env bash")),
    ("install.d/60-bare", 0o755, "#!/bin/bash\ntrue\n"),
    ("install.d/70-export", 0o755, f"{BASH}export A=$(false)\n"),
    ("install.d/80-which", 0o755, f"{BASH}which curl\n"),
    ("root.d/10-sudo", 0o755, f"{BASH}sudo rm /x\n"),
    ("environment.d/10-trace", 0o644, "set -x\n"),
    ("environment.d/20-bits", 0o755, "export A=b\n"),
    ("pkg-map", 0o644, "{\n"),
    ("package-installs.yaml", 0o644, "a: [\n"),
    ("notes.md", 0o644, "x\n"),
)
UNSORTED = (("element-deps", 0o644, "b\na\n"),)
SAYS_UPSTREAM = {
    "readme": "lacks a README.rst",
    "executable": "is not executable",
    "indent": "should use 4 spaces indent",
    "tabindent": "contains tab characters",
    "newline": "No newline at end of file",
    "shebang": "only use #!/bin/bash",
    "sete": "is not set -e",
    "setu": "is not set -u",
    "setpipefail": "is not set -o pipefail",
    "dibdebugtrace": "does not follow DIB_DEBUG_TRACE",
    "export": "Split export and assignments",
    "which": "potential use of which",
    "safe_sudo": "potentially unsafe sudo",
    "trace": "should not set tracing",
    "snippet": "should not be marked as executable",
    "sorted": "is not sorted alphabetically",
    "json": "is not a valid JSON file",
    "yaml": "is not a valid YAML file",
    "mddocs": ".md docs found",
}


LAYOUTS = sorted(Path(PACKAGE, "elements").glob("block-device-*/block-device-*.yaml"))


@pytest.mark.parametrize("file", LAYOUTS, ids=lambda file: f"{file.parent.name}-{file.stem[13:]}")
def test_upstreams_layouts_become_ours(file):
    findings = Diagnostics()
    devices = read_block_devices(file.read_text(), file.name, findings, environment={})
    assert findings.found == check_block_devices(devices) == []
    assert check(to_layout(devices, 64 << 30)) == []
    assert fstab_text(devices).startswith("LABEL=")
