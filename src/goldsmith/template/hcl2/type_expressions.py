"""Type expressions: `list(string)`, `object({a = optional(number, 1)})`, `any`."""

from __future__ import annotations

from collections.abc import Callable

from goldsmith.core.options import did_you_mean
from goldsmith.errors import SourceRange, TemplateError
from goldsmith.template.hcl2.ast import (
    Expression,
    FunctionCall,
    Literal,
    ObjectExpression,
    TupleExpression,
    Variable,
)
from goldsmith.template.hcl2.scope import failure
from goldsmith.values.convert import ConversionError, convert
from goldsmith.values.types import (
    ANY,
    BOOL,
    NUMBER,
    STRING,
    ListType,
    MapType,
    ObjectType,
    SetType,
    TupleType,
    Type,
)
from goldsmith.values.value import Value

_KEYWORDS: dict[str, Type] = {"string": STRING, "number": NUMBER, "bool": BOOL, "any": ANY}
_COLLECTIONS: dict[str, Callable[[Type], Type]] = {"list": ListType, "set": SetType, "map": MapType}
_CONSTRUCTORS = (*_COLLECTIONS, "object", "tuple")
_SUMMARY = "Invalid type specification"


def parse_type(
    expression: Expression, evaluate_default: Callable[[Expression], Value] | None = None
) -> Type:
    """The type that an expression spells.

    With `evaluate_default` attributes of objects may be `optional`; without it, as in `convert`,
    `optional(T)` counts as required and a default is refused. Raises TemplateError.
    """
    if isinstance(expression, Variable):
        return _keyword(expression)
    if isinstance(expression, FunctionCall):
        return _constructed(expression, evaluate_default)
    detail = "A type is written without quotes: string, list(string), object({ … })."
    if isinstance(expression, Literal) and isinstance(expression.value.raw, str):
        detail = f"Write the type without quotes: {expression.value.raw}."
    raise failure(_SUMMARY, detail, expression.range)


def _keyword(expression: Variable) -> Type:
    name = expression.name
    if name in _KEYWORDS:
        return _KEYWORDS[name]
    if name in _CONSTRUCTORS:
        example = {"object": "object({ a = string })", "tuple": "tuple([string])"}
        wanted = example.get(name, f"{name}(string)")
        detail = f'The type "{name}" needs to know what is inside: {wanted}.'
    else:
        detail = f'The keyword "{name}" is not a valid type.'
        detail += did_you_mean(name, [*_KEYWORDS, *_CONSTRUCTORS])
    raise failure(_SUMMARY, detail, expression.range)


def _constructed(
    call: FunctionCall, evaluate_default: Callable[[Expression], Value] | None
) -> Type:
    if call.name == "optional":
        detail = "optional(…) is valid only for an attribute of object({ … })."
        raise failure(_SUMMARY, detail, call.range)
    if call.name not in _CONSTRUCTORS:
        detail = f'"{call.name}" is not a valid type constructor.'
        detail += did_you_mean(call.name, _CONSTRUCTORS)
        raise failure(_SUMMARY, detail, call.name_range)
    if len(call.arguments) != 1 or call.expand_last:
        detail = f'The type constructor "{call.name}" takes exactly one argument.'
        raise failure(_SUMMARY, detail, call.range)
    argument = call.arguments[0]
    if call.name in _COLLECTIONS:
        return _COLLECTIONS[call.name](parse_type(argument, evaluate_default))
    if call.name == "tuple":
        if not isinstance(argument, TupleExpression):
            raise failure(_SUMMARY, "tuple takes a list of types: tuple([…]).", argument.range)
        return TupleType(tuple(parse_type(one, evaluate_default) for one in argument.elements))
    if not isinstance(argument, ObjectExpression):
        raise failure(_SUMMARY, "object takes attributes: object({ … }).", argument.range)
    return _object(argument, evaluate_default)


def _object(
    expression: ObjectExpression, evaluate_default: Callable[[Expression], Value] | None
) -> Type:
    attributes: dict[str, Type] = {}
    defaults: dict[str, Value] = {}
    optional: set[str] = set()
    for item in expression.items:
        if not isinstance(item.key, Literal) or not isinstance(item.key.value.raw, str):
            detail = "Attribute names of object({ … }) are plain names."
            raise failure(_SUMMARY, detail, item.key.range)
        name = item.key.value.raw
        if isinstance(item.value, FunctionCall) and item.value.name == "optional":
            attributes[name], default = _optional(item.value, evaluate_default)
            if evaluate_default is not None:
                optional.add(name)
            if default is not None:
                defaults[name] = default
        else:
            attributes[name] = parse_type(item.value, evaluate_default)
    return ObjectType(attributes, frozenset(optional), defaults)


def _optional(
    call: FunctionCall, evaluate_default: Callable[[Expression], Value] | None
) -> tuple[Type, Value | None]:
    most = 1 if evaluate_default is None else 2
    if not 1 <= len(call.arguments) <= most:
        detail = "optional takes a type and, in the type of a variable, a default value."
        raise failure(_SUMMARY, detail, call.range)
    wanted = parse_type(call.arguments[0], evaluate_default)
    if len(call.arguments) == 1 or evaluate_default is None:
        return wanted, None
    default = call.arguments[1]
    try:
        return wanted, convert(evaluate_default(default), wanted)
    except ConversionError as error:
        raise _unfit_default(error, default.range) from error


def _unfit_default(error: ConversionError, where: SourceRange) -> TemplateError:
    detail = f"This default value is not compatible with the attribute's type: {error.message}."
    return failure("Invalid default value for optional attribute", detail, where)
