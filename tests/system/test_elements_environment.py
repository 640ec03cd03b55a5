"""Snippets of environment.d are sourced by the real bash, as the real dib-run-parts does it."""

import os
import subprocess

import pytest

from goldsmith.elements import catalog, environment

BASE = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "GIVEN": "one"}


@pytest.fixture
def hooks(tmp_path):
    (tmp_path / "environment.d").mkdir()
    return tmp_path


def snippet(hooks, name, text):
    (hooks / "environment.d" / name).write_text(text)


def test_exported_variables_reach_hooks_and_others_do_not(hooks):
    snippet(hooks, "10-a.bash", "export A=${GIVEN}-x\nB=hidden\n")
    snippet(hooks, "09-first", "export GIVEN='two\nlines'\n")
    found = environment.sourced(hooks, BASE)
    assert found["A"] == "two\nlines-x"
    assert "B" not in found
    assert "SHLVL" not in found


def test_functions_are_handed_on(hooks):
    snippet(hooks, "10-a", "f() { echo from-f; }\nexport -f f\n")
    found = environment.sourced(hooks, BASE)
    said = subprocess.run(
        ["/bin/bash", "-c", "f"], env=found, capture_output=True, text=True, check=True
    )
    assert said.stdout == "from-f\n"


def test_large_values_and_output_of_snippets_do_not_meet(hooks):
    snippet(hooks, "10-a", "echo noise\nexport BIG=$(printf '%0100000d' 0)\n")
    lines = []
    found = environment.sourced(hooks, BASE, on_line=lambda stream, line: lines.append(line))
    assert len(found["BIG"]) == 100_000
    assert "noise" in lines


@pytest.mark.parametrize(
    ("text", "said"), [("false\n", ""), ("echo $NOSUCH\n", "unbound variable"), ("exit 7\n", "")]
)
def test_a_failing_snippet_is_named(hooks, text, said):
    snippet(hooks, "10-fine", "true\n")
    snippet(hooks, "20-bad", text)
    snippet(hooks, "30-after", "true\n")
    with pytest.raises(catalog.ElementError, match=r"20-bad failed with status") as caught:
        environment.sourced(hooks, BASE)
    assert said in str(caught.value)


def test_the_real_program_gives_its_hooks_the_same_variables(hooks):
    snippet(hooks, "10-a.bash", 'export A="$GIVEN" EMPTY=\nunset GIVEN\nC=no\n')
    snippet(hooks, "2-b", "export A=early\n")
    (hooks / "install.d").mkdir()
    tell = hooks / "install.d/10-tell"
    tell.write_text(f"#!/bin/sh\nexec env -0 > {hooks}/seen\n")
    tell.chmod(0o755)
    program = catalog.upstream_package() / "lib/dib-run-parts"
    subprocess.run(["/bin/bash", program, hooks / "install.d"], env=BASE, check=True,
                   capture_output=True)  # fmt: skip
    theirs = environment.parse((hooks / "seen").read_bytes())
    theirs.pop("PROFILE_DIR", None)
    assert environment.sourced(hooks, BASE) == theirs


@pytest.mark.parametrize("end", ["true", "false", "echo $NOSUCH"])
def test_secrets_that_snippets_make_are_told_of_before_any_line_is(hooks, end):
    own = "A_TOKEN='made of $GIVEN'\nexport LOGIN=\"me:$A_TOKEN\"\n"
    snippet(hooks, "10-a", f"export DIB_DEV_USER_PASSWORD=from-$GIVEN\n{own}{end}\n")
    told, lines = set(), []

    def hear(stream, line):
        lines.append((line, frozenset(told)))

    try:
        found = environment.sourced(hooks, BASE, on_line=hear, on_secrets=told.update)
    except catalog.ElementError:
        found = None
    assert (found is None) == (end != "true")
    assert told == {"from-one", "made of $GIVEN"}
    assert any("from-one" in line for line, _ in lines)
    assert all(known == told for _, known in lines)


def test_without_snippets_nothing_is_started(tmp_path):
    assert environment.sourced(tmp_path, BASE) == BASE
    assert os.listdir(tmp_path) == []
