"""Go's fmt: how values print, and the verbs of printf.

Faults of a format are part of the output, as in Go: `%!d(string=a)`, `%!s(MISSING)`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from goldsmith.gotemplate.data import NO_VALUE, LenientMap, is_nothing, type_name
from goldsmith.gotemplate.floats import SHORTEST, format_float
from goldsmith.gotemplate.quoting import can_backquote, is_printable, join, quote, to_bytes

_MAX_RUNE = 0x10FFFF
_LARGEST_SIZE = 1_000_000
"""Go ignores a width or precision beyond it."""
_INTEGER_BASES = {"d": 10, "v": 10, "b": 2, "o": 8, "O": 8, "x": 16, "X": 16}
_FLOAT_DEFAULTS = {
    "v": ("g", SHORTEST), "g": ("g", SHORTEST), "G": ("G", SHORTEST), "b": ("b", SHORTEST),
    "x": ("x", SHORTEST), "X": ("X", SHORTEST),
    "e": ("e", 6), "E": ("E", 6), "f": ("f", 6), "F": ("f", 6),
}  # fmt: skip


def sprint(values: Sequence[object]) -> str:
    """Go's `fmt.Sprint`: a space between two values that are both no strings."""
    parts: list[str] = []
    for before, value in pairwise((NO_VALUE, *values)):
        if parts and not isinstance(before, str) and not isinstance(value, str):
            parts.append(" ")
        parts.append(Directive().show(value))
    return join(parts)


def sprintln(values: Sequence[object]) -> str:
    """Go's `fmt.Sprintln`: a space between values, a newline behind them."""
    return join([" ".join(Directive().show(value) for value in values), "\n"])


def printable(value: object) -> object:
    """What a template prints for a value: text in place of no value at all."""
    return "<no value>" if is_nothing(value) else value


def sprintf(format: str, values: Sequence[object]) -> str:
    """Go's `fmt.Sprintf`."""
    return _Format(format, values).render()


