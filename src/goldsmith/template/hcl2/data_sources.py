"""`data` blocks: what a template reads from outside before anything is built."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain

from goldsmith.core.data_source import DataSource
from goldsmith.core.deferred import RawBody
from goldsmith.core.foreign import ForeignOptions, Surroundings
from goldsmith.core.loose import tightened
from goldsmith.core.options import Options, build_options, locate
from goldsmith.core.registry import Registry, UnknownComponent
from goldsmith.datasources import KIND
from goldsmith.errors import Diagnostic, Diagnostics, GoldsmithError, TemplateError
from goldsmith.template.hcl2.ast import Attribute, Block, Body
from goldsmith.template.hcl2.config import raw_body, with_subject
from goldsmith.template.hcl2.references import Reference, references
from goldsmith.template.hcl2.scope import Scope
from goldsmith.values.value import Value, all_marks, object_of, unknown

DataKey = tuple[str, str]


@dataclass(frozen=True, slots=True)
class DataBlock:
    """A declared data source."""

    block: Block

    @property
    def type(self) -> str:
        """What kind of source it is."""
        return self.block.labels[0].text

    @property
    def name(self) -> str:
        """Its name among those of its type."""
        return self.block.labels[1].text

    def references(self) -> Iterator[Reference]:
        """Every name that its arguments refer to."""
        return _in_body(self.block.body)


def _in_body(body: Body) -> Iterator[Reference]:
    for item in body.items:
        if isinstance(item, Attribute):
            yield from references(item.expression)
        else:
            yield from _in_body(item.body)


def declare_data(blocks: Iterable[Block], found: Diagnostics) -> dict[DataKey, DataBlock]:
    """The data sources by type and name."""
    declared: dict[DataKey, DataBlock] = {}
    for block in blocks:
        one = DataBlock(block)
        if earlier := declared.get((one.type, one.name)):
            detail = f"This data source was already declared at {earlier.block.range}."
            found.error("Duplicate data source", detail, block.range, block.header)
        else:
            declared[one.type, one.name] = one
    return declared


@dataclass(frozen=True, slots=True)
class DataReader:
    """Evaluates data sources; with `really` False their outputs stay unknown."""

    registry: Registry
    found: Diagnostics
    really: bool

    def value(self, data: DataBlock, scope: Scope) -> Value:
        """The object of a data source's outputs; findings are added, then it is unknown."""
        block = data.block
        try:
            kind: type[DataSource] = self.registry.get(KIND, data.type)
        except UnknownComponent as error:
            where = block.labels[0].range
            self.found.error(str(error), error.hint or "", where, block.header)
            return unknown()
        problems: list[Diagnostic] = []
        body = raw_body(block.body, scope, block.range, problems)
        source: DataSource | None = None
        if not problems:
            options, problems = _options(kind, body, data)
            if options is not None:
                source = kind(options, data.name)
                problems = [*problems, *locate(source.check(), body, block.header)]
        if problems:
            self.found.extend(with_subject(problems, block.header))
        # What a plugin's gives only the made one knows.
        outputs = getattr(kind if source is None else source, "outputs", None)
        if outputs is None:
            absent = unknown()
        else:
            absent = object_of({name: unknown(one) for name, one in outputs.items()})
        if source is None or problems or not self.really:
            return absent
        marks = frozenset(chain.from_iterable(map(all_marks, body.attributes.values())))
        try:
            values = source.read(scope.world)
        except TemplateError:
            raise
        except GoldsmithError as error:
            detail = f"{error}." + (f" Remedy: {error.hint}." if error.hint else "")
            self.found.error("A data source could not be read", detail, block.range, block.header)
            return absent
        return object_of(values).with_marks(marks).at(block.range)


def _options(
    kind: type[DataSource], body: RawBody, data: DataBlock
) -> tuple[Options | None, list[Diagnostic]]:
    """The options of a data source, and what is wrong with them."""
    block = data.block
    if not issubclass(kind.options_model, ForeignOptions):
        fitting = tightened(body, kind.options_model)
        return build_options(kind.options_model, fitting, block.header)
    around = Surroundings(
        build="", source_name=data.name, source_type=data.type, kind=KIND, type=data.type,
        range=block.range,
    )  # fmt: skip
    return kind.options_model(content=body, around=around), []


def data_object(values: Mapping[DataKey, Value]) -> Value:
    """All data sources as `data`: by type, then by name."""
    by_type: dict[str, dict[str, Value]] = {}
    for (kind, name), value in values.items():
        by_type.setdefault(kind, {})[name] = value
    return object_of({kind: object_of(named) for kind, named in by_type.items()})
