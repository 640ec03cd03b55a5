"""The result of a builder or post-processor: an id, files, and how to destroy them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final


@dataclass(frozen=True, slots=True)
class ExpectedArtifact:
    """What is known of an artifact before it is made: so much that those who use it can refuse.

    `formats` are those of its disk images, none where it has no images; `firmware` is what the
    images are made to boot on.
    """

    formats: tuple[str, ...] = ()
    firmware: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """A result that consists of files on this host; holds JSON values only.

    `native` says that it was made by a source of goldsmith's own, whose outputs may be replaced
    and whose post-processors write idempotently.
    """

    builder_id: str
    id: str
    string: str
    files: tuple[str, ...] = ()
    state: Mapping[str, Any] = field(default_factory=dict)
    native: bool = False

    def destroy(self) -> None:
        """Remove its files; ones that are gone already do not matter."""
        for path in self.files:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)

    @property
    def held(self) -> frozenset[str]:
        """What another artifact may hold too: its files."""
        return frozenset(self.files)

    def discard(self, kept: Collection[str]) -> None:
        """Remove it, but for what of it is in `kept`."""
        for path in self.files:
            if path not in kept:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(path)

    def with_files(self, more: tuple[str, ...]) -> Artifact:
        """The same artifact with further files."""
        return Artifact(
            builder_id=self.builder_id, id=self.id, string=self.string,
            files=(*self.files, *(f for f in more if f not in self.files)),
            state=self.state, native=self.native,
        )  # fmt: skip

    def to_wire(self) -> dict[str, Any]:
        """The form in which it crosses the event pipe."""
        return {
            "builder_id": self.builder_id, "id": self.id, "string": self.string,
            "files": list(self.files), "state": dict(self.state), "native": self.native,
        }  # fmt: skip

    @classmethod
    def from_wire(cls, wire: Mapping[str, Any]) -> Artifact:
        """Make it again from `to_wire`'s form."""
        return cls(**{**wire, "files": tuple(wire["files"])})

    @property
    def run_values(self) -> Mapping[str, str] | None:
        """What the builder filled of `build.*`, for post-processors; None where it tells nothing.

        Stands in `state` under Packer's name for it.
        """
        values: Mapping[str, str] | None = self.state.get("generated_data")
        return values

    @property
    def images(self) -> Mapping[str, str]:
        """Its disk images: the file of each format."""
        images: Mapping[str, str] = self.state.get("images", {})
        return images

    @property
    def expected(self) -> ExpectedArtifact:
        """What would have been known of it before it was made."""
        return ExpectedArtifact(tuple(self.images), tuple(self.state.get("firmware", ())))

    def paths(self) -> list[Path]:
        """Its files as paths."""
        return [Path(name) for name in self.files]


NOTHING: Final = Artifact(builder_id="", id="", string="")
"""What a builder hands on that has made nothing: nothing follows, and nothing is listed."""