@dataclass(slots=True)
class Directive:
    """One `%` directive: flags, sizes and verb."""

    verb: str = "v"
    minus: bool = False
    plus: bool = False
    sharp: bool = False
    space: bool = False
    zero: bool = False
    go_syntax: bool = False
    """`%#v`"""
    field_names: bool = False
    """`%+v`"""
    width: int | None = None
    precision: int | None = None

    def show(self, value: object) -> str:
        """The value by this directive."""
        if is_nothing(value):
            return self._pad("<nil>") if self.verb in "vT" else f"%!{self.verb}(<nil>)"
        if self.verb == "T":
            return self._pad(self._truncate(type_name(value)))
        return self._show(value, self.verb)

    def _show(self, value: object, verb: str) -> str:
        if isinstance(value, str):
            return self._string(value, verb)
        if isinstance(value, bool):
            text = "true" if value else "false"
            return self._pad(text) if verb in "tv" else self._bad(value)
        if isinstance(value, int):
            return self._integer(value, verb)
        if isinstance(value, float):
            return self._float(value, verb)
        if isinstance(value, complex):
            return self._complex(value, verb)
        return self._compound(value, verb)

    def _bad(self, value: object) -> str:
        """Go's remark on a verb that does not fit the value."""
        return f"%!{self.verb}({type_name(value)}={self._show(value, 'v')})"

    # Padding

    def _pad(self, text: str, *, with_zeros: bool = True) -> str:
        width = self.width or 0
        if self.minus:
            return text.ljust(width)
        return text.rjust(width, "0" if self.zero and with_zeros else " ")

    def _truncate(self, text: str) -> str:
        return text if self.precision is None else text[: self.precision]

    # Strings

    def _string(self, value: str, verb: str) -> str:
        if verb == "q" or (verb == "v" and self.go_syntax):
            value = self._truncate(value)
            if self.sharp and can_backquote(value):
                return self._pad(f"`{value}`")
            return self._pad(quote(value, ascii_only=self.plus))
        if verb in "vs":
            return self._pad(self._truncate(value))
        if verb in "xX":
            return self._pad(self._hex_bytes(to_bytes(value)[: self.precision], verb))
        return self._bad(value)

    def _hex_bytes(self, data: bytes, verb: str) -> str:
        prefix = "0" + verb if self.sharp else ""
        digits = [f"{byte:02{verb}}" for byte in data]
        if self.space:
            return " ".join(prefix + pair for pair in digits)
        return prefix + "".join(digits) if digits else ""

    # Integers

    def _integer(self, value: int, verb: str) -> str:
        if verb in _INTEGER_BASES:
            return self._number(value, verb)
        rune = value if 0 <= value <= _MAX_RUNE else 0xFFFD
        character = "\ufffd" if 0xD800 <= rune < 0xE000 else chr(rune)
        if verb == "c":
            return self._pad(character)
        if verb == "q":
            return self._pad(quote(character, "'", ascii_only=self.plus))
        if verb == "U":
            unsigned = value % (1 << 64)
            text = f"U+{unsigned:0{max(self.precision or 0, 4)}X}"
            if self.sharp and unsigned <= _MAX_RUNE and is_printable(chr(unsigned)):
                text += f" '{character}'"
            return self._pad(text, with_zeros=False)
        return self._bad(value)

    def _number(self, value: int, verb: str) -> str:
        base = _INTEGER_BASES[verb]
        if self.precision == 0 and value == 0:
            return " " * (self.width or 0)
        sign = "-" if value < 0 else "+" if self.plus else " " if self.space else ""
        digits = f"{abs(value):{ {2: 'b', 8: 'o', 10: 'd', 16: 'x'}[base] }}"
        least = self.precision or 0
        if self.precision is None and self.zero and not self.minus:
            least = (self.width or 0) - len(sign)
        digits = digits.rjust(least, "0")
        if self.sharp:
            octal = "" if digits.startswith("0") else "0"
            digits = {2: "0b", 8: octal, 10: "", 16: "0x"}[base] + digits
        if verb == "O":
            digits = "0o" + digits
        return self._pad(sign + (digits.upper() if verb == "X" else digits), with_zeros=False)

    # Floating point

    def _float(self, value: float, verb: str) -> str:
        if verb not in _FLOAT_DEFAULTS:
            return self._bad(value)
        letter, default = _FLOAT_DEFAULTS[verb]
        precision = default if self.precision is None else self.precision
        text = format_float(value, letter, precision)
        if text[0] not in "+-":
            text = "+" + text
        if self.space and text[0] == "+" and not self.plus:
            text = " " + text[1:]
        if text[1] in "IN":
            if text[1] == "N" and not (self.space or self.plus):
                text = text[1:]
            return self._pad(text, with_zeros=False)
        if self.sharp and letter != "b":
            text = _with_point(text, verb, precision)
        if text[0] == "+" and not self.plus:
            return self._pad(text[1:])
        if self.zero and not self.minus:
            return text[0] + text[1:].rjust((self.width or 0) - 1, "0")
        return self._pad(text)

    def _complex(self, value: complex, verb: str) -> str:
        if verb not in _FLOAT_DEFAULTS:
            return self._bad(value)
        real, plus = self._float(value.real, verb), self.plus
        self.plus = True
        imaginary = self._float(value.imag, verb)
        self.plus = plus
        return f"({real}{imaginary}i)"

    # Lists, maps and structs

    def _compound(self, value: object, verb: str) -> str:
        separator = ", " if self.go_syntax else " "
        name = type_name(value) if self.go_syntax else ""
        if isinstance(value, LenientMap):
            pairs = [
                f"{self._string(key, verb)}:{self._element(item, verb)}"
                for key, item in value.sorted_items()
            ]
            body = separator.join(pairs)
            return f"{name}{{{body}}}" if self.go_syntax else f"map[{body}]"
        if isinstance(value, Mapping):
            named = self.field_names or self.go_syntax
            fields = [
                (f"{key}:" if named else "") + self._element(item, verb)
                for key, item in value.items()
            ]
            return f"{name}{{{separator.join(fields)}}}"
        if isinstance(value, (list, tuple)):
            body = separator.join(self._element(item, verb) for item in value)
            return f"{name}{{{body}}}" if self.go_syntax else f"[{body}]"
        raise TypeError(f"a template cannot print a Python {type(value).__name__}")

    def _element(self, value: object, verb: str) -> str:
        if is_nothing(value):
            return "interface {}(nil)" if self.go_syntax else "<nil>"
        return self._show(value, verb)


def _with_point(text: str, verb: str, precision: int) -> str:
    """`#`: always a decimal point, and for %g the trailing zeros up to the precision."""
    marks = "p" if verb in "xX" else "ep"
    cut = next((i for i, c in enumerate(text) if i and c.lower() in marks), len(text))
    number, tail = text[:cut], text[cut:]
    digits = 0
    if verb in "vgGx":
        digits = 6 if precision == SHORTEST else precision
    significant = number[1:].replace(".", "").lstrip("0")
    digits -= len(significant)
    if "." not in number:
        digits -= number[1:] == "0"
        number += "."
    return number + "0" * max(digits, 0) + tail


