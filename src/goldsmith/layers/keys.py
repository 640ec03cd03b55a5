"""What identifies the result of a step: a sorted table of named inputs, and its digest.

Names of inputs say what they are: "type", "config", "config:FIELD", "env:NAME", "file:PATH",
"release:NAME", "secret:NAME" (a keyed hash), "packages". A layer's id says what is in the tree, not
how it was made, so a step keeps its result when the layer below is made again with equal content.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StepKey:
    """The inputs of a step by name ("type", "config", "file:motd"), each with its digest or text.

    The id of the layer below is added by `on`: it is known only when that layer is there.
    """

    inputs: Mapping[str, str]

    @property
    def digest(self) -> str:
        """SHA-256 over the table in the order of its names: the step, wherever it stands."""
        return _digest("inputs/1", encode_table(self.inputs))

    def on(self, parent: str) -> str:
        """The key of this step's result on the layer with this id ("" where it is the first)."""
        return _digest("key/1", parent.encode(), encode_table(self.inputs))


def encode_table(table: Mapping[str, str]) -> bytes:
    """The bytes of a table: the same for equal tables whatever their order, never for others."""
    pairs = sorted((_bytes(name), _bytes(value)) for name, value in table.items())
    return b"".join(_counted(part) for pair in pairs for part in pair)


def layer_id(parent: str, content: str) -> str:
    """The id of an overlay layer; a difference alone does not say what it lies on."""
    return _digest("overlay/1", parent.encode(), content.encode())


def plain_id(content: str) -> str:
    """The id of a layer that holds a full tree of its own."""
    return _digest("plain/1", content.encode())


def canonical(value: object) -> str:
    """A text that is the same for equal configurations, whatever the order of their keys."""
    return json.dumps(value, sort_keys=True, ensure_ascii=True, separators=(",", ":"), default=str)


def _bytes(text: str) -> bytes:
    # Names of files that are no UTF-8 stand in texts as surrogates.
    return text.encode("utf-8", "surrogatepass")


def _counted(part: bytes) -> bytes:
    return b"%d:%s" % (len(part), part)


def _digest(kind: str, *parts: bytes) -> str:
    digest = hashlib.sha256(f"goldsmith {kind}\n".encode())
    for part in parts:
        digest.update(_counted(part))
    return digest.hexdigest()
