"""The rules of dib-run-parts, each seen in the real program and in ours."""

import os
import re
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from goldsmith.elements import catalog, environment, hooks, phase_runner, run_parts
from goldsmith.elements.phases import phase_named

PROGRAM = catalog.upstream_package() / "lib/dib-run-parts"
BASE = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}


@pytest.fixture
def directory(tmp_path):
    (tmp_path / "install.d").mkdir()
    return tmp_path


def put(directory, place, text="true\n", mode=0o755):
    target = directory / place
    target.parent.mkdir(exist_ok=True)
    target.write_text(f"#!/bin/bash\n{text}" if place.startswith("install.d") else text)
    target.chmod(mode)
    return target


def theirs(directory, *options, **given):
    return subprocess.run(
        ["/bin/bash", PROGRAM, *options, directory / "install.d"], env={**BASE, **given},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=60,
    )  # fmt: skip


def ours(directory, **given):
    """The status and the lines of our own run."""
    lines = []
    place = phase_runner.HookPlace(directory, str(directory))
    run = phase_runner.PhaseRun(
        phase_named("install"), place, hooks.Hooks({}), {**BASE, **given},
        lambda stream, line: lines.append(line),
    )  # fmt: skip
    try:
        phase_runner.run_phase(run)
    except phase_runner.HookFailed as e:
        return e.status, lines
    except catalog.ElementError:
        return 1, lines
    return 0, lines


def ran(lines):
    """Which scripts were run, in order."""
    found = (re.search(r"Running .*/([^/]+)$", line) for line in lines)
    return [match.group(1) for match in found if match]


def test_without_a_directory_it_says_how_it_is_used(tmp_path):
    for words in ([], [tmp_path / "nosuch"], ["--list", tmp_path / "nosuch"]):
        run = subprocess.run(["/bin/bash", PROGRAM, *words], env=BASE, capture_output=True,
                             text=True, check=False)  # fmt: skip
        assert (run.returncode, "Usage: dib-run-parts" in run.stderr) == (1, True)


def test_links_to_files_count_and_others_do_not(directory):
    put(directory, "install.d/10-a")
    put(directory, "outside")
    phase = directory / "install.d"
    (phase / "20-link").symlink_to("../outside")
    (phase / "30-broken").symlink_to("nosuch")
    (phase / "40-directory").mkdir()
    (phase / "50-link-to-directory").symlink_to("40-directory")
    os.mkfifo(phase / "60-fifo", 0o755)
    listed = theirs(directory, "--list").stdout.splitlines()
    assert [Path(line).name for line in listed] == ["10-a", "20-link"]
    assert run_parts.scripts_of(phase).scripts == ("10-a", "20-link")


def test_a_list_has_whole_paths_and_runs_and_sources_nothing(directory):
    put(directory, "install.d/10-a", f"touch {directory}/ran\n")
    put(directory, "environment.d/10-a", f"touch {directory}/sourced\n")
    assert theirs(directory, "--list").stdout == f"{directory}/install.d/10-a\n"
    assert sorted(os.listdir(directory)) == ["environment.d", "install.d"]


@pytest.mark.parametrize("names", [r"\.sh$", "^[0-9]+-", "a|b", "^[[:digit:]]+[[:alpha:]_-]*$",
                                   "x{2}", r"^10\-a$", "[^[:alnum:].-]"])  # fmt: skip
def test_another_expression_chooses_the_same_scripts(directory, names):
    for name in ("10-a", "20-b.sh", "xx", "c", "30_", "4é"):
        put(directory, f"install.d/{name}")
    listed = theirs(directory, "--list", RUN_PARTS_REGEX=names).stdout.splitlines()
    found = run_parts.scripts_of(directory / "install.d", names).scripts
    assert list(found) == [Path(line).name for line in listed]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.from_regex(r"[-0-9A-Za-z_.]{1,6}", fullmatch=True), max_size=12, unique=True))
def test_the_order_is_that_of_sort(names):
    run = subprocess.run(
        ["sort", "-n"], input="".join(f"{name}\n" for name in names), env=BASE, text=True,
        capture_output=True, check=True,
    )  # fmt: skip
    assert list(run_parts.in_order(names)) == run.stdout.split()


def test_snippets_are_any_files_with_dots_in_the_order_of_their_bytes(directory):
    put(directory, "install.d/10-tell", "echo seen $SEEN\n")
    for name in ("10-a.bash", "2-b", "100-c", "_d", "e~", "f g", "03.sh"):
        put(directory, f"environment.d/{name}", f'export SEEN="${{SEEN:-}} {name}"\n', 0o644)
    (directory / "environment.d/15-link").symlink_to("2-b")
    (directory / "environment.d/16-broken").symlink_to("nosuch")
    (directory / "environment.d/17-directory").mkdir()
    run = theirs(directory)
    (said,) = [line for line in run.stdout.splitlines() if line.startswith("seen")]
    assert said.split()[1:] == ["03.sh", "10-a.bash", "100-c", "2-b", "2-b", "_d"]
    assert said in ours(directory)[1]
    assert [name for name in run_parts.snippets_of(directory / "environment.d")] == [
        "03.sh", "10-a.bash", "100-c", "15-link", "2-b", "_d"
    ]  # fmt: skip


