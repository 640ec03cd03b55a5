"""The flags of native verbs: argparse's, which also take what Go's rules allow.

Packer's users write one dash (`-timeout=5m`) and give booleans a value (`-quiet=false`).
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from typing import Any

from goldsmith.cli.flags import FALSE_WORDS, TRUE_WORDS


class NativeParser(argparse.ArgumentParser):
    """A parser to which `-name` is `--name`; flags may also stand after other words."""

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> tuple[Any, list[str]]:
        """Parse words that are written either way; ends the process for usage as argparse does."""
        words = None if args is None else list(self._long_forms(args))
        parsed, rest = super().parse_known_args(words, namespace)
        if unknown := next((word for word in rest if word.startswith("-")), None):
            name = unknown.lstrip("-").partition("=")[0]
            known = (option.lstrip("-") for option in self._option_string_actions)
            # Late: a call that is understood needs no models.
            from goldsmith.core.options import did_you_mean

            self.error(f"unknown flag -{name}.{did_you_mean(name, known)}".removesuffix("."))
        return parsed, rest

    def _long_forms(self, words: Sequence[str]) -> Iterator[str]:
        """The words with two dashes before each flag's name, and its value behind `=`."""
        left = iter(words)
        for word in left:
            if word == "--":
                yield word
                yield from left
                return
            name, equals, value = word.lstrip("-").partition("=")
            action = self._option_string_actions.get(f"--{name}") if word[:1] == "-" else None
            if action is None:
                yield word
            elif action.nargs == 0:
                yield from self._switch(name, value if equals else "true")
            elif equals:
                yield f"--{name}={value}"
            else:
                given = next(left, None)
                yield f"--{name}" if given is None else f"--{name}={given}"

    def _switch(self, name: str, value: str) -> Iterator[str]:
        """A flag without a value of its own: on, off, or its opposite where there is one."""
        if value in TRUE_WORDS:
            yield f"--{name}"
        elif value not in FALSE_WORDS:
            self.error(f'invalid boolean value "{value}" for -{name}')
        elif f"--no-{name}" in self._option_string_actions:
            yield f"--no-{name}"
