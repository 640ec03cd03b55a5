"""The interface of Go templates: parse once, render as often as there are data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Self

from goldsmith.gotemplate import evaluator
from goldsmith.gotemplate.builtins import BUILTINS
from goldsmith.gotemplate.functions import AnyFunction, describe
from goldsmith.gotemplate.parser import Program, parse


class Template:
    """A parsed template together with the functions that it may call."""

    def __init__(self, program: Program, functions: Mapping[str, AnyFunction]) -> None:
        self._program = program
        self._functions = functions

    @classmethod
    def parse(
        cls, text: str, functions: Mapping[str, Callable[..., object]], name: str = "root"
    ) -> Self:
        """Parse a text; `name` is what error messages call it (Packer's word is "root").

        Raises GoTemplateError for wrong syntax and for a function that does not exist.
        """
        known = {**BUILTINS, **{key: describe(key, call) for key, call in functions.items()}}
        return cls(parse(name, text, known), known)

    def render(self, data: object) -> str:
        """Apply the template to data: a mapping, list, str, bool, int, float or None.

        Raises GoTemplateError when a field or variable is missing, an argument has the wrong
        type, or a function fails; the functions decide which side effects there are.
        """
        return evaluator.render(self._program, self._functions, data)
