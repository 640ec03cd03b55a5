"""Variables put into a template that is rendered only later, where nobody knows them any more."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

from goldsmith.gotemplate.lexer import Kind, Token, lex
from goldsmith.gotemplate.quoting import quote, unquote


def with_user_values(text: str, variables: Mapping[str, str]) -> str:
    """The template with each call of `user` and a constant name replaced by the value, quoted.

    A name that no variable has stands for the empty text, as with `user` itself. What is no
    template stays as it is: rendering it tells what is wrong.
    """
    significant = [token for token in lex(text) if token.kind is not Kind.SPACE]
    parts: list[str] = []
    end = 0
    for call, name in pairwise(significant):
        if not _is_user(call) or name.kind is not Kind.STRING:
            continue
        parts += [text[end : call.offset], _literal(name, variables)]
        end = name.offset + len(name.text)
    return "".join([*parts, text[end:]])


def _is_user(token: Token) -> bool:
    return token.kind is Kind.IDENTIFIER and token.text == "user"


def _literal(name: Token, variables: Mapping[str, str]) -> str:
    try:
        return quote(variables.get(unquote(name.text), ""))
    except ValueError:
        return f"user {name.text}"