class _Format:
    """Walks through a format, taking arguments as its directives ask for them."""

    def __init__(self, format: str, values: Sequence[object]) -> None:
        self._format = format
        self._values = values
        self._at = 0
        self._index = 0
        self._reordered = False
        self._good_index = True
        self._after_index = False

    def render(self) -> str:
        parts: list[str] = []
        while self._at < len(self._format):
            percent = self._format.find("%", self._at)
            if percent < 0:
                percent = len(self._format)
            parts.append(self._format[self._at : percent])
            self._at = percent + 1
            if percent < len(self._format):
                self._directive(parts.append)
        if not self._reordered and self._index < len(self._values):
            parts.append(f"%!(EXTRA {', '.join(map(_described, self._rest()))})")
        return join(parts)

    def _rest(self) -> Sequence[object]:
        return self._values[self._index :]

    def _peek(self) -> str:
        return self._format[self._at : self._at + 1]

    def _directive(self, write: Callable[[str], None]) -> None:
        self._good_index, self._after_index = True, False
        directive = Directive()
        self._flags(directive)
        self._read_index()
        self._width(directive, write)
        if self._peek() == "." and self._at + 1 < len(self._format):
            self._at += 1
            self._precision(directive, write)
        if not self._after_index:
            self._read_index()
        if not (verb := self._peek()):
            write("%!(NOVERB)")
            return
        self._at += 1
        self._after_index = False
        if verb == "%":
            write("%")
        elif not self._good_index:
            write(f"%!{verb}(BADINDEX)")
        elif not self._rest():
            write(f"%!{verb}(MISSING)")
        else:
            directive.verb = verb
            if verb == "v":
                directive.go_syntax, directive.sharp = directive.sharp, False
                directive.field_names, directive.plus = directive.plus, False
            write(directive.show(self._values[self._index]))
            self._index += 1

    def _flags(self, directive: Directive) -> None:
        while (flag := self._peek()) and flag in "#0+- ":
            name = {"#": "sharp", "0": "zero", "+": "plus", "-": "minus", " ": "space"}[flag]
            setattr(directive, name, True)
            self._at += 1

    def _width(self, directive: Directive, write: Callable[[str], None]) -> None:
        if self._peek() == "*":
            self._at += 1
            directive.width = self._size_argument()
            if directive.width is None:
                write("%!(BADWIDTH)")
            elif directive.width < 0:
                directive.width, directive.minus, directive.zero = -directive.width, True, False
            self._after_index = False
            return
        directive.width = self._size()
        if self._after_index and directive.width is not None:
            self._good_index = False

    def _precision(self, directive: Directive, write: Callable[[str], None]) -> None:
        if self._after_index:
            self._good_index = False
        self._read_index()
        if self._peek() != "*":
            directive.precision = self._size() or 0
            return
        self._at += 1
        precision = self._size_argument()
        if precision is None or precision < 0:
            write("%!(BADPREC)")
            precision = None
        directive.precision = precision
        self._after_index = False

    def _size(self) -> int | None:
        """The number at this place; one that is too large swallows the rest of the format."""
        start = self._at
        while self._peek() and self._peek() in "0123456789":
            self._at += 1
        digits = self._format[start : self._at]
        if not digits:
            return None
        if len(digits.lstrip("0")) > 8 or int(digits[:-1] or "0") > _LARGEST_SIZE:
            self._at = len(self._format)
            return None
        return int(digits)

    def _size_argument(self) -> int | None:
        if not self._rest():
            return None
        value = self._values[self._index]
        self._index += 1
        if not isinstance(value, int) or isinstance(value, bool):
            return None
        return value if abs(value) <= _LARGEST_SIZE else None

    def _read_index(self) -> None:
        """An explicit argument number, `[2]`."""
        self._after_index = False
        if self._peek() != "[":
            return
        self._reordered = True
        close = self._format.find("]", self._at)
        if close < 0:
            self._at += 1
            self._good_index = False
            return
        digits = self._format[self._at + 1 : close]
        self._at = close + 1
        is_number = digits.isascii() and digits.isdigit() and len(digits) <= 7
        if is_number and 0 < int(digits) <= len(self._values):
            self._index = int(digits) - 1
            self._after_index = True
        else:
            self._good_index = False
            self._after_index = is_number


def _described(value: object) -> str:
    return "<nil>" if is_nothing(value) else f"{type_name(value)}={Directive().show(value)}"
