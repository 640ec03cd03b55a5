"""`goldsmith schema`: the published shape of what other programs read."""

from __future__ import annotations

import json

from goldsmith.cli.native_flags import NativeParser
from goldsmith.ui.event_schema import event_schema
from goldsmith.ui.terminal import write_line

_SCHEMAS = {"events": event_schema}


def run(words: list[str], machine_readable: bool) -> int:
    """Print a JSON Schema; 0, or 2 for usage."""
    parser = NativeParser(
        prog="goldsmith schema", allow_abbrev=False,
        description="Prints a JSON Schema: events are the lines of build -log-format=jsonl.",
    )  # fmt: skip
    parser.add_argument("name", choices=sorted(_SCHEMAS), help="what to describe")
    try:
        options = parser.parse_args(words)
    except SystemExit as e:
        return int(e.code or 0)
    write_line(json.dumps(_SCHEMAS[options.name](), indent=2))
    return 0
