"""What goes into a guest and what comes out of it, byte by byte."""

import io
import tarfile
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from goldsmith.errors import CommandFailed
from goldsmith.machine.guest_protocol import (
    LINE_LIMIT,
    STEP_DIRECTORY,
    TAIL_LINES,
    WORD_LIMIT_BYTES,
    ControlPort,
    GuestDisk,
    GuestError,
    GuestResult,
    GuestStep,
    OutputPort,
    Tail,
    new_marker,
    read_results,
    write_step,
)

MARKER = "goldsmith-0123456789"


def a_step(*commands, **more):
    return GuestStep(**{"commands": commands or (["true"],), "timeout_s": 10, **more})


def test_the_archive_has_commands_files_and_results(tmp_path):
    given_file = tmp_path / "program"
    given_file.write_bytes(b"#!/bin/sh\n")
    given_file.chmod(0o755)
    step = a_step(
        ["echo", "", "a b\n'$(x)"], ["true"],
        files={"/etc/table": b"label: gpt\n", "/usr/bin/own": given_file},
        environment={"SOURCE_DATE_EPOCH": "7", "EMPTY": ""},
        results=["/mnt/-odd name", "/mnt/b"], network=True,
    )  # fmt: skip
    write_step(step, tmp_path / "step.tar", MARKER)
    with tarfile.open(tmp_path / "step.tar") as tar:
        found = {m.name: (m.mode, tar.extractfile(m).read()) for m in tar}
    base = STEP_DIRECTORY
    variables = b"SOURCE_DATE_EPOCH=7\0EMPTY=\0\0"
    assert found == {
        f"{base}/marker": (0o644, MARKER.encode()),
        f"{base}/argv/0": (0o644, variables + b"echo\0\0a b\n'$(x)\0"),
        f"{base}/argv/1": (0o644, variables + b"true\0"),
        f"{base}/results": (0o644, b"mnt/-odd name\0mnt/b\0"),
        f"{base}/network": (0o644, b""),
        "etc/table": (0o644, b"label: gpt\n"),
        "usr/bin/own": (0o755, b"#!/bin/sh\n"),
    }


def test_a_step_without_results_or_network_says_nothing_of_them(tmp_path):
    write_step(a_step(), tmp_path / "step.tar", MARKER)
    with tarfile.open(tmp_path / "step.tar") as tar:
        assert tar.getnames() == [f"{STEP_DIRECTORY}/marker", f"{STEP_DIRECTORY}/argv/0"]


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(GuestError, match="absent cannot be given to the guest: No such file"):
        write_step(a_step(files={"/a": tmp_path / "absent"}), tmp_path / "step.tar", MARKER)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"commands": [[]]}, "no program"),
        ({"commands": [["", "x"]]}, "no program"),
        ({"commands": [["echo", "a\0b"]]}, "NUL"),
        ({"commands": [["echo", "x" * (WORD_LIMIT_BYTES + 1)]]}, "longer than its kernel allows"),
        ({"commands": [["echo", *["x" * WORD_LIMIT_BYTES] * 9]]}, "longer than its kernel allows"),
        ({"files": {"etc/x": b""}}, "not an absolute, plain path"),
        ({"files": {"/etc/../x": b""}}, "not an absolute, plain path"),
        ({"files": {"/": b""}}, "not an absolute, plain path"),
        ({"results": ["/a//b"]}, "not an absolute, plain path"),
        ({"environment": {"A=B": "c"}}, "not the name of an environment variable"),
        ({"environment": {"A": "c\0"}}, "NUL"),
        ({"disks": [GuestDisk(path=Path("x"))] * 21}, "at most 20 disks"),
        ({"timeout_s": 0}, "needs time"),
        ({"memory_bytes": 191 << 20}, "needs time and at least 192 MiB"),
    ],
)
def test_what_cannot_be_is_refused_before_a_machine_starts(changes, told):
    with pytest.raises(GuestError, match=told):
        GuestStep(**{"commands": [["true"]], "timeout_s": 10, **changes})


def test_the_longest_word_is_allowed():
    assert a_step(["echo", "x" * WORD_LIMIT_BYTES])


def an_archive(path, **members):
    with tarfile.open(path, "w") as tar:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            if content is None:
                member.type = tarfile.DIRTYPE
                tar.addfile(member)
            else:
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    return path


