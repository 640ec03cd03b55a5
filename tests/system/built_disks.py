"""Makes the disk of a tiny element image in a process with mounts of its own, and looks into it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from private_namespace import run_privately
from tiny_elements import make_system

from goldsmith.builders.elements.disk import make_disk
from goldsmith.builders.elements.disk_wishes import disk_variables, read_wishes
from goldsmith.elements.description import Description
from goldsmith.elements.hook_directory import generated_for, write
from goldsmith.elements.hook_environment import hook_environment
from goldsmith.elements.phases import phase_named
from goldsmith.elements.places import make_places
from goldsmith.elements.setup import set_up
from goldsmith.events import Emitter

EPOCH_S = 1_700_000_000


@dataclass(frozen=True)
class Built:
    build: Path
    tree: Path
    environment: Mapping[str, str]


@dataclass
class Making:
    """A made element `tiny-os`, to which tests add hooks, and disks that are made of it."""

    path: Path
    archive: Path
    more: tuple[str, ...] = ()
    element: Path = field(init=False)

    def __post_init__(self) -> None:
        self.element = make_system(self.path / "elements", self.archive)

    def make(
        self, *elements: str, finish: Callable[[Path], Any] = lambda tree: None, **given: str
    ) -> dict[str, Any]:
        """Make `disk.raw`; returns lines of hooks, what `finish` said, and what was made."""
        return run_privately(lambda: self._make(elements, finish, given))  # type: ignore[no-any-return]

    def _make(
        self, elements: tuple[str, ...], finish: Callable[[Path], Any], given: Mapping[str, str]
    ) -> dict[str, Any]:
        environment = {
            "PATH": os.environ["PATH"], "ELEMENTS_PATH": str(self.path / "elements"),
            "HOME": str(self.path), **given,
        }  # fmt: skip
        description = Description(
            elements=("tiny-os", *elements), environment=environment,
            image_name=str(self.path / "out"),
        )  # fmt: skip
        setup = set_up(description)
        places = make_places(self.path / "state", description, self.path)
        wishes = read_wishes(environment, setup.expansion.elements)
        work = self.path / "work"
        tree = work / "build/mnt"
        tree.mkdir(parents=True)
        subprocess.run([self.element / "root.d/10-tiny"], check=True,
                       env={**environment, "TARGET_ROOT": str(tree)})  # fmt: skip
        (tree / ".top").write_text("a file that a shell's * does not match")
        generated = generated_for(phase_named("finalise.d"), setup, "source")
        write(setup.hooks, work / "build/hooks", generated, work / "build/.goldsmith")
        lines: list[str] = []
        finished: list[Any] = []

        def sink(event: Any) -> None:
            lines.append(str(getattr(event, "line", "")))

        more = disk_variables(wishes)
        built = Built(work / "build", tree, hook_environment(description, setup, places, **more))
        raw = make_disk(
            built, description, setup, places, wishes, emitter=Emitter("test", sink),
            scratch=work / "scratch", epoch_s=EPOCH_S,
            on_final_tree=lambda at: finished.append(finish(at)),
        )  # fmt: skip
        raw.path.rename(self.path / "disk.raw")
        parts = {p.name: p.offset_bytes for p in raw.assembled.partitions}
        return {"lines": lines, "finished": finished[0], "offsets": parts,
                "size_bytes": raw.size_bytes}  # fmt: skip


def look(image: Path, offset_bytes: int, body: Callable[[Path], Any], kind: str = "ext4") -> Any:
    """What `body` finds in a file system of an image, mounted read-only for it alone."""

    def mounted() -> Any:
        top = image.parent / "look"
        top.mkdir(exist_ok=True)
        options = f"ro,loop,offset={offset_bytes}" + (",noload" if kind == "ext4" else "")
        subprocess.run(["mount", "-t", kind, "-o", options, image, top], check=True)
        try:
            return body(top)
        finally:
            subprocess.run(["umount", top], check=True)

    return run_privately(mounted)
