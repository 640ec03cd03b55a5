"""From syntax tree and scope to values.

Unknown values propagate, marks are carried along, and every value knows the place of the expression
that it came from. All findings of an expression are raised together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain

from goldsmith.core.options import did_you_mean
from goldsmith.errors import Diagnostic, Position, SourceRange, TemplateError
from goldsmith.template.hcl2 import access, operators
from goldsmith.template.hcl2.ast import (
    AttributeAccess,
    Binary,
    Bound,
    Conditional,
    Expression,
    ForExpression,
    FunctionCall,
    IndexAccess,
    Literal,
    ObjectExpression,
    Parentheses,
    Splat,
    SplatItem,
    Template,
    TemplateFor,
    TemplateIf,
    TemplateWrap,
    TupleExpression,
    Unary,
    Variable,
)
from goldsmith.template.hcl2.expression_functions import SPECIAL_CALLS
from goldsmith.template.hcl2.functions import CallContext, FunctionError, call_function
from goldsmith.template.hcl2.parser import TOO_DEEP, parse_expression
from goldsmith.template.hcl2.reference_values import with_values
from goldsmith.template.hcl2.scope import Scope, failure
from goldsmith.values.bounds import MOST_ROUNDS, TooLarge, check_size, check_text
from goldsmith.values.convert import ConversionError, convert
from goldsmith.values.marks import NO_MARKS, Mark
from goldsmith.values.numbers import NotANumber
from goldsmith.values.types import ANY, STRING, ListType, SetType, TupleType, Type, friendly_name
from goldsmith.values.value import (
    TRUE,
    Value,
    all_marks,
    list_of,
    object_of,
    string,
    tuple_of,
    unknown,
)


def evaluate(expression: Expression, scope: Scope) -> Value:
    """The value of an expression. Raises TemplateError with every finding."""
    try:
        value = _Evaluation(scope).value(expression)
        check_size(value)
        return value
    except RecursionError:
        raise failure(*TOO_DEEP, expression.range) from None
    except (TooLarge, NotANumber) as error:
        detail = f"This expression cannot be evaluated: {error.message}."
        raise failure("Value too large", detail, expression.range) from error


def evaluate_text(
    source: str, scope: Scope, filename: str = "<expression>", start: Position | None = None
) -> Value:
    """The value of a text that is one expression, and that begins at `start` of its file.

    Raises TemplateError with every finding.
    """
    expression, found = parse_expression(source, filename, start)
    if expression is None:
        raise TemplateError(found, {filename: source})
    try:
        return evaluate(expression, scope)
    except TemplateError as error:
        raise TemplateError(error.diagnostics, {filename: source}) from error


class _Evaluation:
    """Evaluates within one scope; `items` are the elements that surrounding splats are at.

    `rounds` counts those of all loops of the whole expression. Raises TooLarge for too many.
    """

    def __init__(
        self, scope: Scope, items: Sequence[Value] = (), rounds: list[int] | None = None
    ) -> None:
        self.scope = scope
        self.items = list(items)
        self.rounds = [0] if rounds is None else rounds

    def within(self, names: Mapping[str, Value]) -> _Evaluation:
        return _Evaluation(self.scope.child(names), self.items, self.rounds)

    def _count_rounds(self, count: int) -> None:
        self.rounds[0] += count
        if self.rounds[0] > MOST_ROUNDS:
            raise TooLarge(f"its loops have more than {MOST_ROUNDS} rounds")

    def value(self, node: Expression) -> Value:
        try:
            result = self._value(node)
        except TemplateError as error:
            raise with_values(error, node, self.scope) from error.__cause__
        return result if result.range == node.range else result.at(node.range)

    def _value(self, node: Expression) -> Value:
        match node:
            case Literal(_, value):
                return value
            case Variable(where, name):
                return self._variable(name, where)
            case AttributeAccess(_, target, name, name_range):
                root = target.name if isinstance(target, Variable) else ""
                return access.attribute(self.value(target), name, name_range, root)
            case IndexAccess(where, target, key):
                found, wanted = self.all([target, key])
                return access.index(found, wanted, where)
            case Splat():
                return self._splat(node)
            case SplatItem():
                return self.items[-1]
            case FunctionCall():
                return self._call(node)
            case Unary(where, operator, operand):
                return operators.unary(operator, self.value(operand), where)
            case Binary(_, "&&" | "||" as operator, left, right):
                return operators.logical(operator, self.value(left), lambda: self.value(right))
            case Binary(where, operator, left, right):
                a, b = self.all([left, right])
                return operators.binary(operator, a, b, where)
            case Conditional():
                return self._conditional(node)
            case Parentheses(_, inner) | TemplateWrap(_, inner):
                return self.value(inner)
            case TupleExpression(_, elements):
                return tuple_of(self.all(elements))
            case ObjectExpression():
                return self._object(node)
            case ForExpression():
                return self._for(node)
            case Template(_, parts):
                return _joined([(part.range, value) for part, value in self._parts(parts)])
            case TemplateIf(_, condition, if_true, if_false):
                return self._template_if(condition, if_true, if_false)
            case TemplateFor():
                return self._template_for(node)
            case Bound(_, names, inner):
                return self.within(names).value(inner)
            case _:
                raise AssertionError(f"no rule for {type(node).__name__}")

    def all(self, nodes: Iterable[Expression]) -> list[Value]:
        """The values of several expressions. Raises TemplateError with the findings of all."""
        return gather([lambda node=node: self.value(node) for node in nodes])  # type: ignore[misc]

    def _parts(self, parts: Sequence[Expression]) -> list[tuple[Expression, Value]]:
        return list(zip(parts, self.all(parts), strict=True))

    def _variable(self, name: str, where: SourceRange) -> Value:
        value = self.scope.lookup(name)
        if value is not None:
            return value
        if self.scope.place:
            detail = f"Variables may not be used in {self.scope.place}."
            raise failure("Variables not allowed", detail, where)
        detail = f'There is no variable named "{name}".'
        near = did_you_mean(name, self.scope.visible_names())
        if not near and self.scope.lookup("var") is not None:
            near = f" To refer to a variable or a local, write var.{name} or local.{name}."
        raise failure("Unknown variable", detail + near, where)

    def _splat(self, node: Splat) -> Value:
        target = self.value(node.target)
        is_sequence = isinstance(target.type, ListType | SetType | TupleType)
        if target.is_null:
            if is_sequence:
                detail = "Splat expressions cannot be applied to null sequences."
                raise failure("Splat of null value", detail, node.range)
            return tuple_of([]).with_marks(target.marks)
        if target.type == ANY or (is_sequence and not target.is_known):
            return unknown().with_marks(target.marks)
        elements = target.elements if is_sequence else (target,)
        self._count_rounds(len(elements))

        def each(element: Value) -> Value:
            inner = _Evaluation(self.scope, [*self.items, element], self.rounds)
            return inner.value(node.each)

        results = gather([lambda item=item: each(item) for item in elements])  # type: ignore[misc]
        if isinstance(target.type, ListType | SetType):
            element_type = self._splat_type(target.type.element, results, each)
            if all(result.type == element_type for result in results):
                return list_of(element_type, results).with_marks(target.marks)
        return tuple_of(results).with_marks(target.marks)

    @staticmethod
    def _splat_type(element: Type, results: list[Value], each: Callable[[Value], Value]) -> Type:
        if results:
            return results[0].type
        try:
            return each(unknown(element)).type
        except TemplateError:
            return ANY

    def _call(self, node: FunctionCall) -> Value:
        scope, name = self.scope, node.name
        if name in scope.expression_functions:
            return SPECIAL_CALLS[name](node, scope, self.value)
        function = scope.functions.get(name)
        if function is None:
            raise self._unknown_function(node)
        try:
            arguments = self._arguments(node)
        except _StillUnknown as pending:
            return unknown(function.returns).with_marks(pending.marks)
        context = CallContext(scope.world, scope.base_directory, node.range)
        try:
            return call_function(function, arguments, context)
        except FunctionError as error:
            where = node.range
            position = error.argument_index
            if position is not None and position < len(arguments):
                where = arguments[position].range or where
            raise failure(error.summary, error.message, where) from error

    def _unknown_function(self, node: FunctionCall) -> TemplateError:
        name, known = node.name, {*self.scope.functions, *self.scope.expression_functions}
        if self.scope.place:
            only = " or ".join(f"{one}()" for one in sorted(known))
            detail = f'The function "{name}" may not be called in {self.scope.place}'
            detail += f": only {only} may." if only else "."
            return failure("Call to unknown function", detail, node.name_range)
        detail = f'There is no function named "{name}".'
        if name == "env":
            detail += " env() may be called only in the default of a variable."
        return failure(
            "Call to unknown function", detail + did_you_mean(name, known), node.name_range
        )

    def _arguments(self, node: FunctionCall) -> list[Value]:
        arguments = self.all(node.arguments)
        if not node.expand_last:
            return arguments
        last = arguments.pop()
        summary = "Invalid expanding argument value"
        if last.is_null:
            detail = "The expanding argument (indicated by ...) must not be null."
            raise failure(summary, detail, last.range)
        if last.type == ANY or not last.is_known:
            raise _StillUnknown(frozenset(chain(*(all_marks(one) for one in [*arguments, last]))))
        if not isinstance(last.type, ListType | SetType | TupleType):
            detail = "The expanding argument (indicated by ...) must be of a tuple, list or set."
            raise failure(summary, detail, last.range)
        spread = (item.with_marks(last.marks).at(last.range) for item in last.elements)
        return [*arguments, *spread]

    def _conditional(self, node: Conditional) -> Value:
        summary = "Incorrect condition type"
        decision = operators.condition(self.value(node.condition), summary, "condition value")
        if not decision.is_known:
            return self._undecided(node, decision)
        taken, other = node.if_true, node.if_false
        if not decision.truth:
            taken, other = other, taken
        chosen = self.value(taken)
        try:
            rejected = self.value(other)
        except TemplateError:
            # The branch that is not taken may be wrong; only its type would have mattered.
            return chosen.with_marks(decision.marks)
        common = operators.to_common_type(chosen, rejected, node.range)
        return common.with_marks(decision.marks)

    def _undecided(self, node: Conditional, decision: Value) -> Value:
        """The result of a conditional whose condition only a running build knows."""
        if_true, if_false = self.all([node.if_true, node.if_false])
        marks = decision.marks | all_marks(if_true) | all_marks(if_false)
        same = if_true.type if if_true.type == if_false.type else ANY
        return unknown(same).with_marks(marks)

    def _object(self, node: ObjectExpression) -> Value:
        values = self.all(chain.from_iterable((item.key, item.value) for item in node.items))
        attributes: dict[str, Value] = {}
        marks: frozenset[Mark] = NO_MARKS
        complete = True
        for key, value in zip(values[::2], values[1::2], strict=True):
            name = _key(key, "an object")
            marks |= name.marks
            if name.is_known:
                attributes[name.text] = value
            else:
                complete = False
                marks |= all_marks(value)
        result = object_of(attributes) if complete else unknown()
        return result.with_marks(marks)

    def _loop(
        self, collection_node: Expression, key_name: str | None, value_name: str
    ) -> tuple[Value, list[_Evaluation] | None]:
        """The collection and an evaluation for each of its elements; None when not known yet."""
        collection = self.value(collection_node)
        if collection.is_null:
            detail = "A null value cannot be used as the collection in a 'for' expression."
            raise failure("Iteration over null value", detail, collection_node.range)
        if collection.type == ANY or not collection.is_known:
            return collection, None
        pairs = access.pairs(collection)
        if pairs is None:
            detail = f"A value of type {friendly_name(collection.type)} cannot be looped over."
            raise failure("Iteration over non-iterable value", detail, collection_node.range)
        self._count_rounds(len(pairs))
        steps = []
        for key, value in pairs:
            names = {value_name: value}
            if key_name is not None:
                names[key_name] = key
            steps.append(self.within(names))
        return collection, steps

    def _for(self, node: ForExpression) -> Value:
        collection, steps = self._loop(node.collection, node.key_name, node.value_name)
        marks = collection.marks
        if steps is None:
            return unknown().with_marks(marks)
        kept: list[_Evaluation] = []
        for step, included in zip(
            steps, gather([_inclusion(node, one) for one in steps]), strict=True
        ):
            marks |= included.marks
            if not included.is_known:
                return unknown().with_marks(marks)
            if included.truth:
                kept.append(step)
        if node.key is None:
            return tuple_of(_each(kept, node.value)).with_marks(marks)
        return self._for_object(node, node.key, kept).with_marks(marks)

    def _for_object(
        self, node: ForExpression, key_node: Expression, steps: list[_Evaluation]
    ) -> Value:
        groups: dict[str, list[Value]] = {}
        marks: frozenset[Mark] = NO_MARKS
        keys, values = _each(steps, key_node), _each(steps, node.value)
        for given, value in zip(keys, values, strict=True):
            key = _key(given, "a 'for' expression")
            marks |= key.marks
            if not key.is_known:
                return unknown().with_marks(marks)
            if key.text in groups and not node.group:
                detail = (
                    "Two different items produced the key "
                    f"\"{key.text}\" in this 'for' expression. If duplicates are expected, use "
                    "the ellipsis (...) after the value expression to enable grouping by key."
                )
                raise failure("Duplicate object key", detail, key_node.range)
            groups.setdefault(key.text, []).append(value)
        attributes = {
            name: tuple_of(values) if node.group else values[0] for name, values in groups.items()
        }
        return object_of(attributes).with_marks(marks)

    def _template_if(self, condition: Expression, if_true: Template, if_false: Template) -> Value:
        summary = "Incorrect condition type"
        decision = operators.condition(self.value(condition), summary, "condition value")
        if not decision.is_known:
            return unknown(STRING).with_marks(decision.marks)
        chosen = self.value(if_true if decision.truth else if_false)
        return chosen.with_marks(decision.marks)

    def _template_for(self, node: TemplateFor) -> Value:
        collection, steps = self._loop(node.collection, node.key_name, node.value_name)
        if steps is None:
            return unknown(STRING).with_marks(collection.marks)
        texts = _each(steps, node.content)
        joined = _joined([(node.content.range, text) for text in texts])
        return joined.with_marks(collection.marks)


class _StillUnknown(Exception):
    """An expanded argument list has no known length yet."""

    def __init__(self, marks: frozenset[Mark]) -> None:
        super().__init__()
        self.marks = marks


def gather(computations: Iterable[Callable[[], Value]]) -> list[Value]:
    """Compute all; raises one TemplateError with the findings of all that failed."""
    values: list[Value] = []
    found: list[Diagnostic] = []
    for compute in computations:
        try:
            values.append(compute())
        except TemplateError as error:
            found.extend(one for one in error.diagnostics if one not in found)
    if found:
        raise TemplateError(found)
    return values


def _each(steps: list[_Evaluation], node: Expression) -> list[Value]:
    return gather([lambda step=step: step.value(node) for step in steps])  # type: ignore[misc]


def _inclusion(node: ForExpression, step: _Evaluation) -> Callable[[], Value]:
    if node.condition is None:
        return lambda: TRUE
    wanted = node.condition
    summary = "Invalid 'for' condition"
    return lambda: operators.condition(step.value(wanted), summary, "'if' clause value")


def _key(key: Value, of: str) -> Value:
    """A key of an object as text, perhaps unknown. Raises TemplateError."""
    if key.is_null:
        detail = f"The key expression of {of} must not produce a null value."
        raise failure("Invalid object key", detail, key.range)
    try:
        return convert(key, STRING)
    except ConversionError as error:
        detail = f"The key expression of {of} is not suitable: {error.message}."
        raise failure("Invalid object key", detail, key.range) from error


def _joined(parts: Sequence[tuple[SourceRange, Value]]) -> Value:
    """The parts of a template as one text. Raises TemplateError."""
    texts: list[str] = []
    marks: frozenset[Mark] = NO_MARKS
    complete = True
    found: list[Diagnostic] = []
    summary = "Invalid template interpolation value"
    for where, value in parts:
        marks |= all_marks(value)
        if value.is_null:
            detail = "The expression result is null. A text cannot include a null value."
            found.append(Diagnostic(summary, detail, where))
            continue
        try:
            text = convert(value, STRING)
        except ConversionError as error:
            detail = f"Cannot include the given value in a text: {error.message}."
            found.append(Diagnostic(summary, detail, where))
            continue
        complete = complete and text.is_known
        texts.append(text.text if text.is_known else "")
    if found:
        raise TemplateError(found)
    check_text(sum(map(len, texts)))
    return (string("".join(texts)) if complete else unknown(STRING)).with_marks(marks)
