"""The tutorials about plugins, run from their text: files are written, commands are run."""

import os
import re
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs/tutorial").glob("write-a-*.md"))
FENCED = re.compile(r"^```(\w+)(?: (\S+))?\n(.*?)^```$", re.DOTALL | re.MULTILINE)
PACKER = "/usr/bin/packer"
ENDS_WITHIN_S = 120


def test_there_is_a_tutorial_for_each_kind():
    kinds = ("builder", "command", "data-source", "hook", "post-processor", "provisioner")
    assert [page.stem for page in PAGES] == [f"write-a-{kind}" for kind in kinds]


def environment(place):
    programs = [str(Path(sys.executable).parent), os.environ.get("PATH", "/usr/bin:/bin")]
    return {
        "PATH": ":".join(programs), "HOME": str(place), "TMPDIR": str(place), "LANG": "C.UTF-8",
        "GOLDSMITH_CACHE_DIR": str(place / "cache"), "PACKER_CONFIG_DIR": str(place),
        "CHECKPOINT_DISABLE": "1", "PACKER_NO_COLOR": "1", "PYTHONDONTWRITEBYTECODE": "1",
        # Installed or not, `python3` finds the goldsmith that is tested.
        "PYTHONPATH": str(ROOT / "src"),
    }  # fmt: skip


@pytest.mark.root
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_tutorial_does_what_it_says(page, tmp_path):
    state: dict[str, str] = {}
    for language, name, text in FENCED.findall(page.read_text()):
        if language == "console":
            if name != "packer" or Path(PACKER).exists():
                run_console(text, tmp_path, state)
        elif name:
            (tmp_path / name).write_text(text)


def run_console(text, place, state):
    """Run the lines after `$`; every other line must be printed, in this order."""
    lines = text.splitlines()
    exported = [line[2:] for line in lines if line.startswith("$ export ")]
    script = "\n".join(line[2:] for line in lines if line.startswith("$ "))
    state["exports"] = "\n".join([state.get("exports", ""), *exported])
    printed_to = place / ".printed"
    with printed_to.open("wb") as file:
        running = subprocess.Popen(
            ["/bin/sh", "-ec", f"{state['exports']}\n{script}"], cwd=place,
            env=environment(place), stdin=subprocess.DEVNULL, stdout=file,
            stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
    try:
        status = running.wait(ENDS_WITHIN_S)
    finally:
        # Also what a page has started in the background and not ended.
        with suppress(ProcessLookupError):
            os.killpg(running.pid, signal.SIGKILL)
        running.wait()
    told = printed_to.read_text()
    assert status == 0, told
    assert "Traceback" not in told
    printed = " ".join(told.split())
    at = 0
    for line in lines:
        if line.startswith("$ "):
            continue
        wanted = " ".join(line.split())
        found = printed.find(wanted, at)
        assert found >= 0, f"not printed (after the lines before it): {wanted}\n{told}"
        at = found + len(wanted)
