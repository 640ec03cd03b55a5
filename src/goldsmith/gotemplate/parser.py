"""Builds the nodes of a template, with Go's grammar and Go's complaints."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from goldsmith.gotemplate.constants import parse_number
from goldsmith.gotemplate.errors import GoTemplateError
from goldsmith.gotemplate.lexer import Kind, Token, lex
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
    is_blank,
)
from goldsmith.gotemplate.quoting import quote, unquote

MAX_NESTING = 100
"""How deep parentheses and blocks may be nested: each level costs frames of Python's stack."""
TOO_DEEP = "max expression depth exceeded"

_OPERAND_STARTS = frozenset(
    {Kind.BOOL, Kind.CHARACTER, Kind.COMPLEX, Kind.NUMBER, Kind.DOT, Kind.FIELD, Kind.IDENTIFIER,
     Kind.STRING, Kind.VARIABLE, Kind.LEFT_PAREN}
)  # fmt: skip
_LITERALS = (BoolNode, StringNode, NumberNode, NilNode, DotNode)


@dataclass(frozen=True, slots=True)
class Program:
    """A parsed text: the template of its name, and those that it defines."""

    name: str
    text: str
    templates: dict[str, Body]

    def place(self, offset: int) -> tuple[int, int]:
        """Line and column of an offset, both from 1, the column in characters."""
        return self.text.count("\n", 0, offset) + 1, offset - self.text.rfind("\n", 0, offset)


@dataclass(frozen=True, slots=True)
class _Stop:
    """The `end` or `else` that closed a body; `word` is the `if` or `with` after the `else`."""

    name: str
    word: str = ""

    def __str__(self) -> str:
        return f"{{{{{self.name}}}}}"


def parse(name: str, text: str, functions: Collection[str]) -> Program:
    """Parse a template that may call these functions; raises GoTemplateError."""
    parser = _Parser(name, text, functions)
    try:
        return parser.program()
    except RecursionError as error:
        raise parser.error(TOO_DEEP) from error


