#!/usr/bin/env python3
"""Writes docs/reference/ from the code: what the models, flags and verbs say of themselves.

Descriptions, types and defaults stand in the code alone; here is only what binds them into pages.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import io
import json
import os
import re
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from goldsmith.cli.app import VERBS, module_of, usage
from goldsmith.cli.components import builtin_registry
from goldsmith.cli.flags import Flag
from goldsmith.core.options import Options, WrittenAs
from goldsmith.datasources import KIND as DATA_SOURCE
from goldsmith.errors import GoldsmithError
from goldsmith.template.hcl2.components import POST_PROCESSOR_KEYS, PROVISIONER_KEYS
from goldsmith.template.scheme.options import SchemeOptions
from goldsmith.units import format_duration, format_size

REFERENCE = Path(__file__).parents[1] / "docs/reference"
COMPATIBILITY = REFERENCE.parent / "compatibility.md"
DIFFERENCES = REFERENCE.parents[1] / "tests/compat/differences.json"
DIFFERENCES_START = "<!-- Written by script/docs from tests/compat/differences.json. -->"
DIFFERENCES_END = "<!-- The end of what script/docs writes. -->"
HEAD = "<!-- Written by script/docs from the code: change the code, not this page. -->\n\n"
HELP_COLUMNS = "88"

PROVISIONER_TEXTS = {
    "name": ("text", "A name for messages."),
    "pause_before": ("duration", "Wait before each try."),
    "max_retries": ("number", "How often a failed one is tried again, from the tree before it."),
    "timeout": ("duration", "When this is over, it is killed with all that it started."),
    "only": ("list of text", 'Run for these sources only: "image.debian".'),
    "except": ("list of text", "Run for all sources but these."),
    "override": ("map", "Other options for some sources, by the source's name."),
    "continue_on_error": ("bool", "Whether the build goes on when it has failed."),
    "cache": ("bool", "Whether the result is kept for later builds; by default it is."),
    "cache_key": ("text", "What else identifies the result: another text is another result."),
    "cache_ttl": ("duration", "How long a result is used whose programs saw the network (24h)."),
}
POST_PROCESSOR_TEXTS = {
    "name": ("text", "A name for messages, and for -except."),
    "only": ("list of text", 'Run for these sources only: "image.debian".'),
    "except": ("list of text", "Run for all sources but these."),
    "keep_input_artifact": ("bool", "Whether the artifact that it is given stays."),
}

COMMANDS = {"cache": ("ls", "show", "prune", "verify")}
"""Commands of a verb that take words of their own."""
FLAG_VALUES = {"bool": "", "text": "=TEXT", "number": "=N", "many": "=TEXT", "commas": "=A,B"}


def inner_type(annotation: Any) -> Any:
    """The annotation without `| None`."""
    if get_origin(annotation) in (Union, types.UnionType):
        kept = [part for part in get_args(annotation) if part is not type(None)]
        return kept[0] if len(kept) == 1 else annotation
    return annotation


def block_model(annotation: Any) -> tuple[type[Options], bool] | None:
    """The options of a nested block and whether it may be repeated; None for an argument."""
    annotation = inner_type(annotation)
    if isinstance(annotation, type) and issubclass(annotation, Options):
        return annotation, False
    if get_origin(annotation) in (list, tuple) and get_args(annotation):
        nested = block_model(get_args(annotation)[0])
        return (nested[0], True) if nested else None
    return None


def type_text(annotation: Any, metadata: list[Any]) -> str:
    """The type of an argument, as a template's author thinks of it."""
    annotation = inner_type(annotation)
    if any(isinstance(item, WrittenAs) for item in metadata):
        return {int: "size", float: "duration"}[annotation]
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return type_text(arguments[0], list(arguments[1:]))
    if origin is Literal:
        return " \\| ".join(f"`{value}`" for value in arguments)
    if origin in (list, tuple):
        return f"list of {type_text(arguments[0], [])}"
    if origin is dict:
        return f"map of {type_text(arguments[1], [])}"
    return {str: "text", bool: "bool", int: "number", float: "number"}[annotation]


