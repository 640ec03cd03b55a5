"""Directories of plugins for tests: components of the real packer, and small programs."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import sys
from pathlib import Path

import pytest

PACKER = shutil.which("packer")


def old_component(directory: Path, kind: str, name: str) -> Path:
    """Have a component inside packer 1.6 as a program of one component."""
    if PACKER is None:
        pytest.fail("packer 1.6.6 is not installed: apt-get install packer", pytrace=False)
    path = directory / f"packer-{kind}-{name}"
    return program(path, f'#!/bin/sh\nexec "{PACKER}" plugin packer-{kind}-{name}\n')


def program(path: Path, text: str) -> Path:
    """Write a script that can be run."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


def python_program(path: Path, body: str) -> Path:
    """Write a Python script that can be run, by this interpreter."""
    return program(path, f"#!{sys.executable}\n{body}")


def file_name(name: str, version: str = "1.2.3", api: str = "x5.0") -> str:
    """The name of a plugin's program for this host."""
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    return f"packer-plugin-{name}_v{version}_{api}_{platform.system().lower()}_{machine}"


def summed(path: Path) -> Path:
    """Write the checksum file of a program."""
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    path.with_name(path.name + "_SHA256SUM").write_text(digest)
    return path


def described(version: str = "1.2.3", **components: list[str]) -> str:
    """What `describe` prints."""
    empty: dict[str, list[str]] = {
        key: [] for key in ("builders", "post_processors", "provisioners", "datasources")
    }
    return json.dumps(
        {"version": version, "api_version": "x5.0", "protocol_version": "v2", **empty, **components}
    )


def processes_naming(text: str) -> list[str]:
    """The command lines of living processes that name this."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            words = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            environment = (entry / "environ").read_bytes().decode(errors="replace")
            state = (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()[0]
        except OSError:
            continue
        if state not in "ZX" and (text in words or text in environment):
            found.append(words)
    return found
