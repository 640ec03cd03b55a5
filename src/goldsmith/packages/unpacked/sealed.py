"""A text of one line with its digest: what a disk has changed, or a crash has torn, is seen."""

from __future__ import annotations

import hashlib


def sealed(text: str) -> str:
    """The text, which has no line end, with its digest in a line of its own."""
    return f"{text}\n{_digest(text)}\n"


def unsealed(content: str) -> str:
    """The text; raises ValueError where it is not what was sealed."""
    text, _, digest = content.partition("\n")
    if digest != f"{_digest(text)}\n":
        raise ValueError("the text is not what was sealed")
    return text


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
