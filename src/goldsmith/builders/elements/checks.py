"""What is wrong with an image of elements whatever the host: found by whoever reads a template."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from goldsmith.builders.elements.disk_wishes import CONFIG_VARIABLE
from goldsmith.builders.elements.recipe import Recipe
from goldsmith.core.options import Finding
from goldsmith.elements.catalog import ElementError
from goldsmith.elements.option_types import wrong_declarations, wrong_install_type
from goldsmith.errors import GoldsmithError, TemplateError

_ELEMENTS: Final = ("elements",)
_ENVIRONMENT: Final = ("environment",)


def findings(recipe: Recipe, directory: Path) -> Iterator[Finding]:
    """Every finding, at its option or in the file of an element; outputs start at `directory`."""
    for output in recipe.outputs(directory, makes_disk=True).findings(on_host=False):
        yield Finding(output.text, output.path)
    try:
        setup = recipe.setup
    except ElementError as e:
        yield Finding(str(e), _ELEMENTS, e.hint or "", rests_on=(_ENVIRONMENT,))
        return
    yield from wrong_install_type(setup, recipe.options.install_type, ("install_type",))
    yield from wrong_declarations(setup, _ELEMENTS, (_ENVIRONMENT,))
    yield from _of_the_disk(recipe)


def _of_the_disk(recipe: Recipe) -> Iterator[Finding]:
    path = _ENVIRONMENT if CONFIG_VARIABLE in recipe.options.environment else _ELEMENTS
    try:
        _ = recipe.wishes
    except TemplateError as e:
        for one in e.diagnostics:
            text = "" if one.range is None else e.sources.get(one.range.filename, "")
            yield Finding(one.summary, path, one.detail, one.severity, one.range, text,
                          (_ENVIRONMENT, _ELEMENTS))  # fmt: skip
    except GoldsmithError as e:
        yield Finding(str(e), path, e.hint or "", rests_on=(_ENVIRONMENT, _ELEMENTS))
