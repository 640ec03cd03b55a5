# ruff: noqa: T201
"""What plugins in this process print, and what goldsmith prints past them."""

import io
import sys
import threading

from goldsmith.plugin import printed
from goldsmith.plugin.printed import logged_prints, printing_to
from goldsmith.ui import terminal


def test_lines_go_to_the_log_of_the_plugin_and_ours_to_the_terminal(capsys):
    log: list[str] = []
    with logged_prints(), printing_to(log.append):
        print("one", 1)
        print("two ", end="")
        sys.stdout.writelines(["and\nthree\n"])
        terminal.write_line("ours")
        print("no end", end="", flush=True)
    print("after")
    assert log == ["one 1", "two and", "three", "no end"]
    assert capsys.readouterr().out == "ours\nafter\n"


def test_each_thread_has_a_log_of_its_own():
    logs: dict[str, list[str]] = {"a": [], "b": []}
    both = threading.Barrier(2, timeout=60)

    def work(name: str) -> None:
        with printing_to(logs[name].append):
            for part in range(3):
                print(name, end=" ")
                both.wait()
                print(part)

    with logged_prints():
        threads = [threading.Thread(target=work, args=(name,)) for name in logs]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert logs == {name: [f"{name} {part}" for part in range(3)] for name in logs}


def test_between_builds_it_goes_to_the_log_of_python(capsys, caplog):
    with caplog.at_level("INFO", "goldsmith.plugin"), logged_prints():
        print("hello")
    assert [record.getMessage() for record in caplog.records] == ["hello"]
    assert capsys.readouterr().out == ""


def test_an_inner_block_hands_on_to_its_own_log_and_back():
    outer: list[str] = []
    inner: list[str] = []
    with logged_prints(), logged_prints(), printing_to(outer.append):
        with printing_to(inner.append):
            print("in")
        print("out")
    assert (outer, inner) == (["out"], ["in"])


def test_a_line_without_an_end_is_bounded(monkeypatch):
    monkeypatch.setattr(printed, "LONGEST_LINE", 10)
    log: list[str] = []
    with logged_prints(), printing_to(log.append):
        sys.stdout.write("x" * 25)
    assert log == ["x" * 10, "x" * 10, "x" * 5]


def test_everything_but_writing_is_as_before(monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    monkeypatch.setattr(sys, "stdout", stream)
    with logged_prints():
        assert (sys.stdout.encoding, sys.stdout.isatty()) == ("utf-8", False)
        assert terminal.standard_output() is stream
    assert sys.stdout is stream
