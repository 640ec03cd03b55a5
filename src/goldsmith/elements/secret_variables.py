"""Which variables hold secrets: they never get into manifests, settings that are stored, or lines.

Hooks themselves see them, as upstream has it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import unquote

_SECRET_NAME: Final = re.compile(
    r"PASSW(OR)?D|PASSPHRASE|SECRET|TOKEN|CREDENTIAL|(PRIVATE|API|ACCESS|AUTH)_?KEY(?!S)|"
    r"ACTIVATION_KEY", re.IGNORECASE,
)  # fmt: skip
_USER_INFO: Final = re.compile(r"(?<=://)([^/@\s:]*):([^/@\s]+)(?=@)")
_SHORTEST: Final = 4
"""Shorter values stand in any line, and hide more than they protect."""
_NOT_SECRET: Final = frozenset({"true", "false", "none", "root"})


def is_secret(name: str) -> bool:
    """Whether the name of a variable says that its value is a secret."""
    return _SECRET_NAME.search(name) is not None


def secret_values(environment: Mapping[str, str]) -> frozenset[str]:
    """The values that are not to be shown: for a redactor. Passwords in addresses are among them.

    Values of fewer than 4 characters are left out.
    """
    found: set[str] = set()
    for name, value in environment.items():
        if is_secret(name):
            found.add(value)
        for match in _USER_INFO.finditer(value):
            found |= {match.group(2), unquote(match.group(2))}
    return frozenset(value for value in found
                     if len(value) >= _SHORTEST and value.lower() not in _NOT_SECRET)  # fmt: skip


def without_secrets(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment without secret variables, and without passwords in the addresses of others.

    A value in which another one's secret stands is left out as well.
    """
    secrets = secret_values(environment)
    shown = {name: _USER_INFO.sub(r"\1", value)
             for name, value in environment.items() if not is_secret(name)}  # fmt: skip
    return {name: value for name, value in shown.items()
            if not any(secret in value for secret in secrets)}  # fmt: skip


def without_secret_words(text: str, environment: Mapping[str, str]) -> str:
    """A text (the words of a command) in which no value of `secret_values` stands any more."""
    for secret in sorted(secret_values(environment), key=len, reverse=True):
        text = text.replace(secret, "***")
    return _USER_INFO.sub(r"\1", text)
