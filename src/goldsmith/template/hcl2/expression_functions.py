"""Functions that look at expressions, not at values: `try`, `can`, `convert` and their like."""

from __future__ import annotations

import os
from collections.abc import Callable

from goldsmith.errors import Diagnostic, TemplateError
from goldsmith.template.hcl2.ast import Expression, FunctionCall
from goldsmith.template.hcl2.lexer import is_identifier
from goldsmith.template.hcl2.parser import parse_template_text
from goldsmith.template.hcl2.scope import EXPRESSION_FUNCTIONS, Scope, failure
from goldsmith.template.hcl2.type_expressions import parse_type
from goldsmith.values.convert import ConversionError, convert
from goldsmith.values.marks import Impure
from goldsmith.values.types import STRING, MapType, ObjectType
from goldsmith.values.value import Value, all_marks, boolean, string, unknown

Evaluate = Callable[[Expression], Value]
"""Evaluates an argument in the scope of the call."""


def _require(call: FunctionCall, count: int, *, at_least: bool = False) -> None:
    given = len(call.arguments)
    if call.expand_last:
        detail = f'Function "{call.name}" does not take an expanded argument.'
        raise failure("Invalid function argument", detail, call.range)
    if given < count or (given > count and not at_least):
        summary = "Not enough" if given < count else "Too many"
        wanted = f"{'at least ' if at_least else ''}{count} argument{'s' if count > 1 else ''}"
        detail = f'Function "{call.name}" expects {wanted}.'
        raise failure(f"{summary} function arguments", detail, call.range)


def _try(call: FunctionCall, scope: Scope, evaluate: Evaluate) -> Value:
    _require(call, 1, at_least=True)
    problems: list[str] = []
    for argument in call.arguments:
        try:
            return evaluate(argument)
        except TemplateError as error:
            problems.extend(f"- {one}" for one in error.diagnostics)
    detail = 'Call to function "try" failed: no expression succeeded:\n' + "\n".join(problems)
    raise failure("Error in function call", detail, call.range)


def _can(call: FunctionCall, scope: Scope, evaluate: Evaluate) -> Value:
    _require(call, 1)
    try:
        value = evaluate(call.arguments[0])
    except TemplateError:
        return boolean(False)
    if not value.is_wholly_known:
        return unknown(boolean(True).type).with_marks(all_marks(value))
    return boolean(True).with_marks(all_marks(value))


def _convert(call: FunctionCall, scope: Scope, evaluate: Evaluate) -> Value:
    _require(call, 2)
    wanted = parse_type(call.arguments[1])
    value = evaluate(call.arguments[0])
    try:
        return convert(value, wanted)
    except ConversionError as error:
        detail = f'Invalid value for "value" parameter of function "convert": {error.message}.'
        raise failure("Invalid function argument", detail, value.range) from error


def _templatefile(call: FunctionCall, scope: Scope, evaluate: Evaluate) -> Value:
    _require(call, 2)
    path, variables = (evaluate(argument) for argument in call.arguments)
    marks = all_marks(path) | all_marks(variables)
    if not path.is_known or not variables.is_known:
        return unknown().with_marks(marks)
    if path.is_null or not isinstance(path.raw, str):
        raise _bad_argument(call, 0, "path", "a string is required")
    if variables.is_null or not isinstance(variables.type, MapType | ObjectType):
        raise _bad_argument(call, 1, "vars", "an object or map is required")
    for name in variables.attributes:
        if not is_identifier(name):
            problem = f'"{name}" is not a valid name of a template variable'
            raise _bad_argument(call, 1, "vars", problem)
    file = os.path.join(scope.base_directory, path.raw)
    try:
        source = scope.world.read_file(file).decode("utf-8")
    except OSError as error:
        raise _bad_argument(call, 0, "path", f"{file}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise _bad_argument(call, 0, "path", f"{file} is not UTF-8 text") from error
    rendered = _rendered(call, source, file, _inner_scope(scope, variables))
    return rendered.with_marks(marks | {Impure("file", f'templatefile("{path.raw}")')})


def _inner_scope(scope: Scope, variables: Value) -> Scope:
    """What a template file sees: its variables only, and no templatefile."""
    return Scope(
        scope.world,
        variables.attributes,
        scope.base_directory,
        scope.functions,
        EXPRESSION_FUNCTIONS - {"templatefile"},
    )


def _rendered(call: FunctionCall, source: str, file: str, scope: Scope) -> Value:
    # The evaluator imports this module for its table of calls.
    from goldsmith.template.hcl2.evaluator import evaluate

    expression, found = parse_template_text(source, file)
    if expression is not None:
        try:
            return evaluate(expression, scope)
        except TemplateError as error:
            found = error.diagnostics
    lines = "; ".join(str(one) for one in found)
    detail = f'Call to function "templatefile" failed: {lines}'
    raise TemplateError([Diagnostic("Error in function call", detail, call.range)])


def _bad_argument(call: FunctionCall, index: int, name: str, problem: str) -> TemplateError:
    detail = f'Invalid value for "{name}" parameter of function "{call.name}": {problem}.'
    return failure("Invalid function argument", detail, call.arguments[index].range)


def _env(call: FunctionCall, scope: Scope, evaluate: Evaluate) -> Value:
    _require(call, 1)
    try:
        name = convert(evaluate(call.arguments[0]), STRING)
    except ConversionError as error:
        raise _bad_argument(call, 0, "key", error.message) from error
    if name.is_null or not name.is_known:
        raise _bad_argument(call, 0, "key", "a name is required")
    value = string(scope.world.env(name.text) or "")
    return value.with_marks(name.marks | {Impure("environment", f'env("{name.text}")')})


SPECIAL_CALLS: dict[str, Callable[[FunctionCall, Scope, Evaluate], Value]] = {
    "try": _try,
    "can": _can,
    "convert": _convert,
    "templatefile": _templatefile,
    "env": _env,
}
