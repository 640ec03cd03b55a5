"""The parsed form of a template.

`str()` of a node is the text by which Go's messages point at it, `offset` where it starts in the
template, in characters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from goldsmith.gotemplate.quoting import quote


@dataclass(frozen=True, slots=True)
class Node:
    """A piece of a template."""

    offset: int


@dataclass(frozen=True, slots=True)
class BoolNode(Node):
    """`true` or `false`."""

    value: bool

    def __str__(self) -> str:
        return "true" if self.value else "false"


@dataclass(frozen=True, slots=True)
class NumberNode(Node):
    """A number with its value in each type that can hold it, like Go's untyped constants."""

    text: str
    int_value: int | None = None
    float_value: float | None = None
    complex_value: complex | None = None

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class StringNode(Node):
    """A string literal."""

    quoted: str
    value: str

    def __str__(self) -> str:
        return self.quoted


@dataclass(frozen=True, slots=True)
class DotNode(Node):
    """The cursor, `.`."""

    def __str__(self) -> str:
        return "."


@dataclass(frozen=True, slots=True)
class NilNode(Node):
    """The word `nil`."""

    def __str__(self) -> str:
        return "nil"


@dataclass(frozen=True, slots=True)
class IdentifierNode(Node):
    """The name of a function."""

    name: str

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class FieldNode(Node):
    """`.A.B`: fields of the cursor."""

    names: tuple[str, ...]

    def __str__(self) -> str:
        return "".join("." + name for name in self.names)


@dataclass(frozen=True, slots=True)
class VariableNode(Node):
    """`$x.A.B`: a variable (its name has the dollar) and fields of it."""

    name: str
    fields: tuple[str, ...] = ()

    def __str__(self) -> str:
        return ".".join((self.name, *self.fields))


@dataclass(frozen=True, slots=True)
class ChainNode(Node):
    """`(pipeline).A.B` or `function.A.B`: fields of a result."""

    base: Node
    names: tuple[str, ...]

    def __str__(self) -> str:
        base = f"({self.base})" if isinstance(self.base, PipeNode) else str(self.base)
        return base + "".join("." + name for name in self.names)


@dataclass(frozen=True, slots=True)
class CommandNode(Node):
    """A function or value with its arguments."""

    args: tuple[Node, ...]

    def __str__(self) -> str:
        return " ".join(f"({a})" if isinstance(a, PipeNode) else str(a) for a in self.args)


@dataclass(frozen=True, slots=True)
class PipeNode(Node):
    """Commands joined by `|`, the result kept in variables if any are named."""

    variables: tuple[str, ...]
    is_assignment: bool
    commands: tuple[CommandNode, ...]

    def __str__(self) -> str:
        commands = " | ".join(map(str, self.commands))
        if not self.variables:
            return commands
        return f"{', '.join(self.variables)} {'=' if self.is_assignment else ':='} {commands}"


Body = tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class TextNode(Node):
    """Text outside of actions."""

    text: str


@dataclass(frozen=True, slots=True)
class ActionNode(Node):
    """A pipeline whose result is printed, or kept in variables."""

    pipe: PipeNode

    def __str__(self) -> str:
        return f"{{{{{self.pipe}}}}}"


@dataclass(frozen=True, slots=True)
class BranchNode(Node):
    """`if` or `with` and their `else if`/`else with`: the first arm whose pipeline is true."""

    word: str
    arms: tuple[tuple[PipeNode, Body], ...]
    otherwise: Body


@dataclass(frozen=True, slots=True)
class RangeNode(Node):
    """`range` with the body for each element, and the one for none."""

    pipe: PipeNode
    body: Body
    otherwise: Body

    def __str__(self) -> str:
        return f"{{{{range {self.pipe}}}}}"


@dataclass(frozen=True, slots=True)
class BreakNode(Node):
    """`break`."""


@dataclass(frozen=True, slots=True)
class ContinueNode(Node):
    """`continue`."""


@dataclass(frozen=True, slots=True)
class TemplateNode(Node):
    """`template "name" pipeline`: applies another template."""

    name: str
    pipe: PipeNode | None

    def __str__(self) -> str:
        argument = f" {self.pipe}" if self.pipe else ""
        return f"{{{{template {quote(self.name)}{argument}}}}}"


def is_blank(body: Sequence[Node]) -> bool:
    """Whether a body holds nothing but white space."""
    return all(isinstance(node, TextNode) and not node.text.strip() for node in body)
