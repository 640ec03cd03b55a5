"""How large what a template computes may become: a few lines of it can ask for more than any host.

Values share their parts, so forty locals that each hold the one before twice take little memory and
yet for ever to walk through: they are weighed as if each part stood alone.
"""

from __future__ import annotations

from typing import Final

from goldsmith.errors import GoldsmithError
from goldsmith.values.value import Value

LARGEST_TEXT: Final = 64 << 20
MOST_PARTS: Final = 250_000
MOST_ROUNDS: Final = 100_000
"""How many rounds the loops of one expression may go through together."""


class TooLarge(GoldsmithError):
    """What a template asks for is beyond all reason."""


def check_text(length: int) -> None:
    """Refuse a text of so many characters. Raises TooLarge."""
    if length > LARGEST_TEXT:
        raise TooLarge(f"the text would have {length} characters, {LARGEST_TEXT} are allowed")


def check_count(count: int) -> None:
    """Refuse a collection with so many elements. Raises TooLarge."""
    if count > MOST_PARTS:
        raise TooLarge(f"the collection would have {count} elements, {MOST_PARTS} are allowed")


def check_size(value: Value) -> None:
    """Refuse a value with too many parts or too long a text. Raises TooLarge."""
    if isinstance(value.raw, str):
        check_text(len(value.raw))
    elif isinstance(value.raw, tuple | dict) and value.raw:
        _weigh(value)


def _weigh(whole: Value) -> None:
    """Weigh each part once, without recursion, and add its weight wherever it is used."""
    weights: dict[int, int] = {}
    pending: list[tuple[Value, bool]] = [(whole, False)]
    while pending:
        value, parts_known = pending.pop()
        if id(value) in weights:
            continue
        parts = list(value.items())
        if parts_known or not parts:
            weight = 1 + sum(weights[id(part)] for part in parts)
            if weight > MOST_PARTS:
                raise TooLarge(f"the value has more than {MOST_PARTS} parts")
            weights[id(value)] = weight
        else:
            pending.append((value, True))
            pending.extend((part, False) for part in parts)
