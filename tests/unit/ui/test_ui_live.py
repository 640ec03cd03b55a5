"""What is drawn while steps run, and what is printed above it."""

import contextlib
import io
import os
import re
from concurrent.futures import ThreadPoolExecutor

import pytest

from goldsmith.core.engine import BuildResult
from goldsmith.events import Output, Progress, Said, StepFinished, StepStarted
from goldsmith.ui.human import HumanRenderer
from goldsmith.ui.live import LiveLines


def started(step="s", label="Copying", build="a", *, takes_long=True):
    return StepStarted(build=build, step=step, label=label, takes_long=takes_long)


def finished(step="s", build="a"):
    return StepFinished(build=build, step=step, label="", duration_s=1, outcome="ran")


def progress(done, total=0, what="copy", build="a", step="s", **more):
    return Progress(build=build, step=step, what=what, done=done, total=total, **more)


@pytest.fixture
def screen(monkeypatch):
    """A stream that is drawn on, of 80 columns and 24 lines."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("LINES", "24")
    monkeypatch.setenv("TERM", "xterm")
    return io.StringIO()


@pytest.fixture
def live(screen):
    lines = LiveLines(screen, clock=lambda: 65.0)
    yield lines
    lines.stop()


def told(live):
    return [(line.text, line.bar.detail) for line in live.lines()]


def test_a_step_that_takes_long_is_shown_until_it_ends(live):
    live.show(started())
    assert told(live) == [("Copying", "")]
    live.show(finished())
    assert told(live) == []
    assert not live.print_above("x")


def test_a_short_step_is_shown_when_it_tells_how_far_it_is(live):
    live.show(started(takes_long=False))
    assert told(live) == []
    live.show(progress(0, what="Making the initramfs"))
    assert told(live) == [("Copying", "Making the initramfs")]


@pytest.mark.parametrize(
    ("event", "detail"),
    [
        (progress(0, what="Reading lists"), "Reading lists"),
        (progress(3, 8, "Unpacking dpkg"), "3/8 Unpacking dpkg"),
        (progress(1 << 20, 1 << 30, unit="bytes"), "1 MiB of 1 GiB"),
        (progress(42, 100, unit="%"), "42%"),
        (progress(0, what="evil\x1b[2J"), "evil"),
    ],
)
def test_how_far_it_is(live, event, detail):
    live.show(started())
    live.show(event)
    assert told(live) == [("Copying", detail)]


def test_parts_at_once_have_lines_of_their_own_until_they_are_done(live):
    live.show(started())
    live.show(progress(10, 100, part="raw", unit="%"))
    live.show(progress(20, 100, part="qcow2", unit="%"))
    assert told(live) == [("Copying", ""), ("  raw", "10%"), ("  qcow2", "20%")]
    live.show(progress(100, 100, part="raw", unit="%"))
    assert told(live) == [("Copying", ""), ("  qcow2", "20%")]


def test_several_builds_are_told_apart(live):
    live.announce(["a", "b"])
    live.show(started(build="a"))
    live.show(started(build="b", label="Booting"))
    assert told(live) == [("a: Copying", ""), ("b: Booting", "")]
    live.show(finished(build="a"))
    live.ended("a")
    assert told(live) == [("Booting", "")]


def test_every_build_that_runs_has_a_line(live):
    live.announce(["a", "b", "c"])
    live.show(Said(build="a", text="Running a script\nmore"))
    live.show(Output(build="b", step="s", stream="stdout", line="hello"))
    live.show(started(build="b (compress)", label="Packing"))
    assert told(live) == [("a: Running a script", ""), ("b: Packing", "")]
    live.ended("b")
    assert told(live) == [("a: Running a script", "")]
    live.ended("a")
    assert told(live) == []


def test_only_what_runs_on_is_drawn(screen):
    now_s = [100.0]
    live = LiveLines(screen, clock=lambda: now_s[0])
    live.announce(["a"])
    live.show(Said(build="a", text="Running"))
    live.idle()
    assert not live.print_above("x")
    now_s[0] += 1
    live.idle()
    assert live.print_above("x")
    live.ended("a")
    assert not live.print_above("x")


def test_nothing_is_drawn_below_a_flood_of_lines(screen):
    now_s = [100.0]
    live = LiveLines(screen, clock=lambda: now_s[0])
    live.announce(["a"])
    live.show(started())
    drawn = sum(live.print_above("x") for _ in range(10_000))
    live.show(progress(1, 2))
    assert drawn < 100 and not live.print_above("x")
    now_s[0] += 2
    live.idle()
    assert live.print_above("x")
    live.stop()


def test_a_post_processor_speaks_for_its_build(live):
    live.announce(["a"])
    live.show(started("compress", "Running post-processor"))
    live.show(progress(1, 2, build="a (compress)", step="compress"))
    assert told(live) == [("Running post-processor", "1/2 copy")]


def test_lines_above_are_as_they_were_said(live, screen):
    live.show(started())
    assert live.print_above("[bold]x[/bold] :bug:\n\033[1;32mgreen\033[0m")
    live.stop()
    text = screen.getvalue()
    assert "[bold]x[/bold] :bug:" in text
    assert "green" in text


def drawn(screen):
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen.getvalue())


@pytest.mark.parametrize("columns", [20, 40, 60, 80, 200])
def test_no_line_is_wider_than_the_terminal(live, screen, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    live.show(started(label="L" * 300))
    live.show(progress(3, 8, "w" * 300))
    live.stop()
    lines = drawn(screen).replace("\r", "\n").splitlines()
    assert any("L" in line for line in lines)
    assert max(map(len, lines)) <= columns


def test_a_terminal_that_is_resized_is_drawn_anew(live, screen, monkeypatch):
    live.show(started(label="L" * 300))
    first = max(map(len, drawn(screen).replace("\r", "\n").splitlines()))
    monkeypatch.setenv("COLUMNS", "40")
    screen.truncate(0)
    screen.seek(0)
    live._live.refresh()
    now = max(map(len, drawn(screen).replace("\r", "\n").splitlines()))
    assert (first <= 80, now <= 40) == (True, True)


def test_more_steps_than_lines_are_counted(live, screen, monkeypatch):
    monkeypatch.setenv("LINES", "6")
    for number in range(10):
        live.show(started(build=f"b{number}"))
    live._live.refresh()
    assert "more" in drawn(screen)


def test_without_colour_there_is_none(screen):
    lines = LiveLines(screen, color=False, clock=lambda: 0.0)
    lines.show(started())
    lines.show(progress(3, 8))
    lines.stop()
    assert not re.search(r"\x1b\[[0-9;]*m", screen.getvalue())
    assert "Copying" in screen.getvalue()


def test_what_was_taken_away_comes_back_with_the_next_event(live):
    live.show(started())
    live.stop()
    assert not live.print_above("question")
    live.show(progress(1, 2))
    assert told(live) == [("Copying", "1/2 copy")]
    assert live.print_above("x")


@pytest.fixture
def terminal(monkeypatch):
    """An environment in which a terminal is one."""
    for name in ("CI", "NO_COLOR", "PACKER_NO_COLOR", "GOLDSMITH_LOG", "PACKER_LOG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")


def run_of_a_build():
    """What a terminal is given when a build runs on it."""
    reader, writer = os.openpty()
    # A terminal holds little: somebody must read while it is written to.
    with ThreadPoolExecutor(1) as pool:
        written = pool.submit(read_all, reader)
        with open(writer, "w", encoding="utf-8") as stream, contextlib.redirect_stdout(stream):
            play()
        text = written.result()
    os.close(reader)
    return text


def read_all(reader):
    """What comes until the other end of the terminal is closed, which is an error of reading."""
    data = b""
    with contextlib.suppress(OSError):
        while piece := os.read(reader, 1 << 16):
            data += piece
    return data.decode()


def play():
    renderer = HumanRenderer()
    renderer.announce(["a"])
    renderer.render(started())
    renderer.render(Said(build="a", text="hello"))
    renderer.render(Output(build="a", step="s", stream="stdout", line="\x1b[31mred\x1b[0m\x1b[2J"))
    renderer.render(finished())
    renderer.summary([BuildResult("a", duration_s=61)], 61)


@pytest.mark.usefixtures("terminal")
def test_a_terminal_has_live_lines_and_colours():
    text = run_of_a_build()
    assert "\x1b[?25l" in text  # the cursor is hidden while something is drawn
    assert "\x1b[?25h" in text
    assert re.search(r"\x1b\[[0-9;]*31mred", text)
    assert "\x1b[2J" not in text
    assert "1 minute 1 second" in text.rpartition("─")[2]


@pytest.mark.usefixtures("terminal")
@pytest.mark.parametrize(("name", "value"), [("CI", "true"), ("TERM", "dumb")])
def test_nothing_steers_what_nobody_watches(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    text = run_of_a_build()
    assert "==> a: hello\r\n==> a: red\r\n" in text
    assert "─" not in text
    assert text.replace("\r\n", "").isprintable()


@pytest.mark.usefixtures("terminal")
def test_no_color_leaves_the_live_lines(monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    text = run_of_a_build()
    assert "\x1b[?25l" in text
    assert not re.search(r"\x1b\[[0-9;]+m", text)
