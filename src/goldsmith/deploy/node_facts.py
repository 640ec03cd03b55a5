"""What lies on a node now: the identifiers by which a machine finds its file systems."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from goldsmith.errors import CommandFailed, GoldsmithError
from goldsmith.host.process import run

_TIMEOUT_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """A file system, swap or member of an array as blkid(8) finds it; "" for what it has not."""

    node: str
    type: str = ""
    uuid: str = ""
    label: str = ""


def read_facts(node: str) -> NodeFacts:
    """Look at a node itself, past every cache; raises GoldsmithError where nothing can be read."""
    try:
        done = run(["blkid", "--probe", "--output", "export", node], capture=True, check=False,
                   timeout_s=_TIMEOUT_S)  # fmt: skip
    except CommandFailed as e:
        raise GoldsmithError(f"{node} cannot be looked at: {e}") from e
    if done.status == 8:
        raise GoldsmithError(f"{node} holds the marks of several file systems at once",
                             hint="wipefs --all NODE removes them")  # fmt: skip
    return parse_facts(node, done.text)


def parse_facts(node: str, exported: str) -> NodeFacts:
    """The facts in blkid's output of the kind "export"."""
    pairs = dict(line.partition("=")[::2] for line in exported.splitlines() if "=" in line)
    return NodeFacts(node, pairs.get("TYPE", ""), pairs.get("UUID", ""), pairs.get("LABEL", ""))


def require_uuid(facts: NodeFacts, what: str) -> str:
    """The identifier of a file system; raises GoldsmithError, which says what it is wanted for."""
    if not facts.uuid:
        raise GoldsmithError(
            f"{facts.node} ({what}) has no file system with an identifier",
            hint="its image was not written, or the scheme gives it neither an image nor mkfs",
        )
    return facts.uuid