def default_text(field: FieldInfo) -> str:
    """The default, as it would be written; "required" without one, empty for none at all."""
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True, validated_data={})
    if value is PydanticUndefined or value is None or value in ((), {}, ""):
        return ""
    if any(isinstance(item, WrittenAs) for item in field.metadata):
        if not value:
            return ""
        return format_size(value) if isinstance(value, int) else format_duration(value)
    return f"`{as_hcl(value)}`"


def as_hcl(value: object) -> str:
    """A plain value in the template's language."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(as_hcl, value))}]"
    return f'"{value}"' if isinstance(value, str) else str(value)


def row(*cells: str) -> str:
    """A row of a table; a bar inside a cell is escaped already."""
    return "| " + " | ".join(cells) + " |\n"


def option_rows(model: type[Options]) -> Iterator[str]:
    """A row for each argument of a block; those of any type are only known to be refused."""
    for name, field in model.model_fields.items():
        if inner_type(field.annotation) is Any:
            continue
        if name not in model.labels and not block_model(field.annotation):
            described = (field.description or "").replace("|", "\\|")
            yield row(f"`{field.alias or name}`", type_text(field.annotation, field.metadata),
                      default_text(field), described)  # fmt: skip


def options_text(model: type[Options], heading: str, level: int) -> str:
    """The arguments of a block as a table, then its nested blocks, each under a heading."""
    text = ""
    rows = list(option_rows(model))
    if rows:
        text += row("Argument", "Type", "Default", "Meaning") + row("---", "---", "---", "---")
        text += "".join(rows) + "\n"
    for name, field in model.model_fields.items():
        nested = block_model(field.annotation)
        if nested is None:
            continue
        inner, repeated = nested
        labels = "".join(f' "{label.upper()}"' for label in inner.labels)
        times = "is required" if field.is_required() else "is optional"
        times = "may be repeated" if repeated else times
        title = f"{heading}{name}{labels}"
        text += f"{'#' * level} `{title}`\n\n{field.description} The block {times}.\n\n"
        for label in inner.labels:
            text += f"`{label.upper()}`: {inner.model_fields[label].description}\n\n"
        text += options_text(inner, f"{heading}{name} > ", level)
    return text


def keys_text(texts: dict[str, tuple[str, str]], keys: frozenset[str]) -> str:
    """A table of the arguments that every component of a kind has."""
    if set(texts) != keys:
        raise SystemExit(f"script/generate-docs.py describes {sorted(texts)}, not {sorted(keys)}")
    head = row("Argument", "Type", "Meaning") + row("---", "---", "---")
    return head + "".join(row(f"`{name}`", *texts[name]) for name in sorted(texts)) + "\n"


def summary(component: type[Any]) -> str:
    """The first sentence of a component's docstring."""
    return (component.__doc__ or "").strip().split("\n\n")[0].replace("\n", " ")


def components_text(kind: str, without: tuple[str, ...] = ()) -> str:
    """A section for each component of a kind that a template can name."""
    registry = builtin_registry()
    text = ""
    for name in registry.names(kind):
        if name in without:
            continue
        component = registry.get(kind, name)
        text += f"## `{name}`\n\n{summary(component)}\n\n"
        text += options_text(component.options_model, f"{name} > ", 3)
    return text


VALUES = (
    'A *size* is written `"512MiB"` or `"4GiB"` (`"4G"` is the same, `"4GB"` is decimal), a '
    '*duration* `"90s"` or `"1h30m"`. What has no default may be left out unless it is required. '
    "Unknown arguments are errors.\n\n"
)


def image_source_page() -> str:
    """The page of `source "image"`."""
    builder = builtin_registry().get("builder", "image")
    return (
        f'# `source "image"`\n\n{HEAD}Builds a bootable disk image from packages, an archive or a '
        f"directory. [Root is not needed](../how-to/build-without-root.md).\n\n{VALUES}"
    ) + options_text(builder.options_model, "", 2)


