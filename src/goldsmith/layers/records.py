"""What is known of a published layer, as a file that is read strictly or not at all."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from goldsmith.layers.keys import StepKey, layer_id, plain_id

OVERLAY: Final = "overlay"
"""A layer that holds what a step changed, as the upper directory of an overlay."""
PLAIN: Final = "plain"
"""A layer that holds the whole tree."""
FLAT: Final = "flat"
"""A whole tree that stands for a stack of overlay layers, under the id of the topmost one."""

_FORMAT: Final = 1
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
LAYER_NAME: Final = re.compile(r"[0-9a-f]{12}")


class RecordError(ValueError):
    """The text is no record that this version can read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeStep:
    """What a builder says of the step whose result it has published."""

    key: StepKey
    parent: str
    """The id of the layer below; "" where there is none."""
    kind: str = OVERLAY
    step: str
    """The step's name in events."""
    label: str
    duration_s: float
    build: str = ""
    """The build that it belonged to, for whoever asks what is like it."""
    network: str = "none"
    """The rule under which it is used again: "none", "releases" or "releases and age"."""
    releases_s: float | None = None
    """When the Release files were read whose digests are in the key, in seconds since 1970."""

    def id_of(self, content: str) -> str:
        """The id of a result with this content digest."""
        return _id_of(self.kind, self.parent, content)


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A layer of the store: what made it, what it is, and where it lies."""

    key: str
    """What the record is found by; for a flat layer its id."""
    own: str
    """The digest of the inputs without the layer below; "" for a flat layer."""
    inputs: Mapping[str, str]
    parent: str
    """The id of the layer below; "" at the bottom, and for a flat layer."""
    id: str
    """What a step above it has as its parent; "" for a failed one, on which nothing stands."""
    content: str
    """The digest of its listing; "" for a failed one."""
    layer: str
    """The name of its directory."""
    kind: str
    step: str
    label: str
    made_s: float
    """When it was published, in seconds since 1970."""
    duration_s: float
    size_bytes: int
    """What its tree takes on the disk."""
    network: str
    releases_s: float | None
    goldsmith: str
    """The version that made it."""
    error: str = ""
    """Why the step failed whose tree this is."""
    build: str = ""
    """The name of the build that made it."""
    last_used_s: float = field(default=0.0, compare=False)
    """The time of the record's file, which is set at each use; no part of its text."""

    @property
    def failed(self) -> bool:
        """Whether it is the tree of a step that failed, and so never a hit."""
        return bool(self.error)

    def encoded(self) -> bytes:
        """The bytes of the record's file."""
        fields = dataclasses.asdict(self)
        del fields["last_used_s"]
        fields["inputs"] = dict(sorted(self.inputs.items()))
        text = json.dumps({"format": _FORMAT, **fields}, ensure_ascii=True, indent=1)
        return text.encode() + b"\n"

    @classmethod
    def decoded(cls, data: bytes, last_used_s: float = 0.0) -> Record:
        """Read `encoded`'s bytes; raises RecordError for anything else."""
        fields = _object(data)
        if fields.pop("format", None) != _FORMAT:
            raise RecordError("it was written by another version of goldsmith")
        if set(fields) != _TYPES.keys():
            raise RecordError("it does not have the fields of a record")
        for name, types in _TYPES.items():
            if type(fields[name]) not in types:
                raise RecordError(f"its {name} is no {types[0].__name__}")
        record = cls(**fields, last_used_s=last_used_s)
        _check_values(record)
        return record


_TYPES: Final[Mapping[str, tuple[type, ...]]] = {
    "key": (str,), "own": (str,), "inputs": (dict,), "parent": (str,), "id": (str,),
    "content": (str,), "layer": (str,), "kind": (str,), "step": (str,), "label": (str,),
    "made_s": (float, int), "duration_s": (float, int), "size_bytes": (int,), "network": (str,),
    "releases_s": (float, int, type(None)), "goldsmith": (str,), "error": (str,),
    "build": (str,),
}  # fmt: skip


def layer_named_in(data: bytes) -> str | None:
    """The layer that a record names, even one that a later version wrote; None for no record."""
    try:
        layer = _object(data).get("layer")
    except RecordError:
        return None
    return layer if isinstance(layer, str) and LAYER_NAME.fullmatch(layer) else None


def _object(data: bytes) -> dict[str, Any]:
    try:
        fields = json.loads(data)
    except (ValueError, RecursionError) as e:
        raise RecordError("it is torn, or no record at all") from e
    if not isinstance(fields, dict):
        raise RecordError("it is torn, or no record at all")
    return fields


def _check_values(record: Record) -> None:
    """Whether the fields hold together; a record that was changed by hand is none."""
    if not all(isinstance(value, str) for value in record.inputs.values()):
        raise RecordError("a value of its inputs is no text")
    numbers = (record.made_s, record.duration_s, record.releases_s or 0.0)
    if not all(math.isfinite(number) for number in numbers) or record.size_bytes < 0:
        raise RecordError("a number of it is out of range")
    if not LAYER_NAME.fullmatch(record.layer):
        raise RecordError("its layer has no name of a layer")
    if record.kind not in (OVERLAY, PLAIN, FLAT):
        raise RecordError(f"its kind {record.kind!r} is not known")
    if record.failed != (record.id == "") or record.failed != (record.content == ""):
        raise RecordError("it is neither a failed nor a good one")
    if not all(_DIGEST.fullmatch(d) for d in (record.key, record.id, record.content) if d):
        raise RecordError("a digest of it is none")
    if record.kind == FLAT:
        right = record.key == record.id and not record.failed
    else:
        step = StepKey(record.inputs)
        right = record.own == step.digest and record.key == step.on(record.parent)
        if not record.failed:
            right = right and record.id == _id_of(record.kind, record.parent, record.content)
    if not right:
        raise RecordError("its key or its id is not that of its inputs")


def _id_of(kind: str, parent: str, content: str) -> str:
    return plain_id(content) if kind == PLAIN else layer_id(parent, content)
