"""Applies a parsed template to data.

The order of evaluation and the node that a message points at follow Go's text/template, because
users read both in the messages they know.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping

from goldsmith.errors import GoldsmithError
from goldsmith.gotemplate import formatting
from goldsmith.gotemplate.data import (
    NO_ARGUMENT,
    NO_VALUE,
    LenientMap,
    is_nothing,
    is_true,
    type_name,
)
from goldsmith.gotemplate.errors import GoTemplateError
from goldsmith.gotemplate.functions import AnyFunction, Function, Kind, LogicalFunction, accepts
from goldsmith.gotemplate.nodes import (
    ActionNode,
    Body,
    BoolNode,
    BranchNode,
    BreakNode,
    ChainNode,
    CommandNode,
    ContinueNode,
    DotNode,
    FieldNode,
    IdentifierNode,
    NilNode,
    Node,
    NumberNode,
    PipeNode,
    RangeNode,
    StringNode,
    TemplateNode,
    TextNode,
    VariableNode,
)
from goldsmith.gotemplate.parser import Program
from goldsmith.gotemplate.quoting import join, quote, to_bytes

MAX_DEPTH = 100
"""How deep templates, blocks and parentheses may nest while they run."""
MAX_STEPS = 1_000_000
"""How many bodies and pipelines one rendering may run: templates that call each other twice grow
as 2^n."""
LARGEST_TEXT = 64 << 20
"""Characters of what one rendering writes, and of what a function gives."""


class _Flow(enum.Enum):
    """How a body ended."""

    ON = enum.auto()
    BREAK = enum.auto()
    CONTINUE = enum.auto()


def render(program: Program, functions: Mapping[str, AnyFunction], data: object) -> str:
    """The text of the program's main template for the data; raises GoTemplateError."""
    run = _Run(program, functions, data)
    try:
        return run.text()
    except RecursionError as error:
        raise run.error(f"exceeded maximum template depth ({MAX_DEPTH})") from error


