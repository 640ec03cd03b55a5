"""What an expression may refer to: names, functions, and the world behind the impure ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from goldsmith.errors import Diagnostic, SourceRange, TemplateError
from goldsmith.template.hcl2.functions import FUNCTIONS, Function
from goldsmith.values.value import Value
from goldsmith.values.world import World

PACKER_VERSION = "1.16.0"
"""The version of the language and behaviour that goldsmith keeps, as `packer.version` says."""

EXPRESSION_FUNCTIONS = frozenset({"try", "can", "convert", "templatefile"})
"""Functions that look at expressions rather than values; the evaluator has them."""


@dataclass(frozen=True, slots=True)
class Scope:
    """Names and functions that an expression sees; `names` hide those of `parent`.

    `place` names a place where only constants may stand ("a variable file"); "" anywhere else.
    Files are looked for below `base_directory`, the template's own.
    """

    world: World
    names: Mapping[str, Value] = field(default_factory=dict)
    base_directory: str = "."
    functions: Mapping[str, Function] = field(default_factory=lambda: FUNCTIONS)
    expression_functions: frozenset[str] = EXPRESSION_FUNCTIONS
    place: str = ""
    parent: Scope | None = None

    def lookup(self, name: str) -> Value | None:
        """The value of a name, None when there is none."""
        scope: Scope | None = self
        while scope is not None:
            if name in scope.names:
                return scope.names[name]
            scope = scope.parent
        return None

    def visible_names(self) -> set[str]:
        """Every name that `lookup` finds."""
        return set(self.names) | (self.parent.visible_names() if self.parent else set())

    def child(self, names: Mapping[str, Value]) -> Scope:
        """The same scope with further names in it."""
        return Scope(
            self.world, names, self.base_directory, self.functions, self.expression_functions,
            self.place, self,
        )  # fmt: skip


def constants_only(
    world: World, place: str, *, expression_functions: frozenset[str] = frozenset()
) -> Scope:
    """A scope without names, for a place where nothing is known yet."""
    return Scope(world, functions={}, expression_functions=expression_functions, place=place)


def failure(summary: str, detail: str, range: SourceRange | None) -> TemplateError:
    """The error with one finding."""
    return TemplateError([Diagnostic(summary, detail, range)])
