"""Go's rules for flags: `-x` is `--x`, `-flag=value`, `-bool=false`, up to the first word.

Packer's verbs are read with these rules, because argparse eats or refuses what Go accepts.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from goldsmith.errors import GoldsmithError

# Go's strconv.ParseBool.
TRUE_WORDS = ("1", "t", "T", "true", "TRUE", "True")
FALSE_WORDS = ("0", "f", "F", "false", "FALSE", "False")
_DIGITS = re.compile(r"[0-9][0-9A-Za-z_]*")
_OCTAL = re.compile(r"0[0-7_]+")
_INT64_MAX = (1 << 63) - 1


class FlagError(GoldsmithError):
    """A flag is unknown or has a value that it cannot take."""


@dataclass(frozen=True, slots=True)
class Flag:
    """A flag: `kind` is "bool", "text", "number", "many" or "commas" (repeatable lists)."""

    kind: str
    help: str
    default: str = ""


@dataclass(slots=True)
class Flags:
    """What was given: each flag's values in order, and the words after the flags."""

    given: dict[str, list[str]] = field(default_factory=dict)
    words: list[str] = field(default_factory=list)

    def text(self, name: str, default: str = "") -> str:
        """The last value of a flag."""
        return self.given.get(name, [default])[-1]

    def on(self, name: str) -> bool:
        """Whether a flag is on."""
        return self.given.get(name, ["false"])[-1] in TRUE_WORDS

    def maybe_bool(self, name: str) -> bool | None:
        """Whether a flag is on or off; None when it was not given."""
        return self.on(name) if name in self.given else None

    def number(self, name: str) -> int:
        """The last value of a flag, as a whole number; 0 when it was not given."""
        return read_number(self.given.get(name, ["0"])[-1]) or 0

    def many(self, name: str) -> list[str]:
        """All values of a repeatable flag; those separated by commas are split."""
        return self.given.get(name, [])


def read_flags(known: Mapping[str, Flag], words: Sequence[str]) -> Flags:
    """Read flags up to the first word that is none; raises FlagError in Go's words."""
    flags = Flags()
    rest = list(words)
    while rest:
        word = rest[0]
        if len(word) < 2 or not word.startswith("-"):
            break
        rest.pop(0)
        if word == "--":
            break
        name, equals, value = word.removeprefix("-").removeprefix("-").partition("=")
        if not name or name.startswith("-"):
            raise FlagError(f"bad flag syntax: {word}")
        flag = known.get(name)
        if flag is None:
            # Late: a call that is understood needs no models.
            from goldsmith.core.options import did_you_mean

            near = did_you_mean(name, known).replace('"', "").replace("mean ", "mean -")
            raise FlagError(f"flag provided but not defined: -{name}" + (near and f".{near}"))
        if flag.kind == "bool" and not equals:
            value = "true"
        elif not equals:
            if not rest:
                raise FlagError(f"flag needs an argument: -{name}")
            value = rest.pop(0)
        _check(name, flag, value)
        values = [v for v in value.split(",") if v] if flag.kind == "commas" else [value]
        flags.given.setdefault(name, []).extend(values)
    flags.words = rest
    return flags


def _check(name: str, flag: Flag, value: str) -> None:
    if flag.kind == "bool" and value not in TRUE_WORDS + FALSE_WORDS:
        raise FlagError(f'invalid boolean value "{value}" for -{name}: parse error')
    if flag.kind == "number" and read_number(value) is None:
        raise FlagError(f'invalid value "{value}" for flag -{name}: parse error')


def read_number(text: str) -> int | None:
    """A whole number as Go's strconv.ParseInt reads it for base 0 and 64 bits, else None."""
    sign, digits = (text[0], text[1:]) if text[:1] in ("+", "-") else ("", text)
    if not _DIGITS.fullmatch(digits):
        return None
    if _OCTAL.fullmatch(digits):
        digits = "0o" + digits[1:]
    try:
        number = int(sign + digits, 0)
    except ValueError:
        return None
    return number if -_INT64_MAX - 1 <= number <= _INT64_MAX else None


def usage_of(verb: str, known: Mapping[str, Flag]) -> str:
    """The usage of a verb that takes a template."""
    return f"Usage: goldsmith {verb} [options] TEMPLATE\n\n{describe(known)}"


def describe(known: Mapping[str, Flag]) -> str:
    """The lines about flags in a verb's usage; those that are only accepted come last."""
    lines = []
    accepted = {name for name, flag in known.items() if flag.help.startswith("accepted")}
    for name, flag in sorted(known.items(), key=lambda one: (one[0] in accepted, one[0])):
        value = {"bool": "", "text": "=TEXT", "number": "=N", "many": "=TEXT", "commas": "=A,B"}
        lines.append(f"  -{name}{value[flag.kind]}".ljust(30) + f" {flag.help}")
    return "\n".join(lines)
