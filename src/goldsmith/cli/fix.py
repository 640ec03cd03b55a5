"""`goldsmith fix`: an old JSON template as today's options want it, on standard output."""

from __future__ import annotations

import sys

from goldsmith.cli.flags import Flag, FlagError, describe, read_flags
from goldsmith.errors import Diagnostics, GoldsmithError, TemplateError
from goldsmith.template.legacy_json.document import read_document
from goldsmith.template.legacy_json.fixers import FIXERS, fix_template
from goldsmith.template.legacy_json.loader import read_text
from goldsmith.template.legacy_json.outline import read_outline
from goldsmith.template.legacy_json.plain import plain, written
from goldsmith.template.load import is_hcl2
from goldsmith.ui.diagnostics import render_error
from goldsmith.ui.terminal import wants_color, write_line
from goldsmith.values.world import LiveWorld

FLAGS = {"validate": Flag("bool", "check the outline of the result; on by default")}


def run(words: list[str], machine_readable: bool) -> int:
    """Write the template; 1 when it cannot be fixed, or is none even when fixed."""
    if words[:1] in (["-help"], ["--help"], ["-h"]):
        write_line(_usage())
        return 0
    try:
        flags = read_flags(FLAGS, words)
        if len(flags.words) != 1:
            raise FlagError(f"exactly one template is needed, {len(flags.words)} were given")
        text = _fixed(flags.words[0])
        write_line(text + "\n")
        if flags.maybe_bool("validate") is not False:
            _check(text)
    except FlagError as e:
        write_line(f"{_usage()}\n\n{e}")
        return 1
    except GoldsmithError as e:
        # Standard output is the template's.
        write_line(render_error(e, color=wants_color(sys.stderr, None)), stream=sys.stderr)
        return 1
    return 0


def _usage() -> str:
    width = max(len(fixer.name) for fixer in FIXERS)
    fixers = "\n".join(f"  {fixer.name:<{width}}  {fixer.summary}" for fixer in FIXERS)
    head = "Usage: goldsmith fix [options] TEMPLATE"
    return f"{head}\n\n{describe(FLAGS)}\n\nWhat it does, in this order:\n\n{fixers}"


def _fixed(path: str) -> str:
    """The fixed template; raises GoldsmithError for what is no JSON template."""
    world = LiveWorld()
    if is_hcl2(path, world):
        raise GoldsmithError(
            f"{path} is in HCL2; fix works with JSON templates only",
            hint="goldsmith fmt formats HCL2",
        )
    root = read_document(read_text(path, world), path, found=Diagnostics(), repeated="last")
    template = plain(root)
    if not isinstance(template, dict):
        raise GoldsmithError(f"{path}: a JSON template is an object; this is {root.kind}")
    for key in ("builders", "provisioners", "post-processors"):
        if not isinstance(template.get(key), list | None):
            raise GoldsmithError(f'{path}: "{key}" must be a list')
    return written(fix_template(template))


def _check(text: str) -> None:
    """Raise TemplateError when the fixed text is no template."""
    name = "the fixed template"
    found = Diagnostics()
    read_outline(read_document(text, name, found=found), found)
    if found.errors:
        raise TemplateError(found.found, {name: text})
