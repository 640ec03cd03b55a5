"""The configuration of a component as HCL2 wrote it, evaluated anew whenever more is known."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from goldsmith.core.deferred import RawBlock, RawBody
from goldsmith.errors import Diagnostic, Diagnostics, SourceRange, TemplateError
from goldsmith.template.hcl2.ast import Body, Expression
from goldsmith.template.hcl2.dynamic import expanded
from goldsmith.template.hcl2.evaluator import evaluate
from goldsmith.template.hcl2.scope import Scope, failure
from goldsmith.values.types import STRING
from goldsmith.values.value import Value, object_of, string, unknown

RUN_NAMES = (
    "ID", "Host", "Port", "User", "Password", "ConnType", "PackerRunUUID", "PackerHTTPPort",
    "PackerHTTPIP", "PackerHTTPAddr", "SSHPublicKey", "SSHPrivateKey", "WinRMPassword",
)  # fmt: skip
"""What every running build knows, as `build.NAME`; a builder may announce more."""
NOT_FILLED = "<unknown>"
"""What `build.NAME` says while running where the builder does not fill that name."""


@dataclass(frozen=True, slots=True)
class HclConfig:
    """The body of a source, provisioner or post-processor; resolves to plain values.

    A source that a build adds to has two bodies. `reserved` are the arguments that belong to the
    component itself, `override` the expression that replaces arguments for one source.
    `announced` are the names that the builder adds to `build`.
    """

    bodies: tuple[Body, ...]
    scope: Scope
    range: SourceRange
    subject: str
    build_name: str = ""
    source_name: str = ""
    reserved: frozenset[str] = frozenset()
    override: Expression | None = None
    announced: frozenset[str] = frozenset()
    runs: bool = True
    """False for sources: they are resolved before there is a running build."""

    def resolve(
        self, run_values: Mapping[str, Value] | None, announced: Iterable[str] = ()
    ) -> RawBody:
        """The content, with `build.NAME` from `run_values` by NAME, or unknown when that is None.

        `announced` are further names of `build`. Raises TemplateError with every finding.
        """
        scope = self.scope.child({"build": self._build_values(run_values, announced)})
        found: list[Diagnostic] = []
        bodies = []
        for body in self.bodies:
            bodies.append(raw_body(body, scope, self.range, found, self.reserved))
        attributes = {name: value for body in bodies for name, value in body.attributes.items()}
        names = {name: where for body in bodies for name, where in body.names.items()}
        try:
            replaced = self._overridden(scope)
        except TemplateError as error:
            found.extend(error.diagnostics)
            replaced = {}
        for name, value in replaced.items():
            attributes[name] = value
            names[name] = value.range or self.range
        if found:
            raise TemplateError(with_subject(found, self.subject))
        blocks = tuple(block for body in bodies for block in body.blocks)
        return RawBody(
            attributes, names, blocks, self.range, common=self.reserved,
            objects_as_blocks=any(body.from_json for body in self.bodies),
        )  # fmt: skip

    def _build_values(
        self, run_values: Mapping[str, Value] | None, announced: Iterable[str]
    ) -> Value:
        values: dict[str, Value] = {}
        if self.runs:
            absent = unknown(STRING) if run_values is None else string(NOT_FILLED)
            values = dict.fromkeys([*RUN_NAMES, *self.announced, *announced], absent)
        values |= run_values or {}
        values["name"] = string(self.build_name)
        return object_of(values)

    def _overridden(self, scope: Scope) -> dict[str, Value]:
        """The arguments that `override` gives for this source."""
        if self.override is None:
            return {}
        everything = evaluate(self.override, scope)
        if everything.is_null or not everything.is_known:
            return {}
        summary, where = "Invalid override", self.override.range
        if not isinstance(everything.raw, dict):
            detail = "override takes an object: override = { SOURCE_NAME = { argument = value } }."
            raise failure(summary, detail, where)
        for name, value in everything.raw.items():
            if value.is_known and not isinstance(value.raw, dict):
                detail = f'What override gives for "{name}" must be an object of arguments.'
                raise failure(summary, detail, value.range or where)
        mine = everything.raw.get(self.source_name)
        if mine is None or not isinstance(mine.raw, dict):
            return {}
        marks = everything.marks | mine.marks
        return {name: value.with_marks(marks) for name, value in mine.raw.items()}


def raw_body(
    body: Body,
    scope: Scope,
    where: SourceRange,
    found: list[Diagnostic],
    reserved: frozenset[str] = frozenset(),
) -> RawBody:
    """A body evaluated without any schema; findings are added to `found`."""
    dynamic = Diagnostics()
    body = expanded(body, scope, dynamic)
    found.extend(dynamic.found)
    attributes: dict[str, Value] = {}
    names: dict[str, SourceRange] = {}
    for name, attribute in body.attributes.items():
        if name in reserved:
            continue
        names[name] = attribute.name_range
        try:
            attributes[name] = evaluate(attribute.expression, scope)
        except TemplateError as error:
            found.extend(error.diagnostics)
    blocks: list[RawBlock] = []
    for block in body.blocks:
        inner = raw_body(block.body, scope, block.range, found)
        labels = tuple(label.text for label in block.labels)
        blocks.append(RawBlock(block.type, labels, inner, block.range))
    return RawBody(attributes, names, tuple(blocks), where, objects_as_blocks=body.from_json)


def with_subject(found: Iterable[Diagnostic], subject: str) -> list[Diagnostic]:
    """The findings, about this block where they do not say yet which one they are about."""
    return [one if one.subject else replace(one, subject=subject) for one in found]
