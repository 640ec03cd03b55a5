"""`goldsmith schema`: the published shape of what other programs read, and of what they write."""

from __future__ import annotations

import json
import sys
from typing import Any

from goldsmith.cli.components import builtin_registry
from goldsmith.cli.native_flags import NativeParser
from goldsmith.core.option_schema import DIALECT, component_schemas, document
from goldsmith.core.options import did_you_mean
from goldsmith.ui.event_schema import event_schema
from goldsmith.ui.terminal import write_line

KINDS = ("data source", "builder", "provisioner", "post-processor")
EVENTS, COMPONENTS = "events", "components"


def schemas() -> dict[str, dict[str, Any]]:
    """Every schema by the name that the command line gives it."""
    parts = component_schemas(builtin_registry(), KINDS)
    alone = {name: {"$schema": DIALECT, "title": name, **part} for name, part in parts.items()}
    return {COMPONENTS: document(parts), EVENTS: event_schema(), **alone}


def run(words: list[str], machine_readable: bool) -> int:
    """Print a JSON Schema, or the names of all; 0, or 2 for usage."""
    try:
        options = command_parser().parse_args(words)
    except SystemExit as e:
        return int(e.code or 0)
    known = schemas()
    if options.list:
        write_line("\n".join(known))
        return 0
    if options.name not in known:
        near = did_you_mean(options.name, known)
        near += f" There are {COMPONENTS}, {EVENTS} and those that goldsmith schema -list names."
        write_line(f"There is no schema {options.name}.{near}", stream=sys.stderr)
        return 2
    write_line(json.dumps(known[options.name], indent=2))
    return 0


def command_parser() -> NativeParser:
    """The words and flags of the verb."""
    parser = NativeParser(
        prog="goldsmith schema", allow_abbrev=False,
        description="Prints a JSON Schema. components (the default) has the options of all "
        "components, builder.NAME, provisioner.NAME, post-processor.NAME and data-source.NAME those"
        " of one; events are the lines of build -log-format=jsonl.",
    )  # fmt: skip
    parser.add_argument("name", nargs="?", default=COMPONENTS, help="what to describe")
    parser.add_argument("--list", action="store_true", help="print the names of all schemas")
    return parser
