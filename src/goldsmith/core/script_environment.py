"""Variables for scripts, as every component that runs scripts takes them."""

from __future__ import annotations

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
