"""`required_plugins`: where the components of a template that are not built in come from."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Final

from goldsmith.core.options import did_you_mean
from goldsmith.errors import Diagnostics, SourceRange, TemplateError
from goldsmith.template.hcl2.ast import Attribute, Block
from goldsmith.template.hcl2.blocks import ANY_ATTRIBUTES, PACKER, checked
from goldsmith.template.hcl2.evaluator import evaluate
from goldsmith.template.hcl2.required_version import MalformedConstraint, satisfies
from goldsmith.template.hcl2.scope import constants_only
from goldsmith.values.world import World

_KEYS: Final = ("source", "version")
_NAME: Final = re.compile(r"[a-z0-9]+(?:[-_]?[a-z0-9]+)*")
_PRERELEASE: Final = re.compile(r"\d-[0-9A-Za-z]")
_PART: Final = re.compile(r"[0-9A-Za-z_][0-9A-Za-z_.-]*")
MISSING_SUMMARY: Final = "Missing plugin"


@dataclass(frozen=True, slots=True)
class RequiredPlugin:
    """An entry: `source` is HOST/NAMESPACE/NAME, `constraint` a list of version constraints."""

    name: str
    source: str
    constraint: str
    range: SourceRange


Finder = Callable[[RequiredPlugin], str]
"""Says what is wrong with a plugin and what to do about it, after its name; "" for none."""


def no_wishes(plugin: RequiredPlugin) -> str:
    """Takes every plugin as present."""
    return ""


def source_problem(source: str) -> str:
    """What is wrong with a source address; "" when nothing is."""
    parts = source.split("/")
    if len(parts) < 3 or not all(_PART.fullmatch(part) for part in parts):
        return f'"{source}" is no source address: write "HOST/NAMESPACE/NAME".'
    if parts[-1].startswith("packer-plugin-"):
        return f'Write the address without "packer-plugin-": {"/".join(parts[:-1])}/' + (
            parts[-1].removeprefix("packer-plugin-") + "."
        )
    return ""


def constraint_problem(constraint: str) -> str:
    """What is wrong with a version constraint; "" when nothing is."""
    if _PRERELEASE.search(constraint):
        return f'"{constraint}" names a pre-release, which constraints of plugins must not.'
    try:
        satisfies("1.0.0", constraint)
    except MalformedConstraint as error:
        return f"{error.message}; {error.hint}."
    return ""


def required_plugins(
    packer_blocks: Iterable[Block], world: World, found: Diagnostics
) -> list[RequiredPlugin]:
    """The plugins that `packer` blocks require, in order; what is wrong is added to `found`."""
    plugins: dict[tuple[str, str], RequiredPlugin] = {}
    for block in packer_blocks:
        _, inner = checked(block.body, PACKER, Diagnostics(), block)
        for requirements in inner:
            attributes, _ = checked(requirements.body, ANY_ATTRIBUTES, found, requirements)
            for attribute in attributes.values():
                plugin = _plugin(attribute, world, found, requirements)
                if plugin is None:
                    continue
                key = plugin.name, plugin.source
                if (earlier := plugins.get(key)) is not None:
                    both = f"{earlier.constraint}, {plugin.constraint}"
                    plugin = RequiredPlugin(*key, both, earlier.range)
                plugins[key] = plugin
    return list(plugins.values())


def _plugin(
    attribute: Attribute, world: World, found: Diagnostics, block: Block
) -> RequiredPlugin | None:
    name, where = attribute.name, attribute.name_range
    summary = f'Invalid requirement "{name}"'

    def wrong(detail: str, place: SourceRange | None) -> None:
        found.error(summary, detail, place or where, block.header)

    try:
        value = evaluate(attribute.expression, constants_only(world, "required_plugins"))
    except TemplateError as error:
        found.extend(replace(one, subject=block.header) for one in error.diagnostics)
        return None
    errors_before = len(found.errors)
    if not _NAME.fullmatch(name):
        wrong(f'"{name}" is no plugin name: small letters, digits, "-" and "_".', where)
    if not isinstance(value.raw, dict):
        wrong(f'Write {name} = {{ source = "HOST/NAMESPACE/{name}", version = ">= 1.0" }}.',
              attribute.expression.range)  # fmt: skip
        return None
    for key, item in value.raw.items():
        if key not in _KEYS:
            detail = f'"{key}" is not expected here: a requirement has source and version.'
            wrong(detail + did_you_mean(key, _KEYS), item.range)
        elif not isinstance(item.raw, str):
            wrong(f"{key} is a text.", item.range)
    for key in _KEYS:
        if key not in value.raw:
            wrong(f'The requirement has no "{key}".', where)
    if len(found.errors) > errors_before:
        return None
    source, version = value.raw["source"], value.raw["version"]
    if problem := source_problem(source.text):
        wrong(problem, source.range)
    if problem := constraint_problem(version.text):
        wrong(problem, version.range)
    if len(found.errors) > errors_before:
        return None
    return RequiredPlugin(name, source.text, version.text, where)


def report_missing(plugins: Iterable[RequiredPlugin], find: Finder, found: Diagnostics) -> None:
    """Add an error for each plugin that cannot be used, with what to do about it."""
    for plugin in plugins:
        if remedy := find(plugin):
            detail = f'{plugin.name} ({plugin.source} "{plugin.constraint}") {remedy}'
            found.error(MISSING_SUMMARY, detail, plugin.range, "required_plugins")
