"""`goldsmith inspect`: what a template asks for, in Packer's lines; nothing is prepared or run."""

from __future__ import annotations

from goldsmith.cli.flags import Flag, FlagError, Flags, describe, read_flags
from goldsmith.cli.inspect_json import show_outline
from goldsmith.cli.templates import (
    STRICT_FLAGS,
    TEMPLATE_FLAGS,
    language_of,
    optional_template,
    refuse_stray_names,
    variable_pairs,
)
from goldsmith.errors import GoldsmithError
from goldsmith.gotemplate.quoting import quote
from goldsmith.redact import Redactor
from goldsmith.template.hcl2.display import display
from goldsmith.template.hcl2.loader import load_overview
from goldsmith.template.hcl2.overview import BuildOverview, Overview
from goldsmith.template.legacy_json.loader import least_outline, load_outline
from goldsmith.template.load import is_hcl2
from goldsmith.ui.machine import MachineRenderer, show_error
from goldsmith.ui.terminal import write_line
from goldsmith.values.world import LiveWorld

FLAGS = {
    **TEMPLATE_FLAGS,
    **STRICT_FLAGS,
    "config-type": Flag("text", "the language without a template: json (default) or hcl2"),
}
USAGE = "Usage: goldsmith inspect [options] [TEMPLATE]"


def run(words: list[str], machine_readable: bool) -> int:
    """Show a template; 0 also where variables have no value, 1 when it cannot be read."""
    usage = f"{USAGE}\n\n{describe(FLAGS)}"
    if words[:1] in (["-help"], ["--help"], ["-h"]):
        write_line(usage)
        return 0
    tell = MachineRenderer().line if machine_readable else write_line
    try:
        flags = read_flags(FLAGS, words)
        path, world = optional_template(flags), LiveWorld()
        if not (is_hcl2(path, world) if path else language_of(flags) == "hcl2"):
            outline = load_outline(path, world=world) if path else least_outline()
            show_outline(outline, machine_readable=machine_readable)
            return 0
        overview = _overview(path, flags, world) if path else Overview({}, {}, (), frozenset())
    except FlagError as e:
        write_line(f"{usage}\n\n{e}")
        return 1
    except GoldsmithError as e:
        show_error(e, machine_readable=machine_readable)
        return 1
    redactor = Redactor(overview.secrets)
    for text in (_HEAD, values_text(overview, redactor), redactor.redact(_builds(overview))):
        tell(text)
    return 0


def _overview(path: str, flags: Flags, world: LiveWorld) -> Overview:
    overview = load_overview(
        path, variables=variable_pairs(flags), variable_files=flags.many("var-file"), world=world
    )
    if flags.on("strict"):
        refuse_stray_names(path, overview.warnings, overview.sources, world)
    return overview


# Each text ends in a newline of its own: Packer prints an empty line after each.
_HEAD = "Packer Inspect: HCL2 mode\n"


def values_text(overview: Overview, redactor: Redactor) -> str:
    """The variables, then the locals, each as a quoted text."""
    lines = {
        kind: "".join(
            f"{kind}.{name}: {quote(redactor.redact(display(value)))}\n"
            for name, value in values.items()
        )
        for kind, values in (("var", overview.variables), ("local", overview.local_values))
    }
    return f"> input-variables:\n\n{lines['var']}\n> local-variables:\n\n{lines['local']}"


def _builds(overview: Overview) -> str:
    text = "> builds:\n"
    for number, build in enumerate(overview.builds):
        text += f"\n  > {build.name or f'<unnamed build {number}>'}:\n"
        if build.description:
            text += f"\n  > Description: {build.description}\n"
        text += _components(build)
    return text


def _components(build: BuildOverview) -> str:
    sources = "".join(f"\n      {name}\n" for name in build.sources or ("<no source>",))
    provisioners = "".join(
        f"      {name}\n" for name in build.provisioners or ("<no provisioner>",)
    )
    chains = "".join(
        f"\n      {number}:\n" + "".join(f"        {name}\n" for name in chain)
        for number, chain in enumerate(build.chains)
    )
    return (
        f"\n    sources:\n{sources}\n    provisioners:\n\n{provisioners}"
        f"\n    post-processors:\n{chains or _NO_POST_PROCESSOR}"
    )


_NO_POST_PROCESSOR = "\n      <no post-processor>\n"
