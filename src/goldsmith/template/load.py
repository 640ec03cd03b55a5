"""Finds the language of a template and loads it."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Any

from goldsmith.core.build import Template
from goldsmith.core.registry import Registry
from goldsmith.errors import Diagnostic, GoldsmithError
from goldsmith.template.dib.command_line import is_command_line
from goldsmith.template.fuel.command_line import is_fuel_command
from goldsmith.template.hcl2.required_plugins import Finder, no_wishes
from goldsmith.values.world import World

STANDARD_INPUT = "-"
_HCL2_SUFFIXES = (".pkr.hcl", ".pkr.json")


def load(
    path: str,
    *,
    variables: Sequence[tuple[str, str]] = (),
    variable_files: Sequence[str] = (),
    world: World,
    read_data: bool = True,
    find_plugin: Finder = no_wishes,
    registry: Registry | None = None,
) -> Template:
    """Load a template file or directory; raises TemplateError with every finding.

    `variables` are those of the command line, in order; everything impure goes through `world`.
    Without `read_data` the outputs of data sources stay unknown; `find_plugin` says which of the
    required plugins are there, `registry` has their components besides goldsmith's own.
    """
    given: dict[str, Any] = {
        "variables": variables, "variable_files": variable_files, "world": world,
    }  # fmt: skip
    if is_hcl2(path, world):
        given |= {
            "read_data": read_data, "find_plugin": find_plugin, "registry": registry,
        }  # fmt: skip
    template: Template = _language(path, world).load(path, **given)
    return template


def check_syntax(
    path: str,
    *,
    variables: Sequence[tuple[str, str]] = (),
    variable_files: Sequence[str] = (),
    world: World,
) -> None:
    """Parse a template, with what is declared and given, and evaluate nothing else.

    Raises TemplateError, GoldsmithError.
    """
    _language(path, world).check_syntax(
        path, variables=variables, variable_files=variable_files, world=world
    )


def unused_names(path: str, *, world: World) -> list[Diagnostic]:
    """Findings about what an HCL2 template declares and never uses; raises TemplateError.

    JSON templates have none: their variables may be for the programs of provisioners.
    """
    if not is_hcl2(path, world):
        return []
    from goldsmith.template.hcl2.loader import unused

    return unused(path, world=world)


def is_hcl2(path: str, world: World) -> bool:
    """Whether a path is in HCL2: by its suffix, or a directory; anything else is older JSON.

    Raises GoldsmithError when there is nothing at the path, or a pipe or device.
    """
    if path == STANDARD_INPUT or is_command_line(path) or is_fuel_command(path):
        return False
    kind = world.path_kind(path)
    if kind == "none":
        raise GoldsmithError(
            f"there is no template {path}",
            hint="name a .pkr.hcl file, a directory that holds some, or a .json template",
        )
    if kind == "other":
        raise GoldsmithError(
            f"{path} is neither a file nor a directory",
            hint='a template that comes from another program is named "-", for standard input',
        )
    return kind == "directory" or path.endswith(_HCL2_SUFFIXES)


def _language(path: str, world: World) -> ModuleType:
    if is_command_line(path):
        from goldsmith.template.dib import loader as command_line_loader

        return command_line_loader
    if is_fuel_command(path):
        from goldsmith.template.fuel import loader as fuel_loader

        return fuel_loader
    if is_hcl2(path, world):
        from goldsmith.template.hcl2 import loader

        return loader
    from goldsmith.template.legacy_json import loader as json_loader

    return json_loader
