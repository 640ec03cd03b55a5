"""Finds the language of a template and loads it."""

from __future__ import annotations

from collections.abc import Sequence

from goldsmith.core.build import Template
from goldsmith.errors import GoldsmithError
from goldsmith.template.hcl2 import loader
from goldsmith.values.world import World


def load(
    path: str,
    *,
    variables: Sequence[tuple[str, str]] = (),
    variable_files: Sequence[str] = (),
    world: World,
) -> Template:
    """Load a template file or directory; raises TemplateError with every finding.

    `variables` are those of the command line, in order; everything impure goes through `world`.
    """
    _check_language(path, world)
    return loader.load(path, variables=variables, variable_files=variable_files, world=world)


def check_syntax(path: str, *, world: World) -> None:
    """Parse a template and evaluate nothing; raises TemplateError, GoldsmithError."""
    _check_language(path, world)
    loader.check_syntax(path, world=world)


def _check_language(path: str, world: World) -> None:
    """Refuse what is no HCL2 template by its name."""
    hint = "name a .pkr.hcl file, or a directory that holds some"
    if path == "-":
        raise GoldsmithError("a template cannot be read from standard input yet", hint=hint)
    kind = world.path_kind(path)
    if kind == "none":
        raise GoldsmithError(f"there is no template {path}", hint=hint)
    if kind == "directory" or path.endswith(loader.HCL_SUFFIX):
        return
    if path.endswith(".json"):
        raise GoldsmithError(
            f"{path}: templates in JSON are not available in goldsmith yet",
            hint="`packer hcl2_upgrade` makes a .pkr.hcl file of it",
        )
    raise GoldsmithError(f"{path} is no template by its name", hint=hint)
