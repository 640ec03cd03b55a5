"""Variables for scripts, as every component that runs scripts takes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import AfterValidator


def _are_pairs(given: tuple[str, ...]) -> tuple[str, ...]:
    for pair in given:
        name, equals, _ = pair.partition("=")
        if not equals or not name:
            raise ValueError(f'environment variable not in format "key=value": {pair}')
    return given


def _are_names(given: dict[str, str]) -> dict[str, str]:
    for name in given:
        if not name or "=" in name:
            raise ValueError(f"{name!r} cannot be the name of an environment variable")
    return given


VariablePairs = Annotated[tuple[str, ...], AfterValidator(_are_pairs)]
"""Variables, each written "NAME=value"."""
VariableMap = Annotated[dict[str, str], AfterValidator(_are_names)]
"""Variables by name."""


def all_variables(
    pairs: tuple[str, ...], named: Mapping[str, str], build_name: str, builder_type: str
) -> dict[str, str]:
    """What a script gets, sorted by name; `named` wins over `pairs`, both over Packer's own."""
    split = (pair.partition("=") for pair in pairs)
    given = {
        "PACKER_BUILD_NAME": build_name, "PACKER_BUILDER_TYPE": builder_type,
        **{name: value for name, _, value in split}, **named,
    }  # fmt: skip
    return {name: given[name] for name in sorted(given)}


def takes_two(given: str) -> str:
    """Check a format such as "%s='%s' ": for a name, then for its value; raises ValueError."""
    if given.replace("%%", "").count("%s") != 2:
        raise ValueError("it must hold %s twice: for the name and for the value")
    return given


def written(form: str, name: str, value: str) -> str:
    """A variable in a format that `takes_two` has checked."""
    before, between, after = (part.replace("%%", "%") for part in _split(form))
    return f"{before}{name}{between}{value}{after}"


def _split(form: str) -> list[str]:
    """The three parts around the two places; "%%s" is a percent sign and an s."""
    parts, rest = [""], form
    while rest:
        if rest.startswith("%%"):
            parts[-1] += "%%"
            rest = rest[2:]
        elif rest.startswith("%s"):
            parts.append("")
            rest = rest[2:]
        else:
            parts[-1] += rest[0]
            rest = rest[1:]
    return parts
