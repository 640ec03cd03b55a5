"""A caller that ignores the ends of its children has every program below it do so."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from small_image import Project, shell

pytestmark = pytest.mark.root
RUN = """
import os, signal, sys
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
os.execvp(sys.argv[1], sys.argv[1:])
"""


def build(project: Project, template: str) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).with_name("goldsmith")
    environment = {**os.environ, "GOLDSMITH_CACHE_DIR": str(project.state)}
    return subprocess.run([sys.executable, "-c", RUN, program, "build", template], check=False,
                          cwd=project.path, env=environment, capture_output=True, text=True,
                          stdin=subprocess.DEVNULL, timeout=300)  # fmt: skip


@pytest.fixture
def project(tmp_path: Path, goldsmith: Any, small_tree: Path) -> Project:
    """A template of an image."""
    return Project(tmp_path, small_tree, goldsmith)


def test_a_build_in_a_worker_ends_well(project: Project, host_unchanged: None) -> None:
    project.write(shell("trap - CHLD", "(exit 0) & wait $!", "echo made > /made"))
    done = build(project, "t.pkr.hcl")
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_provisioner_that_fails_fails_the_build(project: Project, host_unchanged: None) -> None:
    project.write(shell("exit 3"))
    done = build(project, "t.pkr.hcl")
    assert done.returncode == 1 and "exit status: 3" in done.stdout + done.stderr


def test_a_build_without_a_worker_ends_well(project: Project, host_unchanged: None) -> None:
    text = 'source "file" "f" {\n  content = "x"\n  target = "f"\n}\n'
    named = '/*\nsource "image"\n*/\nbuild {\n  sources = ["source.file.f"]\n}\n'
    (project.path / "f.pkr.hcl").write_text(text + named)
    done = build(project, "f.pkr.hcl")
    assert done.returncode == 0, done.stdout + done.stderr
