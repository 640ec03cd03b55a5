"""From the evaluated content of a block to a component's typed options, with every finding at once.

A component declares its options as one frozen pydantic model (`Options`): the reference manual and
the JSON schema come from it. The types of the template language follow from the annotations, so
`"10"` given for a number is converted just as Packer converts it.
"""

from __future__ import annotations

import difflib
import types
import typing
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Generic, Literal, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError
from pydantic.fields import FieldInfo

from goldsmith.core.deferred import RawBody
from goldsmith.errors import Diagnostic, Severity, SourceRange
from goldsmith.units import UnitError, parse_file_size_bytes, parse_wait_s
from goldsmith.values.convert import ConversionError, convert
from goldsmith.values.types import ANY, BOOL, NUMBER, STRING, ListType, MapType, Type
from goldsmith.values.value import Value, to_python

O = TypeVar("O", bound="Options")  # noqa: E741 (reads as "any Options")
Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class WrittenAs:
    """Says in an annotation how an option is written in a template, where its type does not."""

    type: Type


def _unit(parse: typing.Callable[[str], Any]) -> typing.Callable[[object], object]:
    def read(value: object) -> object:
        if not isinstance(value, str):
            return value
        try:
            return parse(value)
        except UnitError as e:
            raise ValueError(f"{e}" + (f" ({e.hint})" if e.hint else "")) from e

    return read


SizeBytes = Annotated[int, BeforeValidator(_unit(parse_file_size_bytes)), WrittenAs(STRING)]
"""A size such as "4GiB"; the model holds bytes."""
DurationSeconds = Annotated[float, BeforeValidator(_unit(parse_wait_s)), WrittenAs(STRING)]
"""A time to wait such as "1m30s", never negative; the model holds seconds."""


class Options(BaseModel):
    """The base of every component's options and of their nested blocks.

    A field whose type is another `Options` is a block, a tuple of them a repeated block; `labels`
    names the fields that take the block's labels: `partition "esp" {}`. With `go_templates` every
    text is a Go template (see `interpolation`), but those of `verbatim`, rendered later if at all.
    Only the options of `nul_allowed` may hold the character NUL.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        populate_by_name=True,
        arbitrary_types_allowed=True,
        defer_build=True,
    )
    labels: ClassVar[tuple[str, ...]] = ()
    go_templates: ClassVar[bool] = False
    verbatim: ClassVar[frozenset[str]] = frozenset()
    nul_allowed: ClassVar[frozenset[str]] = frozenset()


@dataclass(frozen=True, slots=True)
class Finding:
    """Something wrong with options that only their meaning shows; `path` leads to the option.

    What is wrong in a file that an option names has its `place` in that file, with the file's text.
    """

    message: str
    path: Path = ()
    hint: str = ""
    severity: Severity = Severity.ERROR
    place: SourceRange | None = None
    text: str = ""
    rests_on: tuple[Path, ...] = ()
    """Further options without which the finding may be none."""


def nested_options(annotation: Any) -> tuple[type[Options], bool] | None:
    """The Options class of a block and whether it may be repeated; None for an attribute."""
    if isinstance(annotation, type) and issubclass(annotation, Options):
        return annotation, False
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        for argument in arguments:
            if found := nested_options(argument):
                return found
    if origin in (list, tuple) and arguments and (found := nested_options(arguments[0])):
        return found[0], True
    return None


def language_type(annotation: Any, metadata: Sequence[object] = ()) -> Type:
    """The type of the template languages that a field's annotation stands for."""
    for item in metadata:
        if isinstance(item, WrittenAs):
            return item.type
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return language_type(arguments[0], arguments[1:])
    if origin in (Union, types.UnionType):
        inner = [argument for argument in arguments if argument is not type(None)]
        return language_type(inner[0]) if len(inner) == 1 else ANY
    if origin is Literal:
        return STRING
    if origin in (list, tuple, frozenset, set):
        return ListType(language_type(arguments[0]))
    if origin in (dict, Mapping):
        return MapType(language_type(arguments[1]))
    return {str: STRING, bool: BOOL, int: NUMBER, float: NUMBER}.get(annotation, ANY)


def _has_nul(value: object) -> bool:
    if isinstance(value, str):
        return "\0" in value
    if isinstance(value, Mapping):
        return any(_has_nul(item) for pair in value.items() for item in pair)
    return isinstance(value, (list, tuple)) and any(map(_has_nul, value))


