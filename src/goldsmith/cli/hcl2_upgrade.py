"""`goldsmith hcl2_upgrade`: a JSON template rewritten in HCL2."""

from __future__ import annotations

import sys
from pathlib import Path

from goldsmith.cli.components import builtin_registry
from goldsmith.cli.flags import Flag, FlagError, Flags, read_flags, usage_of
from goldsmith.errors import GoldsmithError, TemplateError, explain_os_error
from goldsmith.template.legacy_json.loader import load_outline, read_text
from goldsmith.template.legacy_json.upgrade import upgrade
from goldsmith.template.load import is_hcl2
from goldsmith.ui.diagnostics import render_error
from goldsmith.ui.terminal import wants_color, write_line
from goldsmith.values.world import LiveWorld, RecordingWorld

FLAGS = {
    "output-file": Flag("text", "the file to write; TEMPLATE.pkr.hcl unless given"),
    "with-annotations": Flag("bool", "write comments that explain the blocks"),
}


def run(words: list[str], machine_readable: bool) -> int:
    """Write the HCL2 file; 1, and no file, when the template cannot be rewritten."""
    if words[:1] in (["-help"], ["--help"], ["-h"]):
        write_line(usage_of("hcl2_upgrade", FLAGS))
        return 0
    try:
        flags = read_flags(FLAGS, words)
        if len(flags.words) != 1:
            raise FlagError(f"exactly one template is needed, {len(flags.words)} were given")
        output = _upgrade(flags.words[0], flags)
    except FlagError as e:
        write_line(f"{usage_of('hcl2_upgrade', FLAGS)}\n\n{e}")
        return 1
    except (GoldsmithError, OSError) as e:
        told = explain_os_error(e) if isinstance(e, OSError) else e
        write_line(render_error(told, color=wants_color(sys.stdout, None)))
        return 1
    write_line(f"Successfully created {output}. Exit 0")
    return 0


def _upgrade(path: str, flags: Flags) -> str:
    """Write the file; returns its name. Raises GoldsmithError, OSError."""
    world = RecordingWorld(LiveWorld())
    if is_hcl2(path, world):
        raise GoldsmithError(f"{path} is in HCL2 already", hint="name a JSON template")
    outline = load_outline(path, world=world)
    try:
        upgraded = upgrade(
            outline, known_builders=builtin_registry().names("builder"),
            annotations=flags.on("with-annotations"),
        )  # fmt: skip
    except TemplateError as e:
        e.sources = {path: read_text(path, world)}
        raise
    for text in upgraded.kept:
        write_line(f"Warning: HCL2 has no expression for this, it stays a Go template: {text}",
                   stream=sys.stderr)  # fmt: skip
    output = flags.text("output-file") or f"{path}.pkr.hcl"
    Path(output).write_text(upgraded.text)
    return output
