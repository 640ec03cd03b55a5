"""Options by the rules of getopt(1): abbreviated, joined, and mixed with other words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from goldsmith.errors import GoldsmithError


@dataclass(frozen=True, slots=True)
class Words:
    """Options in order, by their full name without dashes, with their values; and the rest."""

    options: tuple[tuple[str, str], ...]
    others: tuple[str, ...]


def read_words(words: Sequence[str], short: Mapping[str, bool], long: Mapping[str, bool]) -> Words:
    """Sort words; the maps say which options take a value. Raises GoldsmithError as getopt(3) does.

    A long option may be cut as long as it is clear which one is meant; `--` ends the options.
    """
    options: list[tuple[str, str]] = []
    others: list[str] = []
    left = list(words)
    while left:
        word = left.pop(0)
        if word == "--":
            others += left
            break
        if word.startswith("--"):
            name, equals, value = word[2:].partition("=")
            full = _full_name(name, long)
            if long[full] and not equals:
                if not left:
                    raise GoldsmithError(f"option '--{full}' requires an argument")
                value = left.pop(0)
            elif equals and not long[full]:
                raise GoldsmithError(f"option '--{full}' doesn't allow an argument")
            options.append((full, value))
        elif word.startswith("-") and len(word) > 1:
            options += _short_options(word[1:], short, left)
        else:
            others.append(word)
    return Words(tuple(options), tuple(others))


def _full_name(name: str, long: Mapping[str, bool]) -> str:
    if name in long:
        return name
    meant = [one for one in long if one.startswith(name)] if name else []
    if len(meant) == 1:
        return meant[0]
    if meant:
        choices = ", ".join(f"'--{one}'" for one in meant)
        raise GoldsmithError(f"option '--{name}' is ambiguous; possibilities: {choices}")
    import difflib

    near = difflib.get_close_matches(name, long, n=1)
    raise GoldsmithError(
        f"unrecognized option '--{name}'", hint=f"did you mean --{near[0]}?" if near else None
    )


def _short_options(
    letters: str, short: Mapping[str, bool], left: list[str]
) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    while letters:
        letter, letters = letters[0], letters[1:]
        if letter not in short:
            raise GoldsmithError(f"invalid option -- '{letter}'")
        if not short[letter]:
            found.append((letter, ""))
            continue
        if not letters and not left:
            raise GoldsmithError(f"option requires an argument -- '{letter}'")
        found.append((letter, letters or left.pop(0)))
        break
    return found
