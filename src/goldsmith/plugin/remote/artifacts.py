"""Artifacts on the two sides of the wire: a plugin's as core has it, and core's as plugins do."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from goldsmith.core.artifact import Artifact
from goldsmith.errors import GoldsmithError
from goldsmith.plugin import protocols
from goldsmith.plugin.wire.errors import WireError

GENERATED_DATA = "generated_data"


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginArtifact(Artifact):
    """An artifact that a plugin's process keeps; it must live as long as this is used."""

    plain: protocols.Artifact = field(compare=False, repr=False)

    def destroy(self) -> None:
        """Have the plugin remove it; raises GoldsmithError when it cannot."""
        self.plain.destroy()

    def discard(self, kept: Collection[str]) -> None:
        """Have the plugin remove it; where others have some of its files, remove the rest here."""
        if any(name in kept for name in self.files):
            Artifact.discard(self, kept)
        else:
            self.destroy()

    def with_files(self, more: tuple[str, ...]) -> PluginArtifact:
        """The same artifact with further files."""
        files = (*self.files, *(name for name in more if name not in self.files))
        return PluginArtifact(
            builder_id=self.builder_id, id=self.id, string=self.string, files=files,
            state=self.state, plain=self.plain,
        )  # fmt: skip


def received(plain: protocols.Artifact) -> PluginArtifact:
    """A plugin's artifact with what it says of itself, asked once."""
    return PluginArtifact(
        builder_id=plain.builder_id, id=plain.id, string=plain.string,
        files=tuple(plain.files or ()), state=AskedState(plain), plain=plain,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class AskedState(Mapping[str, Any]):
    """What an artifact tells by name: the plugin is asked each time. Its names are not known."""

    plain: protocols.Artifact

    def __getitem__(self, name: str) -> Any:
        try:
            value = self.plain.state(name)
        except WireError:
            value = None  # its process has ended: as Packer, we take that for no answer
        if value is None:
            raise KeyError(name)
        return texts(value) if name == GENERATED_DATA else value

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


def texts(data: Any) -> dict[str, str]:
    """What a builder told of `build.*`, as templates see it: texts."""
    if not isinstance(data, Mapping):
        return {}
    return {str(name): _text(value) for name, value in data.items() if value is not None}


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")
    return str(value)


@dataclass(frozen=True, slots=True)
class ServedArtifact:
    """One of core's artifacts for a plugin (see `protocols.Artifact`)."""

    inner: Artifact

    @property
    def builder_id(self) -> str:
        """What kind of thing it is."""
        return self.inner.builder_id

    @property
    def id(self) -> str:
        """What identifies it."""
        return self.inner.id

    @property
    def string(self) -> str:
        """What the user reads about it."""
        return self.inner.string

    @property
    def files(self) -> Sequence[str]:
        """Its files on this host."""
        return self.inner.files

    def state(self, name: str) -> Any:
        """What it tells under this name; of what cannot cross the wire, nothing."""
        if isinstance(self.inner, PluginArtifact):
            with contextlib.suppress(GoldsmithError):
                return self.inner.plain.state(name)
            return None
        return self.inner.state.get(name)

    def destroy(self) -> None:
        """Remove its files."""
        self.inner.destroy()
