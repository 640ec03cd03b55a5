"""The JSON Schema of `--log-format=jsonl`, made from the classes of the events."""

from __future__ import annotations

import dataclasses
import types
from typing import Any, Final, Literal, Union, get_args, get_origin, get_type_hints

from goldsmith.core.option_schema import DIALECT
from goldsmith.events import IN_BUILDS, OF_RUNS, Event, RunStarted
from goldsmith.ui.jsonl import ENVELOPE

_NULLABLE_TEXT: Final[dict[str, Any]] = {"type": ["string", "null"]}
_COMMON: Final[dict[str, dict[str, Any]]] = {
    "time": {"type": "string", "format": "date-time", "description": "When it happened, in UTC."},
    "build": {**_NULLABLE_TEXT, "description": "The build; null for the whole command."},
    "step": {**_NULLABLE_TEXT, "description": "The step that runs; null outside of steps."},
    "key": {**_NULLABLE_TEXT,
            "description": "The digest of the step's key; null where it has none."},
    "parent": {**_NULLABLE_TEXT, "description": "The id of the layer that the step began with."},
    "cache": {"enum": ["hit", "miss", "none", None],
              "description": "What the step cache had; null where there is none."},
    "reason": {**_NULLABLE_TEXT, "description": "Why the cache was used, or not."},
}  # fmt: skip


def event_schema() -> dict[str, Any]:
    """The schema of one line. Later versions may add fields and types; none changes its meaning
    unless the number `schema` of `run-started` does.
    """
    kinds = {cls.kind: _schema_of(cls) for cls in (*IN_BUILDS, *OF_RUNS)}
    return {
        "$schema": DIALECT,
        "title": "An event of goldsmith build --log-format=jsonl",
        "description": f"Schema {RunStarted.__dataclass_fields__['schema'].default}. Pass over "
                       "types and fields that you do not know.",
        "oneOf": [{"$ref": f"#/$defs/{kind}"} for kind in kinds],
        "$defs": kinds,
    }  # fmt: skip


def _schema_of(cls: type[Event]) -> dict[str, Any]:
    hints = get_type_hints(cls)
    own = {
        field.name: _type_of(hints[field.name])
        for field in dataclasses.fields(cls)
        if field.name not in (*ENVELOPE, "at_s")
    }
    properties = {
        name: {"const": cls.kind} if name == "type" else _COMMON[name] for name in ENVELOPE
    }
    return {
        "description": " ".join((cls.__doc__ or "").split()),
        "type": "object",
        "properties": {**properties, **own},
        "required": [*ENVELOPE, *own],
    }


_TYPES: Final = {str: "string", bool: "boolean", int: "integer", float: "number", dict: "object"}


def _type_of(hint: Any) -> dict[str, Any]:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        inner = [_type_of(one) for one in arguments if one is not type(None)]
        return {"type": [inner[0]["type"], "null"]}
    if origin is tuple:
        return {"type": "array", "items": _type_of(arguments[0])}
    if origin is Literal:
        return {"enum": list(arguments)}
    return {"type": _TYPES[origin or hint]}