class _Run:
    def __init__(
        self, program: Program, functions: Mapping[str, AnyFunction], data: object
    ) -> None:
        self._program = program
        self._functions = functions
        self._template = program.name
        self._data = NO_VALUE if data is None else data
        self._variables: list[tuple[str, object]] = [("$", self._data)]
        self._output: list[str] = []
        self._written = 0
        self._node: Node = TextNode(0, "")
        self._depth = 0
        self._steps = 0

    def text(self) -> str:
        self._body(self._data, self._program.templates[self._program.name])
        return join(self._output)

    def error(self, reason: str, *, hint: str | None = None) -> GoTemplateError:
        """An error that points at the current node."""
        offset, name = self._node.offset, self._program.name
        line, column = self._program.place(offset)
        start = self._program.text.rfind("\n", 0, offset) + 1
        column_bytes = len(to_bytes(self._program.text[start:offset]))
        return GoTemplateError(
            f"template: {name}:{line}:{column_bytes}: executing {quote(self._template)}"
            f" at <{self._node}>: {reason}",
            reason=reason,
            line=line,
            column=column,
            hint=hint,
        )

    def _write(self, text: str) -> None:
        self._written += len(text)
        if self._written > LARGEST_TEXT:
            raise self.error(f"the text has more than {LARGEST_TEXT} characters")
        self._output.append(text)

    def _enter(self) -> None:
        """Count a body or pipeline: how many there were, and how deep this one is."""
        self._steps += 1
        if self._steps > MAX_STEPS:
            raise self.error(f"the template takes more than {MAX_STEPS} steps")
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise self.error(f"exceeded maximum template depth ({MAX_DEPTH})")

    # Statements

    def _body(self, dot: object, body: Body) -> _Flow:
        self._enter()
        flow = _Flow.ON
        for node in body:
            flow = self._statement(dot, node)
            if flow is not _Flow.ON:
                break
        self._depth -= 1
        return flow

    def _statement(self, dot: object, node: Node) -> _Flow:
        self._node = node
        match node:
            case TextNode():
                self._write(node.text)
            case ActionNode():
                value = self._pipeline(dot, node.pipe)
                if not node.pipe.variables:
                    self._write(formatting.sprint([formatting.printable(value)]))
            case BranchNode():
                return self._branch(dot, node)
            case RangeNode():
                return self._range(dot, node)
            case BreakNode():
                return _Flow.BREAK
            case ContinueNode():
                return _Flow.CONTINUE
            case TemplateNode():
                self._apply(dot, node)
            case _:
                raise TypeError(f"{type(node).__name__} is no statement")
        return _Flow.ON

    def _branch(self, dot: object, node: BranchNode) -> _Flow:
        mark = len(self._variables)
        chosen, cursor = node.otherwise, dot
        for pipe, body in node.arms:
            value = self._pipeline(dot, pipe)
            if is_true(value):
                chosen, cursor = body, value if node.word == "with" else dot
                break
        flow = self._body(cursor, chosen)
        del self._variables[mark:]
        return flow

    def _range(self, dot: object, node: RangeNode) -> _Flow:
        mark = len(self._variables)
        value = self._pipeline(dot, node.pipe)
        top = len(self._variables)
        flow, is_empty = _Flow.ON, True
        for key, element in self._elements(node, value):
            is_empty = False
            self._bind(node.pipe, key, element)
            end = self._body(element, node.body)
            del self._variables[top:]
            if end is _Flow.BREAK:
                break
        if is_empty:
            flow = self._body(dot, node.otherwise)
        del self._variables[mark:]
        return flow

    def _elements(self, node: RangeNode, value: object) -> Iterable[tuple[object, object]]:
        """Keys and elements of what is ranged over."""
        if is_nothing(value):
            return ()
        if isinstance(value, (list, tuple)):
            return enumerate(value)
        if isinstance(value, LenientMap):
            return value.sorted_items()
        if isinstance(value, int) and not isinstance(value, bool):
            if len(node.pipe.variables) > 1:
                raise self.error(f"can't use {value} to iterate over more than one variable")
            return ((NO_VALUE, number) for number in range(value))
        raise self.error(f"range can't iterate over {formatting.sprint([value])}")

    def _bind(self, pipe: PipeNode, key: object, element: object) -> None:
        """Set the variables of a range: the element to the last one, its key to the other."""
        values = (key, element)[-len(pipe.variables) :] if pipe.variables else ()
        for place, (name, value) in enumerate(zip(pipe.variables, values, strict=True)):
            if pipe.is_assignment:
                self._assign(name, value)
            else:
                top = len(self._variables) - len(pipe.variables) + place
                self._variables[top] = (name, value)

    def _apply(self, dot: object, node: TemplateNode) -> None:
        body = self._program.templates.get(node.name)
        if body is None:
            raise self.error(f"template {quote(node.name)} not defined")
        cursor = NO_VALUE if node.pipe is None else self._pipeline(dot, node.pipe)
        outer = (self._variables, self._template)
        self._variables, self._template = [("$", cursor)], node.name
        self._body(cursor, body)
        self._variables, self._template = outer

    # Variables

    def _assign(self, name: str, value: object) -> None:
        for place in range(len(self._variables) - 1, -1, -1):
            if self._variables[place][0] == name:
                self._variables[place] = (name, value)
                return
        raise self.error(f"undefined variable: {name}")

    def _lookup(self, name: str) -> object:
        for known, value in reversed(self._variables):
            if known == name:
                return value
        raise self.error(f"undefined variable: {name}")

    # Pipelines and commands

    def _pipeline(self, dot: object, pipe: PipeNode) -> object:
        self._enter()
        self._node = pipe
        value: object = NO_ARGUMENT
        for command in pipe.commands:
            value = self._command(dot, command, value)
            if value is None:
                value = NO_VALUE
        for name in pipe.variables:
            if pipe.is_assignment:
                self._assign(name, value)
            else:
                self._variables.append((name, value))
        self._depth -= 1
        return value

    def _command(self, dot: object, command: CommandNode, piped: object) -> object:
        first, args = command.args[0], command.args[1:]
        if isinstance(first, IdentifierNode):
            return self._call(dot, first, command, args, piped)
        has_arguments = bool(args) or piped is not NO_ARGUMENT
        if isinstance(first, (FieldNode, ChainNode)) or (
            isinstance(first, VariableNode) and first.fields
        ):
            return self._value(dot, first, has_arguments=has_arguments)
        if not isinstance(first, PipeNode):
            self._node = first
        if has_arguments:
            raise self.error(f"can't give argument to non-function {first}")
        if isinstance(first, NilNode):
            raise self.error("nil is not a command")
        return self._value(dot, first)

    def _value(self, dot: object, node: Node, *, has_arguments: bool = False) -> object:
        """The value of an operand where any type will do."""
        if isinstance(node, PipeNode):
            return self._pipeline(dot, node)
        self._node = node
        match node:
            case DotNode():
                return dot
            case BoolNode() | StringNode():
                return node.value
            case NumberNode():
                return self._number(node)
            case FieldNode():
                return self._fields(dot, node.names, has_arguments)
            case VariableNode():
                value = self._lookup(node.name)
                return self._fields(value, node.fields, has_arguments) if node.fields else value
            case ChainNode():
                if isinstance(node.base, NilNode):
                    raise self.error(f"indirection through explicit nil in {node}")
                return self._fields(self._value(dot, node.base), node.names, has_arguments)
            case IdentifierNode():
                return self._call(dot, node, node, (), NO_ARGUMENT)
            case _:
                raise TypeError(f"{type(node).__name__} has no value")

    def _number(self, node: NumberNode) -> object:
        """A number without a type in demand: its syntax decides."""
        if node.complex_value is not None:
            return node.complex_value
        is_integer = node.text[0] == "'" or (
            node.text[:2].lower() == "0x" and "p" not in node.text.lower()
        )
        if not is_integer and any(c in node.text for c in ".eEpP"):
            return node.float_value
        if node.int_value is None:
            raise self.error(f"{node.text} overflows int")
        return node.int_value

    def _fields(self, receiver: object, names: tuple[str, ...], has_arguments: bool) -> object:
        for place, name in enumerate(names, start=1):
            receiver = self._field(receiver, name, has_arguments and place == len(names))
        return receiver

    def _field(self, receiver: object, name: str, has_arguments: bool) -> object:
        if receiver is NO_VALUE:
            return NO_VALUE
        if receiver is None:
            raise self.error(f"nil pointer evaluating interface {{}}.{name}")
        if isinstance(receiver, LenientMap):
            if has_arguments:
                raise self.error(f"{name} is not a method but has arguments")
            return receiver.get(name, NO_VALUE)
        if isinstance(receiver, Mapping) and name in receiver:
            if has_arguments:
                raise self.error(f"{name} has arguments but cannot be invoked as function")
            return receiver[name]
        known = ", ".join(map(str, receiver)) if isinstance(receiver, Mapping) else ""
        raise self.error(
            f"can't evaluate field {name} in type {type_name(receiver)}",
            hint=f"the fields here are: {known}" if known else None,
        )

    # Calls

    def _call(
        self, dot: object, node: IdentifierNode, whole: Node, args: tuple[Node, ...], piped: object
    ) -> object:
        self._node = node
        function = self._functions[node.name]
        given = len(args) + (piped is not NO_ARGUMENT)
        if isinstance(function, LogicalFunction):
            if not given:
                raise self.error(f"wrong number of args for {node.name}: want at least 1 got 0")
            return self._logical(dot, function, args, piped)
        wanted = len(function.fixed)
        if function.variadic is not None and given < wanted:
            raise self.error(
                f"wrong number of args for {node.name}: want at least {wanted} got {len(args)}"
            )
        if function.variadic is None and given != wanted:
            raise self.error(f"wrong number of args for {node.name}: want {wanted} got {given}")
        values = [
            self._argument(dot, function.kind_of(place), arg) for place, arg in enumerate(args)
        ]
        if piped is not NO_ARGUMENT:
            values.append(self._checked(piped, function.kind_of(len(args))))
        return self._result(function, whole, values)

    def _result(self, function: Function, whole: Node, values: list[object]) -> object:
        try:
            result = function.call(*values)
        except GoldsmithError as error:
            self._node = whole
            raise self.error(f"error calling {function.name}: {error}", hint=error.hint) from error
        if isinstance(result, str) and len(result) > LARGEST_TEXT:
            raise self.error(f"{function.name} gives more than {LARGEST_TEXT} characters")
        return result

    def _logical(
        self, dot: object, function: LogicalFunction, args: tuple[Node, ...], piped: object
    ) -> object:
        value: object = NO_VALUE
        for arg in args:
            value = self._argument(dot, Kind.ANY, arg)
            if is_true(value) is function.stops_at:
                return value
        return value if piped is NO_ARGUMENT else piped

    def _argument(self, dot: object, kind: Kind, node: Node) -> object:
        self._node = node
        if isinstance(node, NilNode):
            if kind is not Kind.ANY:
                raise self.error(f"cannot assign nil to {kind.value}")
            return None
        if isinstance(node, (BoolNode, NumberNode, StringNode)):
            return self._literal(kind, node)
        return self._checked(self._value(dot, node), kind)

    def _literal(self, kind: Kind, node: BoolNode | NumberNode | StringNode) -> object:
        if kind is Kind.ANY:
            return self._value(None, node)
        value: object = None
        if isinstance(node, NumberNode):
            value = {Kind.INT: node.int_value, Kind.FLOAT: node.float_value}.get(kind)
        elif kind is (Kind.BOOL if isinstance(node, BoolNode) else Kind.STRING):
            value = node.value
        if value is None:
            wanted = {Kind.INT: "integer", Kind.FLOAT: "float"}.get(kind, kind.value)
            raise self.error(f"expected {wanted}; found {node}")
        return value

    def _checked(self, value: object, kind: Kind) -> object:
        """The value as an argument of this type."""
        if value is NO_VALUE:
            if kind is not Kind.ANY:
                raise self.error(f"invalid value; expected {kind.value}")
            return None
        if not accepts(kind, value):
            raise self.error(f"wrong type for value; expected {kind.value}; got {type_name(value)}")
        return value
