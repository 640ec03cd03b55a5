"""Local values: each is evaluated after the ones that it refers to, however they are ordered."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter

from goldsmith.errors import Diagnostics, SourceRange, TemplateError
from goldsmith.template.hcl2.ast import Block, Expression, Literal
from goldsmith.template.hcl2.blocks import ANY_ATTRIBUTES, LOCAL, checked
from goldsmith.template.hcl2.evaluator import evaluate
from goldsmith.template.hcl2.lexer import is_identifier
from goldsmith.template.hcl2.references import references
from goldsmith.template.hcl2.scope import Scope, constants_only
from goldsmith.template.hcl2.variables import constant_flag
from goldsmith.values.marks import SENSITIVE
from goldsmith.values.value import Value, object_of, unknown
from goldsmith.values.world import World


@dataclass(frozen=True, slots=True)
class LocalValue:
    """A declared local; `range` is its name."""

    name: str
    expression: Expression
    sensitive: bool
    range: SourceRange


def declare_locals(
    blocks: Iterable[Block], world: World, found: Diagnostics
) -> dict[str, LocalValue]:
    """The locals of `locals` and `local` blocks, by name."""
    declared: dict[str, LocalValue] = {}
    constants = constants_only(world, 'the argument "sensitive"')
    for block in blocks:
        for local in _declared(block, constants, found):
            if earlier := declared.get(local.name):
                detail = f'The local "{local.name}" was already defined at {earlier.range}.'
                found.error("Duplicate local definition", detail, local.range, block.header)
            elif is_identifier(local.name):
                declared[local.name] = local
            else:
                detail = f'"{local.name}" is not a valid name: use letters, digits, "_" and "-".'
                found.error("Invalid local name", detail, local.range, block.header)
    return declared


def _declared(block: Block, constants: Scope, found: Diagnostics) -> list[LocalValue]:
    if block.type == "locals":
        attributes, _ = checked(block.body, ANY_ATTRIBUTES, found, block)
        return [
            LocalValue(one.name, one.expression, False, one.name_range)
            for one in attributes.values()
        ]
    attributes, _ = checked(block.body, LOCAL, found, block)
    sensitive = constant_flag(attributes.get("sensitive"), constants, found, block)
    label = block.labels[0]
    # Without its expression the local stays unknown: what refers to it is not wrong.
    absent = Literal(block.range, unknown())
    expression = attributes["expression"].expression if "expression" in attributes else absent
    return [LocalValue(label.text, expression, sensitive, label.range)]


def evaluate_locals(
    declared: Mapping[str, LocalValue], scope: Scope, found: Diagnostics
) -> dict[str, Value]:
    """The value of every local; one with findings is unknown, so that no other finding follows."""
    needs = {name: _needs(local, declared) for name, local in declared.items()}
    values: dict[str, Value] = {name: unknown() for name in declared}
    for name in _order(needs, declared, found):
        local = declared[name]
        # An object of all locals for each of them would make the work quadratic.
        seen = values
        if _undeclared(local, declared) is None:
            seen = {needed: values[needed] for needed in needs[name]}
        inner = scope.child({"local": object_of(seen)})
        try:
            value = evaluate(local.expression, inner)
        except TemplateError as error:
            found.extend(error.diagnostics)
            continue
        values[name] = value.with_marks([SENSITIVE]) if local.sensitive else value
    return values


def _undeclared(local: LocalValue, declared: Mapping[str, LocalValue]) -> str | None:
    """A local that is referred to and does not exist: the error names the nearest of all."""
    named = (one.name for one in references(local.expression) if one.root == "local")
    return next((name for name in named if name is not None and name not in declared), None)


def _needs(local: LocalValue, declared: Mapping[str, LocalValue]) -> set[str]:
    needed: set[str] = set()
    for reference in references(local.expression):
        if reference.root != "local":
            continue
        if reference.name is None:
            needed |= declared.keys() - {local.name}
        elif reference.name in declared:
            needed.add(reference.name)
    return needed


def _order(
    needs: dict[str, set[str]], declared: Mapping[str, LocalValue], found: Diagnostics
) -> list[str]:
    """An order in which every local comes after what it needs; cycles are findings, left out."""
    while True:
        try:
            return list(TopologicalSorter(needs).static_order())
        except CycleError as error:
            # graphlib names each member before the one that needs it, the first one twice.
            cycle = list(reversed(error.args[1]))
        first = min(cycle, key=lambda name: declared[name].range.start)
        turned = cycle[cycle.index(first) : -1] + cycle[: cycle.index(first)] + [first]
        members = " -> ".join(f"local.{name}" for name in turned)
        detail = f"These locals refer to one another, so none can be evaluated: {members}."
        found.error("Cycle in local values", detail, declared[first].range)
        needs = {name: wanted - set(cycle) for name, wanted in needs.items() if name not in cycle}