def test_results_are_read_by_name(tmp_path):
    archive = an_archive(tmp_path / "r", **{"mnt/a": b"1", "./b": b"2", "more": b"3"})
    with archive.open("r+b") as stream:
        stream.truncate(1 << 20)
    assert read_results(archive, ["/mnt/a", "/b", "/absent"]) == {"/mnt/a": b"1", "/b": b"2"}


def test_a_disk_that_was_never_written_has_no_results(tmp_path):
    (tmp_path / "r").write_bytes(bytes(1 << 16))
    assert read_results(tmp_path / "r", ["/a"]) == {}


def test_results_that_are_no_files_and_damaged_archives_are_errors(tmp_path):
    with pytest.raises(GuestError, match="/mnt is no file"):
        read_results(an_archive(tmp_path / "r", mnt=None), ["/mnt"])
    (tmp_path / "bad").write_bytes(b"no archive" * 200)
    with pytest.raises(GuestError, match="cannot be read"):
        read_results(tmp_path / "bad", ["/a"])


def lines_of(chunks):
    lines = []
    port = OutputPort("stdout", MARKER, lambda stream, line: lines.append(line))
    for chunk in chunks:
        port.feed(chunk)
    port.close()
    return lines, port.complete


@given(
    st.lists(st.sampled_from(["a", "é", " x", MARKER[:4], "\n", "\n\n", "50%\r"]), max_size=12),
    st.lists(st.integers(0, 80), max_size=8),
)
def test_lines_do_not_depend_on_how_they_were_read(pieces, cuts):
    text = "".join(pieces)
    data = (text + MARKER + "\nlater\n").encode()
    edges = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    lines, complete = lines_of([data[a:b] for a, b in pairwise(edges)])
    expected = text.split("\n")
    if not expected[-1]:
        expected.pop()
    assert lines == [line.rstrip().rsplit("\r", 1)[-1] for line in expected]
    assert complete


def test_output_without_its_end_is_not_complete():
    assert lines_of([b"a\nlast"]) == (["a", "last"], False)


def test_a_line_without_end_is_cut_and_its_marker_found():
    head = b"x" * (LINE_LIMIT + 10)
    lines, complete = lines_of([head, MARKER[:5].encode(), MARKER[5:].encode() + b"\n"])
    assert complete
    assert "".join(lines) == head.decode()


def test_the_control_port_follows_the_commands():
    port = ControlPort()
    port.feed(b"begin 0\nend 0 0\nbeg")
    assert (port.running, port.failed, port.done) == (None, None, False)
    port.feed(b"in 1\n")
    assert port.running == 1
    port.feed(b"end 1 137\nresults 2\ndone\n")
    assert port.running is None
    assert port.failed == (1, 137)
    assert port.results_status == 2
    assert port.done


@pytest.mark.parametrize("line", [b"begin", b"end 1 x", b"end 1", b"\xff", b"done 1", b""])
def test_what_means_nothing_is_an_error(line):
    with pytest.raises(GuestError, match="means nothing"):
        ControlPort().feed(line + b"\n")


@pytest.mark.parametrize(("status", "told"), [(3, "exited with status 3"), (137, "signal 9")])
def test_a_failed_step_can_be_raised(status, told):
    step = a_step(["true"], ["mkfs.xfs", "/dev/vda"])
    failed = GuestResult(
        status=status, failed_command=1, results={}, duration_s=1, tail=("mkfs.xfs: no",)
    )
    with pytest.raises(CommandFailed, match=told) as caught:
        failed.require_success(step)
    assert str(caught.value).startswith("mkfs.xfs /dev/vda ")
    assert "mkfs.xfs: no" in str(caught.value)
    good = GuestResult(status=0, failed_command=None, results={}, duration_s=1)
    assert good.require_success(step) is good


def test_the_tail_keeps_the_last_lines_and_hands_on_all():
    seen = []
    tail = Tail(lambda stream, line: seen.append((stream, line)))
    for number in range(TAIL_LINES + 5):
        tail("stderr", str(number))
    assert len(seen) == TAIL_LINES + 5
    assert list(tail.lines) == [str(n) for n in range(5, TAIL_LINES + 5)]


def test_markers_differ():
    assert new_marker() != new_marker()


def test_a_clock_that_the_machine_cannot_show_is_refused():
    assert a_step(clock_s=0).clock_s == 0
    for seconds in (-1, 1 << 60):
        with pytest.raises(GuestError, match="clock cannot begin"):
            a_step(clock_s=seconds)
