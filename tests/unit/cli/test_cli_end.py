"""The end of the program: at once, and nothing is lost that Python would have done."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

HEAD = """
import sys
from goldsmith.cli import app
sys.argv = ["goldsmith"]
"""


def run(body: str, **how: int) -> subprocess.CompletedProcess[str]:
    """Run a program whose last word is `app.main()`."""
    given = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **how}
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    return subprocess.run([sys.executable, "-c", f"{HEAD}{body}\napp.main()"], check=False,
                          text=True, timeout=60, env=buffered, **given)  # type: ignore[call-overload, no-any-return]  # fmt: skip


@pytest.mark.parametrize("status", [0, 1, 130])
def test_the_status_is_that_of_the_verb(status: int) -> None:
    done = run(f"app.run = lambda words: {status}")
    assert done.returncode == status and done.stdout == done.stderr == ""


def test_modules_are_not_taken_apart() -> None:
    done = run("""
class Loud:
    def __del__(self):
        print("taken apart")
kept = Loud()
app.run = lambda words: print("ran") or 0
""")
    assert done.returncode == 0 and done.stdout == "ran\n"


def test_functions_for_the_exit_are_called_and_what_they_print_comes_out() -> None:
    done = run("""
import atexit
atexit.register(lambda: print("left"))
app.run = lambda words: sys.stdout.write("no newline ") and 0
""")
    assert done.returncode == 0 and done.stdout == "no newline left\n"


def test_threads_are_waited_for_unless_they_are_daemons() -> None:
    done = run("""
import threading, time
never = threading.Event()
def slowly():
    time.sleep(0.1)
    print("done")
def run(words):
    threading.Thread(target=never.wait, daemon=True).start()
    threading.Thread(target=slowly).start()
    return 3
app.run = run
""")
    assert done.returncode == 3 and done.stdout == "done\n"


def test_output_that_nobody_takes_is_told_as_ever() -> None:
    with open("/dev/full", "w") as full:
        done = run("app.run = lambda words: print('lost') or 0", stdout=full.fileno())
    assert done.returncode == 120 and "No space left" in done.stderr


def test_a_main_that_is_given_words_raises_as_ever() -> None:
    done = run("""
app.run = lambda words: len(words)
try:
    app.main(["one", "two"])
except SystemExit as e:
    print("raised", e.code)
app.run = lambda words: 0
""")
    assert done.returncode == 0 and done.stdout == "raised 2\n"


def test_a_profiler_tells_what_it_has_seen() -> None:
    done = subprocess.run([sys.executable, "-m", "cProfile", "-m", "goldsmith", "version"],
                          check=True, text=True, capture_output=True, timeout=60)  # fmt: skip
    assert "function calls" in done.stdout