def other_sources_page() -> str:
    """The page of the sources that need no page of their own."""
    return (
        f"# Other sources\n\n{HEAD}The main one, which builds images, has "
        f"[a page of its own](image-source.md).\n\n{VALUES}"
    ) + components_text("builder", without=("image",))


def provisioners_page() -> str:
    """The page of provisioners."""
    return (
        f"# Provisioners\n\n{HEAD}A provisioner changes the tree before it becomes an image. They "
        "run in the order of the template, each in namespaces of its own: a process that one "
        f"starts ends with it.\n\n{VALUES}## What all have\n\n"
        + keys_text(PROVISIONER_TEXTS, PROVISIONER_KEYS)
        + components_text("provisioner")
    )


def post_processors_page() -> str:
    """The page of post-processors."""
    return (
        f"# Post-processors\n\n{HEAD}A post-processor makes something of an artifact, or proves "
        "something about it. Each `post-processor` block starts from the builder's artifact; in a "
        "`post-processors` block each starts from the one before it.\n\n"
        f"{VALUES}## What all have\n\n"
        + keys_text(POST_PROCESSOR_TEXTS, POST_PROCESSOR_KEYS)
        + components_text("post-processor")
    )


def deploy_scheme_page() -> str:
    """The page of what a scheme file can say."""
    return (
        f"# Schemes of `deploy`\n\n{HEAD}A scheme says what disks are to become, in HCL2 (`.hcl`), "
        "its JSON (`.hcl.json`), YAML or JSON; there a block is a map, one that may be repeated a "
        "list of maps, and a label the key that has its name. [How to "
        f"deploy](../how-to/deploy.md).\n\n{VALUES}"
    ) + options_text(SchemeOptions, "", 2)


def data_sources_page() -> str:
    """The page of data sources, with what each gives."""
    text = (
        f"# Data sources\n\n{HEAD}A `data` block reads something before anything is built; its "
        "outputs are `data.TYPE.NAME.OUTPUT`. `validate` reads nothing without "
        f"`-evaluate-datasources`.\n\n{VALUES}"
    )
    registry = builtin_registry()
    for name in registry.names(DATA_SOURCE):
        source = registry.get(DATA_SOURCE, name)
        text += f'## `data "{name}"`\n\n' + options_text(source.options_model, "", 3)
        text += f"Outputs: {', '.join(f'`{output}`' for output in source.outputs)}.\n\n"
    return text


def differences_text() -> str:
    """The recorded cases of Packer that are answered otherwise, by reason."""
    by_reason: dict[str, list[str]] = {}
    for case, reason in json.loads(DIFFERENCES.read_text()).items():
        by_reason.setdefault(reason, []).append(f"`{case}`")
    text = row("Recorded case", "What goldsmith does otherwise") + row("---", "---")
    return text + "".join(row(", ".join(ids), reason) for reason, ids in by_reason.items())


def compatibility_page() -> str:
    """The page about compatibility as it stands, with its generated part anew."""
    before, start, rest = COMPATIBILITY.read_text().partition(DIFFERENCES_START)
    _, end, after = rest.partition(DIFFERENCES_END)
    return f"{before}{start}\n\n{differences_text()}\n{end}{after}"


def flags_text(flags: dict[str, Flag]) -> str:
    """A table of a verb's flags."""
    text = row("Flag", "Meaning") + row("---", "---")
    for name, flag in sorted(flags.items()):
        text += row(f"`-{name}{FLAG_VALUES[flag.kind]}`", flag.help.replace("|", "\\|"))
    return text + "\n"


