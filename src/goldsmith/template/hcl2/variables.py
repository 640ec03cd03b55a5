"""Input variables: what a template declares, and the rules that their values must pass."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from goldsmith.errors import Diagnostics, SourceRange, TemplateError
from goldsmith.template.hcl2.ast import Attribute, Block, Expression
from goldsmith.template.hcl2.blocks import ANY_ATTRIBUTES, VALIDATION, VARIABLE, checked
from goldsmith.template.hcl2.evaluator import evaluate
from goldsmith.template.hcl2.lexer import is_identifier
from goldsmith.template.hcl2.references import references
from goldsmith.template.hcl2.scope import Scope, constants_only
from goldsmith.template.hcl2.type_expressions import parse_type
from goldsmith.values.convert import ConversionError, convert
from goldsmith.values.marks import SENSITIVE, Sensitive
from goldsmith.values.numbers import Number
from goldsmith.values.types import ANY, BOOL, ObjectType, TupleType, Type
from goldsmith.values.value import Value, all_marks, object_of
from goldsmith.values.world import World


@dataclass(frozen=True, slots=True)
class Rule:
    """A `validation` block."""

    condition: Expression
    message: str


@dataclass(frozen=True, slots=True)
class Declaration:
    """A declared variable; `broken` ones have findings already, so their values do not matter.

    `type_is_written` tells a type that the template states from one taken from the default.
    """

    name: str
    range: SourceRange
    type: Type = ANY
    type_is_written: bool = False
    default: Value | None = None
    sensitive: bool = False
    rules: tuple[Rule, ...] = ()
    broken: bool = False
    default_range: SourceRange | None = None

    def fit(self, value: Value) -> Value:
        """A given value in the variable's type. Raises ConversionError."""
        try:
            fitted = convert(value, self.type)
        except ConversionError:
            # The default is only an example of a list or object: others may be longer or shorter.
            kind = type(self.type)
            example = kind in (TupleType, ObjectType) and isinstance(value.type, kind)
            if self.type_is_written or not example:
                raise
            fitted = value
        return fitted.with_marks([SENSITIVE]) if self.sensitive else fitted


def declare(blocks: Iterable[Block], world: World, found: Diagnostics) -> dict[str, Declaration]:
    """The variables of `variable` and `variables` blocks, by name."""
    declarations: dict[str, Declaration] = {}
    scope = constants_only(
        world, "the default of a variable", expression_functions=frozenset({"env"})
    )
    for block in blocks:
        for declaration in _declared(block, scope, found):
            name = declaration.name
            if earlier := declarations.get(name):
                detail = f'The variable "{name}" was already declared at {earlier.range}.'
                found.error("Duplicate variable", detail, declaration.range, block.header)
            elif is_identifier(name):
                declarations[name] = declaration
            else:
                detail = f'"{name}" is not a valid name: use letters, digits, "_" and "-".'
                found.error("Invalid variable name", detail, declaration.range, block.header)
    return declarations


def _declared(block: Block, scope: Scope, found: Diagnostics) -> list[Declaration]:
    if block.type == "variable":
        return [_declaration(block, scope, found)]
    attributes, _ = checked(block.body, ANY_ATTRIBUTES, found, block)
    declarations = []
    for attribute in attributes.values():
        default = _constant(attribute, scope, found, block)
        declarations.append(
            Declaration(
                attribute.name,
                attribute.name_range,
                default.type if default else ANY,
                default=default,
                broken=default is None,
            )
        )
    return declarations


def _declaration(block: Block, scope: Scope, found: Diagnostics) -> Declaration:
    errors_before = len(found.errors)
    attributes, blocks = checked(block.body, VARIABLE, found, block)
    written: Type | None = None
    default: Value | None = None
    if type_attribute := attributes.get("type"):
        try:
            written = parse_type(type_attribute.expression, lambda node: evaluate(node, scope))
        except TemplateError as error:
            found.extend(error.diagnostics)
    if default_attribute := attributes.get("default"):
        default = _constant(default_attribute, scope, found, block)
    sensitive = constant_flag(attributes.get("sensitive"), scope, found, block)
    if default is not None and written is not None:
        default = _fitting_default(default, written, found, block)
    constants = constants_only(scope.world, "an error message")
    rules = [_rule(rule, block.labels[0].text, constants, found) for rule in blocks]
    by_default = default is not None and not default.is_null and (written is None or written == ANY)
    return Declaration(
        block.labels[0].text,
        block.range,
        default.type if by_default and default is not None else written or ANY,
        written is not None and not by_default,
        default.with_marks([SENSITIVE]) if default is not None and sensitive else default,
        sensitive,
        tuple(rule for rule in rules if rule is not None),
        len(found.errors) > errors_before,
        default_attribute.expression.range if default_attribute else None,
    )