def option_fields(model: type[Options]) -> dict[str, FieldInfo]:
    """The fields of a model by the names that templates use."""
    return {field.alias or name: field for name, field in model.model_fields.items()}


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The end of a message that names the nearest known word, or "" when none is near."""
    near = _nearest(word, known)
    return "" if near is None else f' Did you mean "{near}"?'


def _nearest(word: str, known: Iterable[str]) -> str | None:
    return next(iter(difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)), None)


@dataclass(frozen=True, slots=True)
class ReadOptions(Generic[O]):
    """What a block turned out to hold: `options` are None where there are none without findings.

    `examined` are options that can be looked at for further findings, and no more: what stands at
    the paths `unsure` is missing from them, or may be what a misspelled option stands for.
    """

    options: O | None
    found: list[Diagnostic]
    examined: O | None = None
    unsure: frozenset[Path] = frozenset()

    def is_sure(self, finding: Finding) -> bool:
        """Whether a finding about `examined` holds, whatever is missing from them."""
        if not self.unsure:
            return True
        return bool(finding.path) and not any(
            path[: len(one)] == one or one[: len(path)] == path
            for one in self.unsure
            for path in (finding.path, *finding.rests_on)
        )


def build_options(
    model: type[O], body: RawBody, subject: str = ""
) -> tuple[O | None, list[Diagnostic]]:
    """Check a block against a model and make it; returns every finding, each with its place.

    While preparing, values that only a running build knows are passed over: then the options are
    None although there may be no findings.
    """
    read = read_options(model, body, subject)
    return read.options, read.found


def read_options(model: type[O], body: RawBody, subject: str = "") -> ReadOptions[O]:
    """Like `build_options`, with what can be looked at in spite of findings."""
    reader = _Reader(subject)
    data = reader.read(model, body, ())
    try:
        options = model.model_validate(data)
    except ValidationError as e:
        for error in e.errors():
            text = error["msg"]
            if error["type"] == "literal_error":
                text = "it is " + error["ctx"]["expected"].replace("'", "")
            elif error["type"] in ("too_short", "string_too_short"):
                least = error["ctx"]["min_length"]
                of = "characters" if error["type"] == "string_too_short" else "entries"
                text = "it is empty" if least == 1 else f"it needs at least {least} {of}"
            reader.invalid(body, error["type"], error["loc"], text)
        bad = {str(error["loc"][0]) for error in e.errors() if error["loc"]}
        if any(not error["loc"] for error in e.errors()) or not bad <= data.keys():
            return ReadOptions(None, reader.found)
        left_out: set[Path] = {(name,) for name in bad}
        unsure = frozenset(reader.passed_over | reader.perhaps_meant | left_out)
        return ReadOptions(None, reader.found, _without(model, data, bad), unsure)
    unsure = frozenset(reader.passed_over | reader.perhaps_meant)
    if reader.found:
        return ReadOptions(None, reader.found, options, unsure)
    return ReadOptions(None if unsure else options, reader.found, None if unsure else options)


def _without(model: type[O], data: Mapping[str, Any], bad: Set[str]) -> O | None:
    """The options without bad ones; None where these are needed, or the others do not do alone."""
    try:
        return model.model_validate({name: data[name] for name in data.keys() - bad})
    except ValidationError:
        return None


class _Reader:
    """Walks a body beside its model and collects plain data and findings."""

    def __init__(self, subject: str) -> None:
        self.subject = subject
        self.found: list[Diagnostic] = []
        self.passed_over: set[Path] = set()
        self.perhaps_meant: set[Path] = set()
        """Options that are not written, beside a misspelled one: what says that is no news."""

    def add(self, summary: str, detail: str, range: SourceRange | None) -> None:
        self.found.append(Diagnostic(summary, detail, range, subject=self.subject))

    def read(self, model: type[Options], body: RawBody, path: Path) -> dict[str, Any]:
        fields = option_fields(model)
        data: dict[str, Any] = {}
        for name, value in body.attributes.items():
            field = fields.get(name)
            where = body.names.get(name, value.range)
            if name in model.labels:
                detail = f'"{name}" is the label of the block, not an argument in it.'
                self.add("Unsupported argument", detail, where)
            elif field is None:
                detail = f'An argument named "{name}" is not expected here.'
                known = [*fields, *sorted(body.common)]
                self.add("Unsupported argument", detail + did_you_mean(name, known), where)
                self._meant(name, fields, body, path)
            elif nested_options(field.annotation):
                detail = f'"{name}" is a block: write {name} {{ … }} without the equals sign.'
                self.add("Unsupported argument", detail, where)
            elif not value.is_null:
                self._attribute(model, data, name, value, (*path, name))
        for block in body.blocks:
            self._block(data, fields, block.type, block.labels, block.body, path, block.range)
            if block.type not in fields:
                self._meant(block.type, fields, body, path)
        return data

    def _meant(self, word: str, fields: Mapping[str, FieldInfo], body: RawBody, path: Path) -> None:
        """Pass over the option that a misspelled one stands for: it is not missing besides."""
        near = _nearest(word, fields)
        given = {*body.attributes, *(block.type for block in body.blocks)}
        if near is not None and near not in given:
            self.passed_over.add((*path, near))
            self.perhaps_meant |= {(*path, name) for name in fields.keys() - given}

    def _attribute(
        self, model: type[Options], data: dict[str, Any], name: str, value: Value, path: Path
    ) -> None:
        field = option_fields(model)[name]
        if not value.is_wholly_known:
            self.passed_over.add(path)
            return
        try:
            wanted = language_type(field.annotation, field.metadata)
            data[name] = to_python(convert(value, wanted))
            if name not in model.nul_allowed and _has_nul(data[name]):
                self.passed_over.add(path)
                detail = "No path, argument or variable can hold the character NUL."
                self.add(f'Invalid value for "{name}"', detail, value.range)
        except ConversionError as e:
            self.passed_over.add(path)
            detail = f'Inappropriate value for attribute "{name}": {e.message}.'
            self.add("Incorrect attribute value type", detail, value.range)

    def _block(
        self,
        data: dict[str, Any],
        fields: Mapping[str, FieldInfo],
        kind: str,
        labels: tuple[str, ...],
        body: RawBody,
        path: Path,
        where: SourceRange | None,
    ) -> None:
        field = fields.get(kind)
        nested = nested_options(field.annotation) if field else None
        if nested is None:
            detail = f'Blocks of type "{kind}" are not expected here.'
            if field is not None:
                detail += f' Did you mean to set the argument "{kind} = …"?'
            else:
                detail += did_you_mean(kind, fields)
            self.add("Unsupported block type", detail, where)
            return
        model, repeated = nested
        if len(labels) != len(model.labels):
            wanted = " ".join(f'"{label.upper()}"' for label in model.labels)
            self.add("Wrong block labels", f"Write {kind} {wanted}".rstrip() + " { … }.", where)
            self.passed_over.add((*path, kind))
            return
        if not repeated:
            if kind in data:
                self.add("Duplicate block", f'Only one "{kind}" block is allowed.', where)
                return
            data[kind] = self._labelled(model, labels, body, (*path, kind))
            return
        entries = data.setdefault(kind, [])
        entries.append(self._labelled(model, labels, body, (*path, kind, len(entries))))

    def _labelled(
        self, model: type[Options], labels: tuple[str, ...], body: RawBody, path: Path
    ) -> dict[str, Any]:
        return {**self.read(model, body, path), **dict(zip(model.labels, labels, strict=True))}

    def invalid(self, body: RawBody, kind: str, location: tuple[int | str, ...], text: str) -> None:
        path: Path = tuple(location)
        # What a block says about its arguments together means nothing without one of them.
        if any(path[: len(p)] == p or p[: len(path)] == path for p in self.passed_over):
            return
        if kind == "extra_forbidden":
            return
        name = next((str(part) for part in reversed(path) if isinstance(part, str)), "")
        if kind == "missing":
            block = f' of block "{path[-2]}"' if len(path) > 1 else ""
            detail = f'The argument "{name}"{block} is required, but no definition was found.'
            self.add("Missing required argument", detail, range_at(body, path[:-1]))
            return
        message = text.removeprefix("Value error, ")
        summary = f'Invalid value for "{name}"' if name else "Arguments that do not fit together"
        self.add(summary, message, range_at(body, path))


def range_at(body: RawBody, path: Path) -> SourceRange | None:
    """Where the option at `path` was written; the nearest block around it when it was not."""
    if not path:
        return body.range
    name, rest = str(path[0]), path[1:]
    if name in body.attributes:
        return _value_range(body.attributes[name], rest) or body.names.get(name)
    blocks = [block for block in body.blocks if block.type == name]
    if not blocks:
        return body.range
    number = rest[0] if rest and isinstance(rest[0], int) else 0
    block = blocks[number] if number < len(blocks) else blocks[0]
    return range_at(block.body, rest[1:] if rest and isinstance(rest[0], int) else rest)


def _value_range(value: Value, path: Path) -> SourceRange | None:
    if path and value.is_known and not value.is_null:
        step = path[0]
        if isinstance(value.raw, dict) and str(step) in value.raw:
            return _value_range(value.raw[str(step)], path[1:]) or value.range
        if isinstance(value.raw, tuple) and isinstance(step, int) and step < len(value.raw):
            return _value_range(value.raw[step], path[1:]) or value.range
    return value.range


def locate(findings: Iterable[Finding], body: RawBody, subject: str) -> list[Diagnostic]:
    """Findings about meaning, as diagnostics at the options that they are about."""
    found = []
    for finding in findings:
        where = finding.place or range_at(body, finding.path) or body.range
        found.append(Diagnostic(finding.message, finding.hint, where, finding.severity, subject))
    return found
