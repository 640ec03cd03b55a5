"""Finds the language of a template and loads it."""

from __future__ import annotations

import os
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
    kind = world.path_kind(path)
    if kind == "none":
        raise GoldsmithError(
            f"there is no template {path}",
            hint="name a .pkr.hcl file, or a directory that holds some",
        )
    if kind == "file" and not os.path.basename(path).endswith(".pkr.hcl"):
        raise GoldsmithError(
            f"{path}: templates in JSON are not available in goldsmith yet",
            hint="`packer hcl2_upgrade` makes a .pkr.hcl file of it",
        )
    return loader.load(path, variables=variables, variable_files=variable_files, world=world)
