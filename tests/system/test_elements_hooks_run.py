"""Hooks of a phase, run for real beside upstream's dib-run-parts."""

import os
import re
import subprocess
import time

import pytest

from goldsmith.elements import catalog, hooks, phase_runner
from goldsmith.elements.phases import phase_named

BASE = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}


@pytest.fixture
def directory(tmp_path):
    (tmp_path / "hooks/install.d").mkdir(parents=True)
    (tmp_path / "hooks/environment.d").mkdir()
    return tmp_path / "hooks"


def hook(directory, name, text, mode=0o755):
    place = directory / "install.d" / name
    place.write_text(f"#!/bin/bash\n{text}")
    place.chmod(mode)


def run(directory, merged=None, words=list, **given):
    lines = []
    place = phase_runner.HookPlace(directory, str(directory), words)
    took_s = phase_runner.run_phase(
        phase_runner.PhaseRun(
            phase_named("install"), place, merged or hooks.Hooks({}), {**BASE, **given},
            lambda stream, line: lines.append(line),
        )
    )  # fmt: skip
    return took_s, lines


def steady(lines):
    """Without what differs from run to run."""
    return [re.sub(r"[0-9]+\.[0-9]{3}$", "N", line) for line in lines]


def test_lines_and_order_are_those_of_the_real_program(directory):
    for name in ("10-b", "9-a", "10-a", "x"):
        hook(directory, name, f'echo "{name} $A"\n')
    hook(directory, "20-left.out", "exit 1\n")
    hook(directory, "30-plain", "exit 1\n", mode=0o644)
    (directory / "environment.d/10-a").write_text("export A=b\n")
    program = catalog.upstream_package() / "lib/dib-run-parts"
    theirs = subprocess.run(
        ["/bin/bash", program, directory / "install.d"],
        env={**BASE, "DIB_DEBUG_TRACE": "1"}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, check=True,
    ).stdout.splitlines()  # fmt: skip
    took_s, ours = run(directory, DIB_DEBUG_TRACE="1")
    assert list(took_s) == ["x", "9-a", "10-a", "10-b"]

    def shown(lines):
        # Its own tracing, and the path by which it reaches the snippets, are not part of what
        # it says; neither is in which of two streams a line came first.
        kept = [line for line in steady(lines) if not line.startswith("+")]
        return sorted(line.rstrip().replace("install.d/../", "") for line in kept)

    assert shown(ours) == shown(theirs)


def test_the_first_failing_hook_ends_the_phase_and_names_its_element(directory, tmp_path):
    hook(directory, "10-fine", "true\n")
    hook(directory, "20-bad", "echo something is missing >&2\nexit 7\n")
    hook(directory, "30-never", f"touch {tmp_path}/ran\n")
    merged = hooks.Hooks(
        {"install.d/20-bad": hooks.HookFile("mine", directory / "x", "install.d/20-bad")}
    )
    with pytest.raises(phase_runner.HookFailed) as caught:
        run(directory, merged)
    assert str(caught.value) == (
        "install.d/20-bad of element mine failed with status 7; it said last:\nsomething is missing"
    )
    assert caught.value.status == 7
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("first", "hint"),
    [("#!/bin/nope -e\n", "names /bin/nope"), ("#!/bin/bash\r\n", "as those of Windows do"),
     ("#!/bin/bash\nexit 127\n", None), ("#!/bin/bash\n/nosuch\n", None)],
)  # fmt: skip
def test_a_hook_that_cannot_be_started_is_told_with_its_first_line(directory, first, hint):
    hook(directory, "20-bad", "")
    (directory / "install.d/20-bad").write_text(first, newline="")
    with pytest.raises(phase_runner.HookFailed) as caught:
        run(directory, words=lambda argv: ["env", *argv])
    assert (caught.value.hint is None) if hint is None else (hint in caught.value.hint)


def test_a_hook_that_a_hook_has_made_runs_too(directory):
    hook(directory, "10-made", "exit 3\n")
    with pytest.raises(phase_runner.HookFailed, match="which another hook has made"):
        run(directory)


def test_other_names_can_be_asked_for(directory):
    hook(directory, "10-a.sh", "true\n")
    assert list(run(directory)[0]) == []
    assert list(run(directory, RUN_PARTS_REGEX=r"\.sh$")[0]) == ["10-a.sh"]


def test_a_phase_without_a_directory_says_nothing(tmp_path):
    assert run(tmp_path) == ({}, [])


def test_what_a_hook_leaves_running_ends_with_it(directory, tmp_path):
    hook(directory, "10-daemon", f"sleep 1000 & echo $! > {tmp_path}/pid\n")
    run(directory)
    pid = int((tmp_path / "pid").read_text())
    with pytest.raises(ProcessLookupError):
        signal_until_gone(pid)


def signal_until_gone(pid):
    """The kernel removes a killed process a moment after it was killed."""
    deadline_s = time.monotonic() + 60
    while time.monotonic() < deadline_s:
        os.kill(pid, 0)
        time.sleep(0.05)


def test_hooks_on_the_host_are_told_which_variables_hold_secrets(directory):
    (directory / "environment.d/10-a").write_text("export MADE=http://me:$A_TOKEN@h/\n")
    given = {**BASE, "A_TOKEN": "hidden", "PLAIN": "x"}
    for phase in ("extra-data.d", "install.d"):
        tell = directory / phase / "10-tell"
        tell.parent.mkdir(exist_ok=True)
        tell.write_text('#!/bin/bash\necho "told: ${GOLDSMITH_SECRETS:-nothing}"\n')
        tell.chmod(0o755)
    told = []
    for phase in ("extra-data", "install"):
        phase_runner.run_phase(
            phase_runner.PhaseRun(
                phase_named(phase), phase_runner.HookPlace(directory, str(directory)),
                hooks.Hooks({}), given, lambda stream, line: told.append(line),
            )
        )  # fmt: skip
    found = [line for line in told if line.startswith("told: ")]
    assert found == ["told: A_TOKEN MADE", "told: nothing"]
