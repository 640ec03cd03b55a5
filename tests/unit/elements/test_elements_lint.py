"""What is found in the files of an element, and what can be mended."""

import pytest

from goldsmith.elements.lint import ignored_by, lint

GOOD = """#!/bin/bash
if [ "${DIB_DEBUG_TRACE:-0}" -gt 0 ]; then
    set -x
fi
set -eu
set -o pipefail
"""


@pytest.fixture
def element(tmp_path):
    place = tmp_path / "mine"
    place.mkdir()
    (place / "README.rst").write_text("====\nmine\n====\nWhat it does.\n")
    return place


def put(element, path, content, mode=0o755):
    target = element / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(content)
    target.chmod(mode)
    return target


def checks(element):
    return sorted({one.check for one in lint(element)})


def test_a_good_element_has_no_findings(element):
    put(element, "install.d/10-x", GOOD)
    put(element, "environment.d/10-x", "export A=b\n", 0o644)
    put(element, "package-installs.yaml", "curl:\n", 0o644)
    put(element, "pkg-map", '{"default": {}}\n', 0o644)
    put(element, "element-deps", "a\nb\n", 0o644)
    assert lint(element) == []


@pytest.mark.parametrize(
    ("path", "content", "mode", "check", "line"),
    [
        ("install.d/10-x", GOOD, 0o644, "executable", 1),
        ("install.d/10-x", GOOD + "  true\n", 0o755, "indent", 7),
        ("install.d/10-x", GOOD + "\ttrue\n", 0o755, "tabindent", 7),
        ("install.d/10-x", GOOD + "true", 0o755, "newline", 7),
        ("install.d/10-x", GOOD.replace("/bin/bash", "/usr/bin/env bash"), 0o755, "shebang", 1),
        ("install.d/10-x", GOOD.replace("set -eu", "set -u"), 0o755, "sete", 0),
        ("install.d/10-x", GOOD.replace("set -eu", "set -e"), 0o755, "setu", 0),
        ("install.d/10-x", GOOD.replace("pipefail", "noglob"), 0o755, "setpipefail", 0),
        ("install.d/10-x", GOOD.replace("DIB_DEBUG_TRACE", "TRACE"), 0o755, "dibdebugtrace", 0),
        ("install.d/10-x", GOOD + "export A=$(false)\n", 0o755, "export", 7),
        ("install.d/10-x", GOOD + "which curl\n", 0o755, "which", 7),
        ("root.d/10-x", GOOD + "sudo rm /x\n", 0o755, "safe_sudo", 7),
        ("install.d/10-x", "#!/usr/bin/env python3\ndef\n", 0o755, "python", 2),
        ("environment.d/10-x", "set -x\n", 0o644, "trace", 1),
        ("environment.d/10-x", "export A=b\n", 0o755, "snippet", 0),
        ("element-deps", "b\na\n", 0o644, "sorted", 0),
        ("source-repository-x", "x git /opt/x where", 0o644, "newline", 1),
        ("pkg-map", "{\n", 0o644, "json", 2),
        ("package-installs.yaml", "a:\n  - b\n c: d\n", 0o644, "yaml", 3),
        ("notes.md", "x\n", 0o644, "mddocs", 0),
    ],
)
def test_each_check_says_where(element, path, content, mode, check, line):
    put(element, path, content, mode)
    found = lint(element)
    assert [(one.check, one.line) for one in found] == [(check, line)]


@pytest.mark.parametrize(
    "line",
    ["# sudo rm /x", "sudo rm $TARGET_ROOT/x", "sudo rm /x # dib-lint: safe_sudo"],
)
def test_sudo_within_the_image_is_fine(element, line):
    put(element, "root.d/10-x", f"{GOOD}{line}\n")
    assert checks(element) == []


def test_a_missing_readme_is_found(element):
    (element / "README.rst").unlink()
    assert checks(element) == ["readme"]


def test_checks_are_left_out_by_the_file_and_by_the_project(element, tmp_path):
    put(element, "install.d/10-x", "#!/bin/bash\n# dib-lint: disable=sete setu\nset -o pipefail\n")
    assert checks(element) == ["dibdebugtrace"]
    (tmp_path / "tox.ini").write_text("[dib-lint]\nignore = dibdebugtrace\n")
    assert lint(element, ignored_by(tmp_path)) == []
    (tmp_path / "tox.ini").write_text("[dib-lint\n")
    assert ignored_by(tmp_path) == frozenset()


def test_what_has_one_remedy_is_mended(element):
    put(element, "install.d/10-x", GOOD.replace("#!/bin/bash", "#!/usr/bin/env bash"), 0o640)
    put(element, "environment.d/10-x", "export A=b\n", 0o755)
    put(element, "element-deps", "b\na", 0o644)
    put(element, "source-repository-x", "x git /opt/x where", 0o644)
    for finding in lint(element):
        if finding.fix is not None:
            finding.fix()
    assert lint(element) == []
    assert (element / "install.d/10-x").stat().st_mode & 0o777 == 0o750
    assert (element / "element-deps").read_text() == "a\nb\n"


def test_links_and_bytecode_are_not_read(element):
    put(element, "install.d/10-x", GOOD)
    (element / "install.d/20-link").symlink_to("/nosuch")
    put(element, "bin/__pycache__/x.pyc", "\0", 0o644)
    assert lint(element) == []
