"""The completion scripts in the shells that they are for, as far as this host has them."""

import os
import shlex
import subprocess
import sys
import tempfile

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
    assert asked([shell, "-n"], script) == []


def needed(shell):
    """For a test that needs a shell: skipped, and said so, where this host has none."""
    return pytest.mark.skipif(find_tool(shell) is None, reason=f"{shell} is not installed")


def asked(argv, text, cwd=None):
    """The lines that a shell prints for these commands; it must have nothing to complain of."""
    with tempfile.TemporaryDirectory() as home:  # fish writes there
        environment = {"PATH": os.environ["PATH"], "HOME": home, "LC_ALL": "C.UTF-8"}
        done = subprocess.run(
            argv, input=text, capture_output=True, text=True, check=False, cwd=cwd, env=environment
        )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


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


ZSH = """
compdef() { print -r -- "compdef $*" }
_describe() { [[ $1 == -o ]] && shift; print -rl -- ${(P)2} }
_files() { print FILES }
compset() { PREFIX=${PREFIX#*=} }
"""
"""What the script calls of zsh's completion, which works in line editors only, printed."""


@needed("zsh")
@pytest.mark.parametrize(
    ("words", "wanted", "unwanted"),
    [
        (["vali"], "validate:check that a template is valid", "FILES"),
        (["validate", "-s"], "-syntax-only:only parse, and evaluate nothing", "FILES"),
        (["validate", "-var-file=a"], "FILES", "-syntax-only"),
        (["validate", "t"], "FILES", "-syntax-only"),
        (["cache", "p"], "prune", "-syntax-only"),
    ],
)
def test_zsh_offers_what_fits(words, wanted, unwanted, verbs):
    given = " ".join(shlex.quote(word) for word in ["goldsmith", *words])
    ask = f"words=({given}); CURRENT=$#words; PREFIX=$words[-1]\n_goldsmith"
    said = asked(["zsh", "-f"], f"{ZSH}{zsh_script(verbs)}\n{ask}\n")
    assert said[0] == "compdef _goldsmith goldsmith"
    assert any(line.startswith(wanted) for line in said[1:]), said
    assert not any(line.startswith(unwanted) for line in said[1:]), said


@needed("zsh")
def test_zsh_knows_whom_to_ask(verbs):
    ask = f"autoload -U compinit; compinit -u -D\n{zsh_script(verbs)}\nprint $_comps[goldsmith]\n"
    assert asked(["zsh", "-f"], ask) == ["_goldsmith"]


@needed("fish")
@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("vali", ["validate"]),
        ("validate -synt", ["-syntax-only"]),
        ("validate --synt", ["--syntax-only"]),
        ("validate -var-file a", ["a.pkrvars.hcl"]),
        ("validate --var-file a", ["a.pkrvars.hcl"]),
        ("validate b", ["b.pkr.hcl"]),
        ("boot -firmware ", ["bios", "uefi"]),
        ("cache pr", ["prune"]),
    ],
)
def test_fish_offers_what_fits(line, wanted, verbs, tmp_path):
    for name in ("a.pkrvars.hcl", "b.pkr.hcl"):
        (tmp_path / name).write_text("")
    ask = f"{fish_script(verbs)}\ncomplete -C {shlex.quote(f'goldsmith {line}')}\n"
    said = asked(["fish", "--no-config"], ask, cwd=tmp_path)
    assert [one.split("\t")[0] for one in said] == wanted


def test_the_verb_prints_it():
    done = subprocess.run(
        [sys.executable, "-m", "goldsmith", "completion", "bash"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.startswith("# Completion of goldsmith for bash")