def _constant(attribute: Attribute, scope: Scope, found: Diagnostics, block: Block) -> Value | None:
    try:
        return evaluate(attribute.expression, scope)
    except TemplateError as error:
        for one in error.diagnostics:
            found.error(one.summary, one.detail, one.range, block.header)
        return None


def constant_flag(
    attribute: Attribute | None, scope: Scope, found: Diagnostics, block: Block
) -> bool:
    """The value of a `sensitive = true`; False, with a finding, where it is no constant bool."""
    value = _constant(attribute, scope, found, block) if attribute else None
    if attribute is None or value is None or value.is_null:
        return False
    try:
        return convert(value, BOOL).truth
    except ConversionError as error:
        detail = f'The argument "{attribute.name}" is not suitable: {error.message}.'
        found.error("Invalid argument value", detail, attribute.expression.range, block.header)
        return False


def _fitting_default(default: Value, wanted: Type, found: Diagnostics, block: Block) -> Value:
    try:
        return convert(default, wanted)
    except ConversionError as error:
        detail = f"This default value is not compatible with the variable's type: {error.message}."
        found.error("Invalid default value for variable", detail, default.range, block.header)
        return default


def _rule(block: Block, name: str, scope: Scope, found: Diagnostics) -> Rule | None:
    subject = f'variable "{name}"'
    attributes, _ = checked(block.body, VALIDATION, found, block)
    message = None
    if message_attribute := attributes.get("error_message"):
        message = _constant(message_attribute, scope, found, block)
        if message is not None and (problem := _message_problem(message)):
            where = message_attribute.expression.range
            found.error("Invalid validation error message", problem, where, subject)
            message = None
    condition = attributes.get("condition")
    if condition is None or message is None:
        return None
    others = [
        reference
        for reference in references(condition.expression)
        if reference.root != "var" or reference.name not in (name, None)
    ]
    summary = "Invalid reference in variable validation"
    if others:
        detail = f"The condition can refer only to the variable itself, as var.{name}."
        found.error(summary, detail, others[0].range, subject)
        return None
    if not any(True for _ in references(condition.expression)):
        detail = f"The condition must refer to var.{name}, or it could not test anything."
        where = condition.expression.range
        found.error("Invalid variable validation condition", detail, where, subject)
        return None
    return Rule(condition.expression, message.text)


def _message_problem(message: Value) -> str:
    if not isinstance(message.raw, str):
        return "The error message must be a text."
    text = message.raw
    if not text:
        return "An empty string is not a valid nor useful error message."
    if text[0].isalpha() and not text[0].isupper():
        return "The error message must start with an upper-case letter."
    if text[-1] not in ".?!":
        return 'The error message must be a full sentence that ends in ".", "?" or "!".'
    return ""


def check_rules(
    declarations: Mapping[str, Declaration],
    values: Mapping[str, Value],
    scope: Scope,
    found: Diagnostics,
) -> None:
    """Hold every value against the `validation` blocks of its variable."""
    for name, declaration in declarations.items():
        value = values[name]
        if declaration.broken or not value.is_wholly_known:
            continue
        inner = scope.child({"var": object_of({name: value})})
        for rule in declaration.rules:
            _check(rule, name, value, inner, found)


def _check(rule: Rule, name: str, value: Value, scope: Scope, found: Diagnostics) -> None:
    subject, where = f'variable "{name}"', rule.condition.range
    given = _shown(name, value)
    try:
        outcome = convert(evaluate(rule.condition, scope), BOOL)
        if outcome.is_null:
            raise ConversionError("a bool is required, not null")
        passed = not outcome.is_known or outcome.truth
    except TemplateError as error:
        for one in error.diagnostics:
            found.error(one.summary, f"{one.detail}{given}", one.range, subject)
        return
    except ConversionError as error:
        detail = f"The condition must be true or false: {error.message}.{given}"
        found.error("Invalid variable validation result", detail, where, subject)
        return
    if not passed:
        found.error("Invalid value for variable", f"{rule.message}{given}", where, subject)


def _shown(name: str, value: Value) -> str:
    """The end of a message that tells a plain, harmless value."""
    if any(isinstance(mark, Sensitive) for mark in all_marks(value)):
        return ""
    match value.raw:
        case str():
            return f' (var.{name} is "{value.raw}")'
        case Number():
            return f" (var.{name} is {value.raw.to_text()})"
        case _:
            return ""