class _Parser:
    def __init__(self, name: str, text: str, functions: Collection[str]) -> None:
        self._program = Program(name, text, {})
        self._functions = functions
        self._tokens = lex(text)
        self._pushed: list[Token] = []
        self._latest = Token(Kind.EOF, "", 0)
        self._variables = ["$"]
        self._range_depth = 0
        self._nesting = 0
        self._action: Token | None = None

    # Tokens

    def _next(self) -> Token:
        if self._pushed:
            return self._pushed.pop()
        self._latest = next(self._tokens, self._latest)
        return self._latest

    def _push(self, *tokens: Token) -> None:
        """Give tokens back; the first of them is the next one to be read."""
        self._pushed.extend(reversed(tokens))

    def _peek(self) -> Token:
        token = self._next()
        self._push(token)
        return token

    def _next_word(self) -> Token:
        while (token := self._next()).kind is Kind.SPACE:
            pass
        return token

    def _peek_word(self) -> Token:
        token = self._next_word()
        self._push(token)
        return token

    def _expect(self, kind: Kind, context: str) -> Token:
        token = self._next_word()
        if token.kind is not kind:
            raise self._unexpected(token, context)
        return token

    def _is_word(self, token: Token, *words: str) -> bool:
        return token.kind is Kind.KEYWORD and token.text in words

    # Errors

    def error(self, reason: str) -> GoTemplateError:
        line, column = self._program.place(self._latest.offset)
        message = f"template: {self._program.name}:{line}: {reason}"
        return GoTemplateError(message, reason=reason, line=line, column=column)

    def _unexpected(self, token: Token, context: str) -> GoTemplateError:
        if token.kind is not Kind.ERROR:
            return self.error(f"unexpected {token} in {context}")
        line, _ = self._program.place(token.offset)
        started = self._program.place(self._action.offset)[0] if self._action else line
        extra = ""
        if started != line:
            extra = f" in action started at {self._program.name}:{started}"
            if token.text.endswith(" action"):
                extra = extra.removeprefix(" in action")
        return self.error(token.text + extra)

    def _deeper(self) -> None:
        self._nesting += 1
        if self._nesting > MAX_NESTING:
            raise self.error(TOO_DEEP)

    # Templates and bodies

    def program(self) -> Program:
        body: list[Node] = []
        while self._peek().kind is not Kind.EOF:
            delimiter = self._next()
            word = self._next_word() if delimiter.kind is Kind.LEFT_DELIMITER else None
            if word and self._is_word(word, "define"):
                self._define()
                continue
            self._push(delimiter, *([word] if word else []))
            node = self._text_or_action()
            if isinstance(node, _Stop):
                raise self.error(f"unexpected {node}")
            body.append(node)
        self._add(self._program.name, tuple(body))
        return self._program

    def _add(self, name: str, body: Body) -> None:
        known = self._program.templates.get(name)
        if known is None or is_blank(known):
            self._program.templates[name] = body
        elif not is_blank(body):
            raise self.error(f"template: multiple definition of template {quote(name)}")

    def _define(self) -> None:
        context = "define clause"
        name = self._template_name(self._next_word(), context)
        self._expect(Kind.RIGHT_DELIMITER, context)
        self._add(name, self._definition(context))

    def _definition(self, context: str) -> Body:
        """The body of `define` or `block`, which sees none of the variables around it."""
        outer = (self._variables, self._range_depth, self._action)
        self._variables, self._range_depth, self._action = ["$"], 0, None
        body, stop = self._body()
        if stop.name != "end":
            raise self.error(f"unexpected {stop} in {context}")
        self._variables, self._range_depth, self._action = outer
        return body

    def _body(self) -> tuple[Body, _Stop]:
        self._deeper()
        nodes: list[Node] = []
        while self._peek_word().kind is not Kind.EOF:
            node = self._text_or_action()
            if isinstance(node, _Stop):
                self._nesting -= 1
                return tuple(nodes), node
            nodes.append(node)
        raise self.error("unexpected EOF")

    def _text_or_action(self) -> Node | _Stop:
        token = self._next_word()
        if token.kind is Kind.TEXT:
            return TextNode(token.offset, token.text)
        if token.kind is not Kind.LEFT_DELIMITER:
            raise self._unexpected(token, "input")
        self._action = token
        node = self._control()
        self._action = None
        return node

    def _control(self) -> Node | _Stop:
        token = self._next_word()
        word = token.text if token.kind is Kind.KEYWORD else ""
        if word in ("if", "with"):
            return self._branch(word)
        if word == "range":
            return self._range()
        if word in ("block", "template"):
            return self._template(word)
        if word in ("break", "continue"):
            return self._loop_exit(token)
        if word == "end":
            self._expect(Kind.RIGHT_DELIMITER, "end")
            return _Stop("end")
        if word == "else":
            following = self._peek_word()
            if self._is_word(following, "if", "with"):
                return _Stop("else", following.text)
            self._expect(Kind.RIGHT_DELIMITER, "else")
            return _Stop("else")
        self._push(token)
        return ActionNode(token.offset, self._pipeline("command", Kind.RIGHT_DELIMITER))

    def _loop_exit(self, token: Token) -> Node:
        action = f"{{{{{token.text}}}}}"
        following = self._next_word()
        if following.kind is not Kind.RIGHT_DELIMITER:
            raise self._unexpected(following, action)
        if not self._range_depth:
            raise self.error(f"{action} outside {{{{range}}}}")
        return (BreakNode if token.text == "break" else ContinueNode)(token.offset)

    def _branch(self, word: str) -> BranchNode:
        variables = len(self._variables)
        arms: list[tuple[PipeNode, Body]] = []
        otherwise: Body = ()
        while True:
            pipe = self._pipeline(word, Kind.RIGHT_DELIMITER)
            body, stop = self._body()
            arms.append((pipe, body))
            if stop.word != word:
                break
            self._next_word()
        if stop.name == "else":
            otherwise = self._else_body()
        del self._variables[variables:]
        return BranchNode(arms[0][0].offset, word, tuple(arms), otherwise)

    def _else_body(self) -> Body:
        body, stop = self._body()
        if stop.name != "end":
            raise self.error(f"expected end; found {stop}")
        return body

    def _range(self) -> RangeNode:
        variables = len(self._variables)
        pipe = self._pipeline("range", Kind.RIGHT_DELIMITER)
        self._range_depth += 1
        body, stop = self._body()
        self._range_depth -= 1
        otherwise = self._else_body() if stop.name == "else" else ()
        del self._variables[variables:]
        return RangeNode(pipe.offset, pipe, body, otherwise)

    def _template(self, word: str) -> TemplateNode:
        context = f"{word} clause"
        token = self._next_word()
        name = self._template_name(token, context)
        if word == "block":
            pipe: PipeNode | None = self._pipeline(context, Kind.RIGHT_DELIMITER)
            self._add(name, self._definition(context))
        elif self._peek_word().kind is Kind.RIGHT_DELIMITER:
            self._next_word()
            pipe = None
        else:
            pipe = self._pipeline(context, Kind.RIGHT_DELIMITER)
        return TemplateNode(token.offset, name, pipe)

    def _template_name(self, token: Token, context: str) -> str:
        if token.kind is not Kind.STRING:
            raise self._unexpected(token, context)
        return self._unquote(token)

    def _unquote(self, token: Token) -> str:
        try:
            return unquote(token.text)
        except ValueError as error:
            raise self.error(str(error)) from error

    # Pipelines

    def _pipeline(self, context: str, end: Kind) -> PipeNode:
        offset = self._peek_word().offset
        variables, is_assignment = self._declarations(context)
        commands: list[CommandNode] = []
        while (token := self._next_word()).kind is not end:
            is_nil = self._is_word(token, "nil")
            if token.kind not in _OPERAND_STARTS and not is_nil:
                raise self._unexpected(token, context)
            self._push(token)
            commands.append(self._command())
        if not commands:
            raise self.error(f"missing value for {context}")
        for stage, command in enumerate(commands[1:], start=2):
            if isinstance(command.args[0], _LITERALS):
                raise self.error(f"non executable command in pipeline stage {stage}")
        return PipeNode(offset, variables, is_assignment, tuple(commands))

    def _declarations(self, context: str) -> tuple[tuple[str, ...], bool]:
        """The variables before `:=` or `=`, and whether it is `=`."""
        names: list[str] = []
        while (variable := self._peek_word()).kind is Kind.VARIABLE:
            self._next_word()
            space = self._peek()
            following = self._next_word()
            if following.kind in (Kind.ASSIGN, Kind.DECLARE):
                self._variables.append(variable.text)
                return (*names, variable.text), following.kind is Kind.ASSIGN
            if following.kind is not Kind.PUNCTUATION or following.text != ",":
                # The variable is an operand; the space after it separates arguments.
                spaces = [space] if space.kind is Kind.SPACE else []
                self._push(variable, *spaces, following)
                break
            names.append(variable.text)
            self._variables.append(variable.text)
            if context != "range" or len(names) > 1:
                raise self.error(f"too many declarations in {context}")
            if self._peek_word().kind not in (
                Kind.VARIABLE, Kind.RIGHT_DELIMITER, Kind.RIGHT_PAREN
            ):  # fmt: skip
                raise self.error("range can only initialize variables")
        return tuple(names), False

    def _command(self) -> CommandNode:
        offset = self._peek_word().offset
        args: list[Node] = []
        while True:
            self._peek_word()
            operand = self._operand()
            if operand is not None:
                args.append(operand)
            token = self._next()
            if token.kind is Kind.SPACE:
                continue
            if token.kind in (Kind.RIGHT_DELIMITER, Kind.RIGHT_PAREN):
                self._push(token)
            elif token.kind is not Kind.PIPE:
                raise self._unexpected(token, "operand")
            break
        if not args:
            raise self.error("empty command")
        return CommandNode(offset, tuple(args))

    def _operand(self) -> Node | None:
        node = self._term()
        if node is None or self._peek().kind is not Kind.FIELD:
            return node
        offset = self._peek().offset
        names: list[str] = []
        while self._peek().kind is Kind.FIELD:
            names.append(self._next().text[1:])
        if isinstance(node, FieldNode):
            return FieldNode(offset, (*node.names, *names))
        if isinstance(node, VariableNode):
            return VariableNode(offset, node.name, tuple(names))
        if isinstance(node, _LITERALS):
            raise self.error(f"unexpected . after term {quote(str(node))}")
        return ChainNode(offset, node, tuple(names))

    def _term(self) -> Node | None:
        token = self._next_word()
        match token.kind:
            case Kind.IDENTIFIER:
                if token.text not in self._functions:
                    raise self.error(f"function {quote(token.text)} not defined")
                return IdentifierNode(token.offset, token.text)
            case Kind.DOT:
                return DotNode(token.offset)
            case Kind.FIELD:
                return FieldNode(token.offset, (token.text[1:],))
            case Kind.VARIABLE:
                if token.text not in self._variables:
                    raise self.error(f"undefined variable {quote(token.text)}")
                return VariableNode(token.offset, token.text)
            case Kind.BOOL:
                return BoolNode(token.offset, token.text == "true")
            case Kind.STRING:
                return StringNode(token.offset, token.text, self._unquote(token))
            case Kind.NUMBER | Kind.COMPLEX | Kind.CHARACTER:
                return self._number(token)
            case Kind.LEFT_PAREN:
                self._deeper()
                pipe = self._pipeline("parenthesized pipeline", Kind.RIGHT_PAREN)
                self._nesting -= 1
                return pipe
            case _:
                if self._is_word(token, "nil"):
                    return NilNode(token.offset)
                self._push(token)
                return None

    def _number(self, token: Token) -> NumberNode:
        try:
            return parse_number(token)
        except ValueError as error:
            raise self.error(str(error)) from error
