"""Locals and data sources: each is evaluated after those that it refers to, in whatever order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter

from goldsmith.errors import Diagnostics, SourceRange, TemplateError
from goldsmith.template.hcl2.ast import Block, Expression, Literal
from goldsmith.template.hcl2.blocks import ANY_ATTRIBUTES, LOCAL, checked
from goldsmith.template.hcl2.data_sources import DataBlock, DataKey, DataReader, data_object
from goldsmith.template.hcl2.evaluator import evaluate
from goldsmith.template.hcl2.lexer import is_identifier
from goldsmith.template.hcl2.references import Reference, references
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


Node = tuple[str, ...]
"""`("local", NAME)` or `("data", TYPE, NAME)`."""


@dataclass(slots=True)
class ValueGraph:
    """The locals and data sources of a template, which may refer to one another.

    What has a finding is unknown, so that no other finding follows from it.
    """

    local_values: Mapping[str, LocalValue]
    data: Mapping[DataKey, DataBlock]
    reader: DataReader
    found: Diagnostics

    def evaluate(self, scope: Scope) -> tuple[dict[str, Value], dict[DataKey, Value]]:
        """The value of every local, and the outputs of every data source."""
        needs = {node: self._needs(node) for node in self._nodes()}
        locals_: dict[str, Value] = {name: unknown() for name in self.local_values}
        data: dict[DataKey, Value] = {key: unknown() for key in self.data}
        for node in _order(needs, self._places(), self.found):
            inner = scope.child(self._seen(node, needs[node], locals_, data))
            if node[0] == "data":
                data[node[1], node[2]] = self.reader.value(self.data[node[1], node[2]], inner)
                continue
            local = self.local_values[node[1]]
            try:
                value = evaluate(local.expression, inner)
            except TemplateError as error:
                self.found.extend(error.diagnostics)
                continue
            locals_[local.name] = value.with_marks([SENSITIVE]) if local.sensitive else value
        return locals_, data

    def _nodes(self) -> Iterator[Node]:
        yield from (("local", name) for name in self.local_values)
        yield from (("data", *key) for key in self.data)

    def _places(self) -> dict[Node, SourceRange]:
        places: dict[Node, SourceRange] = {
            ("local", name): one.range for name, one in self.local_values.items()
        }
        return places | {("data", *key): one.block.range for key, one in self.data.items()}

    def _references(self, node: Node) -> Iterator[Reference]:
        if node[0] == "local":
            yield from references(self.local_values[node[1]].expression)
        else:
            yield from self.data[node[1], node[2]].references()

    def _seen(
        self,
        node: Node,
        needed: set[Node],
        locals_: Mapping[str, Value],
        data: Mapping[DataKey, Value],
    ) -> dict[str, Value]:
        """The names that a node sees besides the scope's.

        An object of all values for each of them would make the work quadratic; only the message
        about one that does not exist needs all of them, to tell the nearest name.
        """
        if any(not self._exists(one) for one in self._references(node)):
            seen = {"local": object_of(locals_)}
            return seen | ({"data": data_object(data)} if data else {})
        names = {one[1]: locals_[one[1]] for one in needed if one[0] == "local"}
        outputs = {(one[1], one[2]): data[one[1], one[2]] for one in needed if one[0] == "data"}
        return {"local": object_of(names)} | ({"data": data_object(outputs)} if data else {})

    def _exists(self, reference: Reference) -> bool:
        if reference.root == "local":
            return reference.name is None or reference.name in self.local_values
        if reference.root == "data" and reference.name is not None:
            if reference.member is not None:
                return (reference.name, reference.member) in self.data
            return any(kind == reference.name for kind, _ in self.data)
        return True

    def _needs(self, node: Node) -> set[Node]:
        needed: set[Node] = set()
        for reference in self._references(node):
            named: set[Node] = set()
            whole = reference.name is None
            if reference.root == "local":
                names = self.local_values if reference.name is None else [reference.name]
                named = {("local", name) for name in names if name in self.local_values}
            elif reference.root == "data":
                whole = reference.member is None
                named = {("data", *key) for key in self.data if _meant(reference, key)}
            # What takes all of them at once does not mean itself.
            needed |= named - {node} if whole else named
        return needed


def _meant(reference: Reference, key: DataKey) -> bool:
    return reference.name in (None, key[0]) and reference.member in (None, key[1])


def _order(
    needs: dict[Node, set[Node]], places: Mapping[Node, SourceRange], found: Diagnostics
) -> list[Node]:
    """An order in which everything comes after what it needs; cycles are findings, left out."""
    while True:
        try:
            return list(TopologicalSorter(needs).static_order())
        except CycleError as error:
            # graphlib names each member before the one that needs it, the first one twice.
            cycle: list[Node] = list(reversed(error.args[1]))
        first = min(cycle, key=lambda node: (places[node].filename, places[node].start))
        turned = cycle[cycle.index(first) : -1] + cycle[: cycle.index(first)] + [first]
        members = " -> ".join(".".join(node) for node in turned)
        of_locals = all(node[0] == "local" for node in cycle)
        what = "locals" if of_locals else "values"
        detail = f"These {what} refer to one another, so none can be evaluated: {members}."
        summary = "Cycle in local values" if of_locals else "Cycle in data sources"
        found.error(summary, detail, places[first])
        needs = {node: wanted - set(cycle) for node, wanted in needs.items() if node not in cycle}
