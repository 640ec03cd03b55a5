"""The completion scripts in the shells that they are for, as far as this host has them."""

import shlex
import subprocess
import sys

import pytest

from goldsmith.cli.completion import bash_script, fish_script, verb_table, zsh_script
from goldsmith.host.process import find_tool

SCRIPTS = {"bash": bash_script, "zsh": zsh_script, "fish": fish_script}


@pytest.fixture(scope="module")
def verbs():
    return verb_table()


@pytest.mark.parametrize("shell", SCRIPTS)
def test_the_shell_can_read_its_script(shell, verbs):
    if find_tool(shell) is None:
        pytest.skip(f"{shell} is not installed")
    script = SCRIPTS[shell](verbs)
    done = subprocess.run([shell, "-n"], input=script, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def completed(verbs, *words, cwd):
    """What bash offers for the last of these words."""
    given = " ".join(shlex.quote(word) for word in words)
    ask = (
        f"{bash_script(verbs)}\nCOMP_WORDS=({given}); COMP_CWORD={len(words) - 1}\n"
        '_goldsmith; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    done = subprocess.run(
        ["bash", "--norc", "-u", "-c", ask], capture_output=True, text=True, check=True, cwd=cwd
    )
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["goldsmith", "vali"], ["validate"]),
        (["goldsmith", "-machine-readable", "vali"], ["validate"]),
        (["goldsmith", "validate", "-synt"], ["-syntax-only"]),
        (["goldsmith", "validate", "--synt"], ["--syntax-only"]),
        (["goldsmith", "validate", "-var-"], ["-var-file="]),
        (["goldsmith", "validate", "-var-file", "=", "a"], ["a.pkrvars.hcl"]),
        (["goldsmith", "validate", "b"], ["b.pkr.hcl"]),
        (["goldsmith", "boot", "-firmware", "=", "u"], ["uefi"]),
        (["goldsmith", "boot", "-firmware", "="], ["bios", "uefi"]),
        (["goldsmith", "boot", "--firmware", "b"], ["bios"]),
        (["goldsmith", "cache", "pr"], ["prune"]),
    ],
)
def test_bash_offers_what_fits(words, wanted, verbs, tmp_path):
    for name in ("a.pkrvars.hcl", "b.pkr.hcl"):
        (tmp_path / name).write_text("")
    assert completed(verbs, *words, cwd=tmp_path) == wanted


def test_the_verb_prints_it():
    done = subprocess.run(
        [sys.executable, "-m", "goldsmith", "completion", "bash"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.startswith("# Completion of goldsmith for bash")
