"""The artifact that a post-processor is given, as authors know artifacts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from goldsmith.core.artifact import Artifact
from goldsmith.plugin import protocols


class _State(Mapping[str, Any]):
    """What an artifact tells, asked name by name: hosts cannot list the names."""

    def __init__(self, plain: protocols.Artifact) -> None:
        self._plain = plain
        self._known: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._known:
            self._known[name] = self._plain.state(name)
        if self._known[name] is None:
            raise KeyError(name)
        return self._known[name]

    def __iter__(self) -> Iterator[str]:
        return iter([name for name, value in self._known.items() if value is not None])

    def __len__(self) -> int:
        return sum(1 for _ in self)


@dataclass(frozen=True, kw_only=True)
class GivenArtifact(Artifact):
    """An artifact of another component, perhaps in another process."""

    plain: protocols.Artifact

    def destroy(self) -> None:
        """Ask the component that made it to remove it."""
        self.plain.destroy()


def given_artifact(plain: protocols.Artifact) -> GivenArtifact:
    """What authors are given for it."""
    return GivenArtifact(
        builder_id=plain.builder_id, id=plain.id, string=plain.string, files=tuple(plain.files),
        state=_State(plain), plain=plain,
    )  # fmt: skip


def is_given(artifact: Artifact) -> bool:
    """Whether a post-processor hands on what it was given."""
    return isinstance(artifact, GivenArtifact)


def plain_given(artifact: Artifact) -> protocols.Artifact:
    """What the host gave."""
    assert isinstance(artifact, GivenArtifact)
    return artifact.plain
