"""Expressions of the template language, read by recursive descent."""

from __future__ import annotations

from dataclasses import replace

from goldsmith.errors import SourceRange
from goldsmith.template.hcl2.ast import (
    AttributeAccess,
    Binary,
    Conditional,
    Expression,
    ForExpression,
    FunctionCall,
    IndexAccess,
    Literal,
    ObjectExpression,
    ObjectItem,
    Parentheses,
    Splat,
    SplatItem,
    TupleExpression,
    Unary,
    Variable,
)
from goldsmith.template.hcl2.cursor import Cursor
from goldsmith.template.hcl2.lexer import Token, TokenKind
from goldsmith.template.hcl2.template_parser import parse_template
from goldsmith.values.numbers import Number
from goldsmith.values.value import FALSE, TRUE, Value, null, number, string

_PRECEDENCE = {
    "||": 1, "&&": 2, "==": 3, "!=": 3, ">": 4, ">=": 4, "<": 4, "<=": 4,
    "+": 5, "-": 5, "*": 6, "/": 6, "%": 6,
}  # fmt: skip
_KEYWORDS: dict[str, Value] = {"true": TRUE, "false": FALSE, "null": null()}


class ExpressionParser:
    """Reads expressions from a cursor; raises SyntaxFailure where one cannot be understood."""

    def __init__(self, cursor: Cursor) -> None:
        self.cursor = cursor

    def expression(self) -> Expression:
        """Read one expression, conditionals included."""
        cursor = self.cursor
        condition = self._binary(1)
        if not cursor.accept("?"):
            return condition
        if_true = self.expression()
        if not cursor.accept(":"):
            detail = 'The conditional operator (…?…:…) requires a false expression after ":".'
            raise cursor.fail("Missing false expression in conditional", detail)
        if_false = self.expression()
        return Conditional(condition.range.through(if_false.range), condition, if_true, if_false)

    def _binary(self, lowest: int) -> Expression:
        left = self._unary()
        while True:
            token = self.cursor.peek()
            precedence = _PRECEDENCE.get(token.text, 0)
            if token.kind is not TokenKind.OPERATOR or precedence < lowest:
                return left
            self.cursor.take()
            right = self._binary(precedence + 1)
            left = Binary(left.range.through(right.range), token.text, left, right)

    def _unary(self) -> Expression:
        if self.cursor.at("-", "!"):
            operator = self.cursor.take()
            operand = self._unary()
            return Unary(operator.range.through(operand.range), operator.text, operand)
        return self._traversals(self._term())

    def _traversals(self, target: Expression) -> Expression:
        """What may follow a term: `.name`, `.0`, `.*`, `[key]`, `[*]`, any number of times."""
        cursor = self.cursor
        while True:
            if cursor.at("."):
                target = self._after_dot(target)
            elif cursor.at("["):
                target = self._index(target)
            else:
                return target

    def _after_dot(self, target: Expression) -> Expression:
        cursor = self.cursor
        dot = cursor.take()
        token = cursor.peek()
        if token.kind is TokenKind.IDENT:
            cursor.take()
            whole = target.range.through(token.range)
            return AttributeAccess(whole, target, token.text, token.range)
        if token.kind is TokenKind.NUMBER:
            return self._old_index(target)
        if cursor.at("*"):
            star = cursor.take()
            each: Expression = SplatItem(dot.range.through(star.range))
            while cursor.at(".") and cursor.following().text != "*":
                each = self._after_dot(each)
            return Splat(target.range.through(each.range), target, each)
        detail = "An attribute name is required after a dot."
        raise cursor.fail("Invalid attribute name", detail, token)

    def _old_index(self, target: Expression) -> Expression:
        token = self.cursor.peek()
        if not token.text.isdigit():
            detail = "Write an index in brackets: two of the old .0 form cannot follow one another."
            raise self.cursor.fail("Invalid legacy index syntax", detail, token)
        self.cursor.take()
        key = Literal(token.range, number(Number.parse(token.text)).at(token.range))
        return IndexAccess(target.range.through(token.range), target, key)

    def _index(self, target: Expression) -> Expression:
        cursor = self.cursor
        opening = cursor.take()
        with cursor.newlines(False):
            if cursor.at("*") and cursor.following().text == "]":
                cursor.take()
                key = None
            else:
                key = self.expression()
            closing = cursor.accept("]")
            if closing is None:
                detail = "The index operator must end with a closing bracket."
                raise self._unclosed("Missing close bracket on index", detail, opening)
        if key is not None:
            return IndexAccess(target.range.through(closing.range), target, key)
        each = self._traversals(SplatItem(opening.range.through(closing.range)))
        return Splat(target.range.through(each.range), target, each)

    def _term(self) -> Expression:
        cursor = self.cursor
        token = cursor.peek()
        match token.kind:
            case TokenKind.NUMBER:
                cursor.take()
                return Literal(token.range, number(Number.parse(token.text)).at(token.range))
            case TokenKind.IDENT:
                return self._name()
            case TokenKind.OPEN_QUOTE:
                return self._quoted()
            case TokenKind.OPEN_HEREDOC:
                return self._heredoc()
            case TokenKind.OPERATOR if token.text == "(":
                return self._parentheses()
            case TokenKind.OPERATOR if token.text == "[":
                return self._tuple()
            case TokenKind.OPERATOR if token.text == "{":
                return self._object()
        if token.kind in (TokenKind.NEWLINE, TokenKind.END, TokenKind.SEQUENCE_END) or (
            token.text in (",", ")", "]", "}", ":")
        ):
            detail = "Expected the start of an expression, but found the end of it."
            raise cursor.fail("Missing expression", detail)
        detail = "Expected the start of an expression, but found an invalid expression token."
        raise cursor.fail("Invalid expression", detail)

    def _quoted(self) -> Expression:
        opening = self.cursor.take()
        inner = parse_template(self, TokenKind.CLOSE_QUOTE, flush=False)
        return _widened(inner, opening.range.through(self._last_taken()))

    def _heredoc(self) -> Expression:
        opening = self.cursor.take()
        flush = opening.text.startswith("<<-")
        inner = parse_template(self, TokenKind.CLOSE_HEREDOC, flush=flush)
        return _widened(inner, opening.range.through(self._last_taken()))

    def _last_taken(self) -> SourceRange:
        return self.cursor.tokens[self.cursor.index - 1].range

    def _name(self) -> Expression:
        cursor = self.cursor
        name = cursor.take()
        text, where = name.text, name.range
        while cursor.at(":") and self._namespace_follows(where):
            cursor.take()
            cursor.take()
            part = cursor.take()
            text, where = f"{text}::{part.text}", where.through(part.range)
        if cursor.at("("):
            return self._call(text, where)
        if text in _KEYWORDS:
            return Literal(where, _KEYWORDS[text].at(where))
        return Variable(where, text)

    def _namespace_follows(self, name: SourceRange) -> bool:
        """Whether `::name` follows without a space: a function's name with a namespace."""
        first, second, part = (self.cursor.following(count) for count in range(3))
        return (
            second.text == ":"
            and part.kind is TokenKind.IDENT
            and name.end == first.range.start
            and first.range.end == second.range.start
            and second.range.end == part.range.start
        )

    def _call(self, name: str, name_range: SourceRange) -> Expression:
        cursor = self.cursor
        opening = cursor.take()
        arguments: list[Expression] = []
        expand = False
        with cursor.newlines(False):
            while not cursor.at(")"):
                if cursor.at_unclosed_end():
                    raise self._unclosed_call(opening)
                arguments.append(self.expression())
                if cursor.accept("..."):
                    expand = True
                    if not cursor.at(")"):
                        detail = 'An expanded argument (with "...") must be the last one.'
                        raise cursor.fail("Missing closing parenthesis", detail)
                elif not cursor.accept(",") and not cursor.at(")"):
                    if cursor.at_unclosed_end():
                        raise self._unclosed_call(opening)
                    detail = "A comma is required to separate each function argument from the next."
                    raise cursor.fail("Missing argument separator", detail)
            closing = cursor.take()
        whole = name_range.through(closing.range)
        return FunctionCall(whole, name, name_range, tuple(arguments), expand)

    def _parentheses(self) -> Expression:
        cursor = self.cursor
        opening = cursor.take()
        with cursor.newlines(False):
            inner = self.expression()
            closing = cursor.accept(")")
            if closing is None:
                detail = "Expected a closing parenthesis to terminate the expression."
                raise self._unclosed("Unbalanced parentheses", detail, opening)
        return Parentheses(opening.range.through(closing.range), inner)

    def _at_for(self) -> bool:
        with self.cursor.newlines(False):
            token = self.cursor.peek()
        return token.kind is TokenKind.IDENT and token.text == "for"

    def _unclosed(self, summary: str, detail: str, opening: Token) -> Exception:
        """The failure at the bracket that is never closed; else where its end is expected."""
        at = opening if self.cursor.at_unclosed_end() else None
        return self.cursor.fail(summary, detail, at)

    def _unclosed_call(self, opening: Token) -> Exception:
        detail = "This call is never closed by a parenthesis."
        return self.cursor.fail("Unterminated function call", detail, opening)

    def _unclosed_tuple(self, opening: Token) -> Exception:
        detail = "This list is never closed by a bracket."
        return self.cursor.fail("Unterminated tuple constructor", detail, opening)

    def _tuple(self) -> Expression:
        cursor = self.cursor
        opening = cursor.take()
        if self._at_for():
            return self._for(opening, "]")
        elements: list[Expression] = []
        with cursor.newlines(False):
            while not cursor.at("]"):
                if cursor.at_unclosed_end():
                    raise self._unclosed_tuple(opening)
                elements.append(self.expression())
                if not cursor.accept(",") and not cursor.at("]"):
                    if cursor.at_unclosed_end():
                        raise self._unclosed_tuple(opening)
                    detail = "Expected a comma to mark the beginning of the next item."
                    raise cursor.fail("Missing item separator", detail)
            closing = cursor.take()
        return TupleExpression(opening.range.through(closing.range), tuple(elements))

    def _object(self) -> Expression:
        cursor = self.cursor
        opening = cursor.take()
        opening_index = cursor.index - 1
        if self._at_for():
            return self._for(opening, "}")
        items: list[ObjectItem] = []
        with cursor.newlines(True):
            cursor.skip_newlines()
            while not cursor.at("}"):
                items.append(self._object_item(opening))
                separated = cursor.accept(",") or cursor.at_kind(TokenKind.NEWLINE)
                if not separated and not cursor.at("}"):
                    detail = "Expected a newline or a comma before the next attribute."
                    raise cursor.fail("Missing attribute separator", detail)
                cursor.skip_newlines()
            closing = cursor.take()
            cursor.note_closing(opening_index)
        return ObjectExpression(opening.range.through(closing.range), tuple(items))

    def _object_item(self, opening: Token) -> ObjectItem:
        cursor = self.cursor
        if cursor.at_kind(TokenKind.END):
            detail = "This object is never closed by a brace."
            raise cursor.fail("Unterminated object constructor expression", detail, opening)
        key = self.expression()
        if isinstance(key, Variable):
            key = Literal(key.range, string(key.name).at(key.range))
        elif isinstance(key, AttributeAccess):
            detail = "Put a key that is an expression in parentheses, a key with dots in quotes."
            raise cursor.fail("Ambiguous attribute key", detail, key.range)
        if not cursor.accept("=") and not cursor.accept(":"):
            detail = "Expected an attribute value, introduced by an equals sign."
            raise cursor.fail("Missing attribute value", detail)
        value = self.expression()
        return ObjectItem(key.range.through(value.range), key, value)

    def for_names(self) -> tuple[str | None, str]:
        """Read `key, value in` or `value in`, the word `for` being taken."""
        cursor = self.cursor
        first = self._for_name("after 'for'")
        second = None
        if cursor.accept(","):
            second = self._for_name("after the comma")
        token = cursor.peek()
        if token.kind is not TokenKind.IDENT or token.text != "in":
            detail = "For expression requires the 'in' keyword after its variable names."
            raise cursor.fail("Invalid 'for' expression", detail)
        cursor.take()
        return (None, first) if second is None else (first, second)

    def _for_name(self, place: str) -> str:
        token = self.cursor.peek()
        if token.kind is not TokenKind.IDENT:
            detail = f"For expression requires a variable name {place}."
            raise self.cursor.fail("Invalid 'for' expression", detail)
        return self.cursor.take().text

    def _for(self, opening: Token, closing_text: str) -> Expression:
        cursor = self.cursor
        with cursor.newlines(False):
            cursor.take()
            key_name, value_name = self.for_names()
            collection = self.expression()
            if not cursor.accept(":"):
                raise self._for_error("a colon is required after the collection expression")
            key, value, group = None, self.expression(), False
            if arrow := cursor.accept("=>"):
                if closing_text == "]":
                    raise self._for_error("a key is valid only when building an object", arrow)
                key, value = value, self.expression()
                group = cursor.accept("...") is not None
            elif closing_text == "}":
                raise self._for_error("a key expression and => are required to build an object")
            elif cursor.at("..."):
                raise self._for_error("grouping (...) is valid only when building an object")
            condition = None
            token = cursor.peek()
            if token.kind is TokenKind.IDENT and token.text == "if":
                cursor.take()
                condition = self.expression()
            closing = cursor.accept(closing_text)
            if closing is None:
                raise self._for_error("extra characters before its closing bracket")
        whole = opening.range.through(closing.range)
        return ForExpression(whole, key_name, value_name, collection, key, value, condition, group)

    def _for_error(self, problem: str, at: Token | None = None) -> Exception:
        detail = f"This 'for' expression is not valid: {problem}."
        return self.cursor.fail("Invalid 'for' expression", detail, at)


def _widened(inner: Expression, whole: SourceRange) -> Expression:
    """A template's expression with the range that includes its quotes or heredoc markers."""
    if isinstance(inner, Literal):
        return Literal(whole, inner.value.at(whole))
    return replace(inner, range=whole)