def help_text(verb: Callable[[list[str], bool], int], *words: str) -> str:
    """What a native verb, or a command of it, prints for --help."""
    printed = io.StringIO()
    # argparse asks for the terminal's width.
    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = HELP_COLUMNS
    try:
        with contextlib.redirect_stdout(printed):
            verb([*words, "--help"], False)
    finally:
        os.environ.pop("COLUMNS")
        if before is not None:
            os.environ["COLUMNS"] = before
    return f"```text\n{printed.getvalue().rstrip()}\n```\n\n"


def exit_codes_text() -> str:
    """A table of the exit codes that errors carry."""
    codes: dict[int, list[str]] = {
        0: ["It was done."], 1: ["Something failed."], 127: ["There is no such verb."]
    }  # fmt: skip
    pending = [GoldsmithError]
    while pending:
        error = pending.pop()
        pending += error.__subclasses__()
        own = "exit_code" in vars(error) and error is not GoldsmithError
        if own and error.__module__ == "goldsmith.errors":
            codes.setdefault(error.exit_code, []).append(error.__doc__.strip().split("\n")[0])
    rows = [row(str(code), " ".join(sorted(texts))) for code, texts in sorted(codes.items())]
    return row("Code", "Meaning") + row("---", "---") + "".join(rows) + "\n"


def command_line_page() -> str:
    """The page of verbs, flags and exit codes."""
    text = (
        f"# Command line\n\n{HEAD}```text\n{usage()}\n```\n\n"
        "The verbs that Packer has too take their flags as Packer's do: with one dash or two, "
        "`-flag=value` or `-flag value`, `-debug=false`, all of them before the template.\n\n"
        "`-machine-readable`, with one dash, may stand anywhere, before the verb too: `build`, "
        "`validate`, `inspect` and `version` then print Packer's records.\n\n"
    )
    for verb in VERBS:
        module = importlib.import_module(module_of(verb))
        told = VERBS[verb][0].upper() + VERBS[verb][1:]
        text += f"## `goldsmith {verb}`\n\n{told}.\n\n"
        if hasattr(module, "USAGE"):
            text += f"```text\n{module.USAGE}\n```\n\n"
        if hasattr(module, "FLAGS"):
            text += flags_text(module.FLAGS)
        elif verb != "version":
            text += help_text(module.run)
        text += "".join(help_text(module.run, word) for word in COMMANDS.get(verb, ()))
    text += "## Exit codes\n\n`build` and `validate` return Packer's codes: 0, or 1 for every "
    text += "failure. The other verbs say more:\n\n" + exit_codes_text()
    text += (
        "Besides, `plan -detailed-exitcode` returns 2 when there is something to do, "
        "`fmt -check` 3 for a file that is not in canonical form, `cache verify` 4 for a result "
        "that is damaged, and `shell` the status of what ran in it.\n"
    )
    return text


PLUGIN_PARTS = {
    "The kinds of components": (
        "Builder", "Provisioner", "PostProcessor", "DataSource", "Hook", "Command",
    ),
    "Options": (
        "Options", "NoOptions", "Field", "Secret", "SizeBytes", "DurationSeconds", "Finding",
        "BuildInfo",
    ),
    "What a component is given": (
        "Ui", "Communicator", "CommandResult", "Hooks", "Artifact", "this_host",
    ),
    "Errors and interrupts": ("PluginError", "ConfigError", "check_cancelled", "pause"),
    "The program": (
        "PluginSet", "serve_builder", "serve_provisioner", "serve_post_processor",
        "serve_datasource", "serve_hook", "serve_command",
    ),
}  # fmt: skip
OTHER_TEXTS = {
    "Field": "pydantic's: the default, `description=`, and limits such as `ge=` and `min_length=`.",
    "Secret": "A text that is masked wherever the component tells something.",
    "SizeBytes": 'A size such as "4GiB"; the component sees bytes.',
    "DurationSeconds": 'A time to wait such as "1m30s"; the component sees seconds.',
}


