"""Elements made for a test, and what is set up of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from goldsmith.elements.description import Description
from goldsmith.elements.phase_keys import phase_inputs
from goldsmith.elements.phases import phase_named
from goldsmith.elements.places import Places
from goldsmith.elements.setup import Setup, set_up

OPERATING_SYSTEM = {"element-provides": "operating-system\n", "root.d/10-os": "#!/bin/bash\n"}


def make(directory: Path, elements: Mapping[str, Mapping[str, str]]) -> Path:
    """Write elements: by name, the text of each file by its place; hooks are executable."""
    for name, files in elements.items():
        for place, text in files.items():
            path = directory / name / place
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            if ".d/" in place and not place.startswith("environment.d/"):
                path.chmod(0o755)
    return directory


def described(directory: Path, *names: str, **more) -> tuple[Description, Setup]:
    """An image of elements that lie in a directory."""
    environment = {"ELEMENTS_PATH": str(directory), **more.pop("environment", {})}
    description = Description(elements=names, environment=environment, **more)
    return description, set_up(description)


def places(directory: Path) -> Places:
    """The places of an image below a directory, of which none is made."""
    return Places(directory / "b.x", directory / "i.x", directory / "cache", directory / "locks",
                  directory)  # fmt: skip


def inputs(
    description: Description,
    setup: Setup,
    phase: str,
    environment: Mapping[str, str],
    directory: Path = Path("/"),
):
    """The inputs of a phase's key, of hooks that run in a directory."""
    return phase_inputs(phase_named(phase), description, setup, environment, directory)
