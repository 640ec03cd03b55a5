"""The real `packer` beside goldsmith on the project's own small templates.

The program is Debian's 1.6.6 when it is on PATH, and whatever GOLDSMITH_PACKER names besides. What
the two say differs in words; what is compared are verdicts, values and formatted text.
"""

import os
import shutil
import subprocess
import sys

import pytest

HEAD = 'source "null" "n" {\n  communicator = "none"\n}\n'
BUILD = 'build {\n  sources = ["source.null.n"]\n%s}\n'
GOOD = {
    "a null source": HEAD + BUILD % "",
    "a provisioner": HEAD + BUILD % '  provisioner "shell-local" {\n    inline = ["true"]\n  }\n',
    "variables": 'variable "a" {\n  type    = string\n  default = "x"\n}\n'
    'locals {\n  b = "${var.a}-y"\n}\n' + HEAD
    + BUILD % '  provisioner "shell-local" {\n    inline = [local.b, upper(var.a)]\n  }\n',
    "no communicator where none is needed": HEAD + BUILD % (
        '  provisioner "shell-local" {\n    environment_vars = []\n    inline = ["true"]\n  }\n'
        '  post-processor "manifest" {\n    output = "m.json"\n  }\n'
    ),
}  # fmt: skip
BAD = {
    "an unclosed block": 'source "null" "n" {\n  communicator = "none"\n',
    "an unknown source": BUILD.replace("null.n", "null.m") % "",
    "an unknown argument": HEAD.replace("communicator", "comunicator") + BUILD % "",
    "an unknown variable": HEAD + BUILD % (
        '  provisioner "shell-local" {\n    inline = [var.nosuch]\n  }\n'
    ),
    "an unknown provisioner": HEAD + BUILD % '  provisioner "nosuch" {\n  }\n',
    "a wrong operand": 'locals {\n  a = "x" * 2\n}\n' + HEAD + BUILD % (
        '  provisioner "shell-local" {\n    inline = [local.a]\n  }\n'
    ),
    "an argument that is missing": HEAD + BUILD % '  provisioner "shell-local" {\n  }\n',
    "two sources of one name": HEAD + HEAD + BUILD % "",
}  # fmt: skip
EXPRESSIONS = [
    "1 + 2 * 3", '"a${1 + 1}b"', 'upper("straße")', "10 / 4", "7 % 3", "1 == 1.0", '"1" == 1',
    'join(",", ["a", "b"])', "[for x in [1, 2] : x * 2][1]", "true ? 1 : 2",
    'format("%05d|%s", 42, "x")', 'length("héllo")', 'split(",", "a,b")[1]',
]  # fmt: skip
UNFORMATTED = 'source "null"   "n" {\ncommunicator="none"\n  # c\n\n\n a   =   [1,2]\n}\n'


def programs():
    found = [os.environ.get("GOLDSMITH_PACKER"), shutil.which("packer")]
    return list(dict.fromkeys(one for one in found if one))


@pytest.fixture(params=programs() or [None], ids=lambda path: path and os.path.basename(path))
def packer(request):
    if request.param is None:
        pytest.skip("NOTHING IS COMPARED: packer is not installed and GOLDSMITH_PACKER is not set")
    return request.param


def run(argv, cwd, given=""):
    environment = {**os.environ, "CHECKPOINT_DISABLE": "1", "PACKER_NO_COLOR": "1"}
    return subprocess.run(
        argv, cwd=cwd, env=environment, input=given, capture_output=True, text=True, check=False,
        timeout=120,
    )  # fmt: skip


def both(packer, words, cwd, given=""):
    ours = run([sys.executable, "-P", "-m", "goldsmith", *words], cwd, given)
    return ours, run([packer, *words], cwd, given)


@pytest.fixture
def template(tmp_path):
    def write(text):
        (tmp_path / "t.pkr.hcl").write_text(text)
        return tmp_path

    return write


@pytest.mark.parametrize("text", [*GOOD.values(), *BAD.values()], ids=[*GOOD, *BAD])
def test_validate_comes_to_the_same_verdict(text, packer, template):
    ours, theirs = both(packer, ["validate", "t.pkr.hcl"], template(text))
    said = f"{ours.stdout}{ours.stderr}\n---\n{theirs.stdout}{theirs.stderr}"
    assert (ours.returncode == 0) == (theirs.returncode == 0), said


@pytest.mark.parametrize("text", GOOD.values(), ids=GOOD)
def test_inspect_names_the_same_parts(text, packer, template):
    ours, theirs = both(packer, ["inspect", "t.pkr.hcl"], template(text))
    assert (ours.returncode, theirs.returncode) == (0, 0), ours.stdout + theirs.stdout

    def named(said):
        return sorted(line.strip() for line in said.splitlines() if line.strip())

    assert named(ours.stdout) == named(theirs.stdout)


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_console_computes_the_same(expression, packer, template):
    place = template(HEAD + BUILD % "")
    ours, theirs = both(packer, ["console", "t.pkr.hcl"], place, expression + "\n")
    assert (ours.returncode, ours.stdout) == (theirs.returncode, theirs.stdout)


def test_validate_syntax_only_passes_what_is_not_here(packer, template):
    text = 'source "nosuch" "n" {\n  any = thing\n}\nbuild {\n  sources = ["source.nosuch.n"]\n}\n'
    ours, theirs = both(packer, ["validate", "-syntax-only", "t.pkr.hcl"], template(text))
    assert (ours.returncode, theirs.returncode) == (0, 0)


def test_fmt_writes_the_same(packer, template):
    place = template(UNFORMATTED)
    if run([packer, "fmt", "-help"], place).returncode == 127:
        pytest.skip("this packer has no fmt yet")
    results = []
    for argv in ([sys.executable, "-P", "-m", "goldsmith"], [packer]):
        template(UNFORMATTED)
        assert run([*argv, "fmt", "t.pkr.hcl"], place).returncode == 0
        results.append((place / "t.pkr.hcl").read_text())
    assert results[0] == results[1]