def plugin_api_page() -> str:
    """What `goldsmith.plugin` offers to those who write plugins."""
    import goldsmith.plugin as api

    listed = {name for names in PLUGIN_PARTS.values() for name in names}
    assert listed == set(api.__all__), f"not on the page: {set(api.__all__) ^ listed}"
    lines = [
        "# Writing plugins: `goldsmith.plugin`", "",
        "A tutorial for each kind: [builder](../tutorial/write-a-builder.md), "
        "[provisioner](../tutorial/write-a-provisioner.md), "
        "[post-processor](../tutorial/write-a-post-processor.md), "
        "[data source](../tutorial/write-a-data-source.md), "
        "[command](../tutorial/write-a-command.md), [hook](../tutorial/write-a-hook.md).", "",
        "`goldsmith plugins new NAME` writes a project; `goldsmith.plugin.testing` has a user and "
        "hooks for its tests, which remember what was done with them. A Python package is found "
        "by an entry point `NAME = \"module:plugin_set\"` in the group `goldsmith.plugins`; its "
        "components run in goldsmith's own process.",
    ]  # fmt: skip
    for title, names in PLUGIN_PARTS.items():
        lines += ["", f"## {title}"]
        for name in names:
            lines += ["", f"### `{name}`", "", *_api_text(name, getattr(api, name))]
    return HEAD + "\n".join(lines)


def _api_text(name: str, thing: Any) -> list[str]:
    if name in OTHER_TEXTS:
        return [OTHER_TEXTS[name]]
    if not isinstance(thing, type):
        return [f"`{name}{_plain_signature(thing)}`", "", inspect.getdoc(thing) or ""]
    lines = [inspect.getdoc(thing) or ""]
    lines += [""] if (members := list(_api_members(thing))) else []
    return [*lines, *members]


def _plain_signature(function: Callable[..., object]) -> str:
    """How it is called, without the quotes that late annotations have."""
    signature = inspect.signature(function)
    parts = [one for one in signature.parameters.values() if one.name != "self"]
    text = str(signature.replace(parameters=parts))
    return re.sub(r"(: |-> )'([^']*)'", r"\1\2", text)


def _api_members(thing: type) -> Iterator[str]:
    """What a class has of its own that authors use, with the first paragraph about it."""
    seen: set[str] = set()
    for cls in thing.__mro__:
        if not cls.__module__.startswith("goldsmith.") or issubclass(cls, Exception | Options):
            continue
        for name, annotation in vars(cls).get("__annotations__", {}).items():
            if not name.startswith("_") and name not in seen:
                seen.add(name)
                yield f"- `{name}: {annotation}`"
        for name, member in vars(cls).items():
            if name.startswith("_") or name in {*seen, "accept", "make_ready", "to_wire"}:
                continue
            text = inspect.getdoc(member) or ""
            if inspect.isfunction(member):
                seen.add(name)
                yield f"- `{name}{_plain_signature(member)}`: {' '.join(text.split())}"
            elif isinstance(member, property):
                seen.add(name)
                yield f"- `{name}`: {' '.join(text.split())}"


PAGES: dict[str, Callable[[], str]] = {
    "image-source.md": image_source_page,
    "other-sources.md": other_sources_page,
    "provisioners.md": provisioners_page,
    "post-processors.md": post_processors_page,
    "data-sources.md": data_sources_page,
    "deploy-scheme.md": deploy_scheme_page,
    "command-line.md": command_line_page,
    "plugin-api.md": plugin_api_page,
}


def main() -> None:
    """Write every page that is not as it should be, and say which."""
    REFERENCE.mkdir(parents=True, exist_ok=True)
    for name, make in PAGES.items():
        text, path = make().rstrip() + "\n", REFERENCE / name
        if not path.exists() or path.read_text() != text:
            path.write_text(text)
            sys.stdout.write(f"wrote {path}\n")
    if COMPATIBILITY.read_text() != (text := compatibility_page()):
        COMPATIBILITY.write_text(text)
        sys.stdout.write(f"wrote {COMPATIBILITY}\n")


if __name__ == "__main__":
    main()