def test_definitions_are_traced_and_scripts_are_not(directory):
    put(directory, "environment.d/10-a", "export A=b\n", 0o644)
    put(directory, "environment.d/20-b", "set +x\nexport B=c\n", 0o644)
    put(directory, "environment.d/30-c", "export C=d\n", 0o644)
    put(directory, "install.d/10-a", "echo hello\n")
    for lines in (theirs(directory).stdout.splitlines(), ours(directory)[1]):
        traced = [line for line in lines if line.startswith("+")]
        assert [
            any(line.endswith(text) for line in traced)
            for text in ("A=b", "B=c", "C=d", "echo hello")
        ] == [True, False, True, False]


@pytest.mark.parametrize(
    ("text", "status"),
    [("exit 7\n", 7), ("kill -TERM $$\n", 143), ("exec /nosuch\n", 127), ("exec /etc\n", 126),
     ("set -e; false | true; (exit 3)\n", 3)],
)  # fmt: skip
def test_the_first_that_fails_ends_the_phase_with_its_status(directory, text, status):
    put(directory, "install.d/10-fine")
    put(directory, "install.d/20-bad", text)
    put(directory, "install.d/30-never")
    run = theirs(directory)
    ended, lines = ours(directory)
    assert run.returncode == status
    # A shell says 128 and the number of the signal.
    assert (ended if ended >= 0 else 128 - ended) == status
    for said in (run.stdout.splitlines(), lines):
        assert ran(said) == ["10-fine", "20-bad"]
        assert not any("PROFILING" in line for line in said)


@pytest.mark.parametrize("text", ["echo $NOSUCH\n", "false\n", "false | true\n", "exit 5\n"])
def test_a_snippet_that_fails_ends_the_phase_before_any_script(directory, text):
    put(directory, "environment.d/10-bad", text, 0o644)
    put(directory, "install.d/10-never")
    run = theirs(directory)
    status, lines = ours(directory)
    assert (run.returncode != 0, status != 0) == (True, True)
    assert ran(run.stdout.splitlines()) == ran(lines) == []


def test_snippets_that_are_none_end_only_the_real_program(directory):
    put(directory, "environment.d/not a snippet~", "", 0o644)
    put(directory, "install.d/10-a")
    assert theirs(directory).returncode == 1
    assert ran(ours(directory)[1]) == ["10-a"]


def test_what_is_not_exported_is_not_seen(directory):
    put(directory, "environment.d/10-a", "A=hidden\nexport B=seen\nf() { :; }\n", 0o644)
    put(directory, "install.d/10-tell", 'echo "${A-no} ${B-no} f$(type -t f)"\n')
    for lines in (theirs(directory).stdout.splitlines(), ours(directory)[1]):
        assert "no seen f" in lines


def test_a_script_cannot_change_the_next_ones_environment(directory):
    put(directory, "install.d/10-a", "export A=b; cd /\n")
    put(directory, "install.d/20-b", 'echo "<${A-unset}>"\n')
    for lines in (theirs(directory).stdout.splitlines(), ours(directory)[1]):
        assert "<unset>" in lines


def test_nothing_is_said_of_others_without_tracing(directory):
    put(directory, "install.d/10-a", mode=0o644)
    put(directory, "install.d/10-b.sh")
    for level, expected in (("0", False), ("1", True), ("2", True)):
        for lines in (theirs(directory, DIB_DEBUG_TRACE=level).stdout.splitlines(),
                      ours(directory, DIB_DEBUG_TRACE=level)[1]):  # fmt: skip
            told = [line for line in lines if "Ignoring" in line]
            assert bool(told) is expected
            if told:
                assert told == [
                    "dib-run-parts Ignoring non-executable files: 10-a",
                    "dib-run-parts Ignoring non-conforming filenames: 10-b.sh",
                ]


def test_the_table_is_the_same_to_the_blank(directory):
    for name in ("100-x", "20-b", "a" * 50, "9-z"):
        put(directory, f"install.d/{name}")

    def table(lines):
        start = next(i for i, line in enumerate(lines) if " PROFILING " in line)
        return [re.sub(r"[0-9]\.[0-9]{3}$", "N", line) for line in lines[start:]]

    assert table(ours(directory)[1]) == table(theirs(directory).stdout.splitlines())


def test_it_needs_no_python_in_the_tree():
    words = set(re.findall(r"[a-z]+", PROGRAM.read_text()))
    assert {"find", "grep", "sort", "awk", "mktemp", "date"} <= words
    assert "python" not in words


def test_our_sourcing_leaves_the_same_environment_twice(directory):
    put(directory, "environment.d/10-a", "export A=b\n", 0o644)
    assert environment.sourced(directory, BASE) == environment.sourced(directory, BASE)


def test_what_is_its_own_is_on_standard_error_alone(directory):
    put(directory, "environment.d/10-a", "export A=b\n", 0o644)
    put(directory, "install.d/10-a", "echo out; echo err >&2\n")
    real = subprocess.run(["/bin/bash", PROGRAM, directory / "install.d"], env=BASE, text=True,
                          capture_output=True, check=True, timeout=60)  # fmt: skip
    said = {"stdout": [], "stderr": []}
    phase_runner.run_phase(
        phase_runner.PhaseRun(
            phase_named("install"), phase_runner.HookPlace(directory, str(directory)),
            hooks.Hooks({}), BASE, lambda stream, line: said[stream].append(line),
        )
    )  # fmt: skip
    for out, err in ((real.stdout.splitlines(), real.stderr.splitlines()), said.values()):
        assert out == ["out"]
        assert "err" in err
        own = [line for line in err if not line.startswith(("+", "err"))]
        assert all(line.startswith("dib-run-parts ") for line in own)
        assert own[0].startswith("dib-run-parts Sourcing environment file ")
        assert own[1].endswith("install.d/10-a")
