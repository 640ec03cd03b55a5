"""The most memory that a program takes, whatever the tests themselves have taken by then."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

# The kernel counts what a process had before it executed a program: that of a small one here, and
# not that of pytest, which grows with every test.
_RUN_AND_TELL = """
import os, resource, subprocess, sys
status = subprocess.call(sys.argv[2:])
most = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
with open(sys.argv[1], "w") as told:
    told.write(str(most * 1024))
sys.exit(status)
"""


def peak_bytes(
    words: list[str], directory: Path, *, environment: dict[str, str] | None = None
) -> int:
    """Run a program to its end in a directory, and insist that it works."""
    told = directory / "peak-memory"
    argv = [sys.executable, "-I", "-S", "-c", _RUN_AND_TELL, str(told), *words]
    done = subprocess.run(
        argv, cwd=directory, env={**os.environ, **(environment or {})}, capture_output=True,
        text=True, check=False, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return int(told.read_text())
