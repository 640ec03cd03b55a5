"""Which variables hold secrets: they never get into manifests, settings that are stored, or lines.

Hooks themselves see them, as upstream has it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import unquote

_SECRET_NAME: Final = re.compile(
    r"PASSW(OR)?D|PASSPHRASE|_PASS$|_PWD$|SECRET|TOKEN|CREDENTIAL|"
    r"(PRIVATE|API|ACCESS|AUTH|SIGNING|ACTIVATION)_?KEY(?!S)", re.IGNORECASE,
)  # fmt: skip
_PRIVATE_KEY: Final = re.compile(r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY( BLOCK)?-----")
_USER_INFO: Final = re.compile(r"(?<=://)([^/@\s:]*)(?::([^/@\s]+))?@")
_TOKEN: Final = re.compile(r"(gh[a-z]|github_pat|glpat)[_-].+|[A-Za-z0-9_.~-]{20,}")
"""A user of an address who is none: what well-known forges give out, or what nobody could type."""
NAMES_VARIABLE: Final = "GOLDSMITH_SECRETS"
"""Names, to hooks on the host, the variables of theirs that hold secrets."""
_SHORTEST: Final = 4
"""Shorter values stand in any line, and hide more than they protect."""
_NOT_SECRET: Final = frozenset({"true", "false", "none", "root"})


def is_secret(name: str) -> bool:
    """Whether the name of a variable says that its value is a secret."""
    return _SECRET_NAME.search(name) is not None


def secret_values(environment: Mapping[str, str]) -> frozenset[str]:
    """The values that are not to be shown: for a redactor.

    Private keys are among them, and passwords and tokens in addresses.

    Values of fewer than 4 characters are left out.
    """
    found: set[str] = set()
    for name, value in environment.items():
        if is_secret(name) or _PRIVATE_KEY.search(value):
            found.add(value)
        for user, password in _USER_INFO.findall(value):
            found |= {password, unquote(password)}
            if _TOKEN.fullmatch(user):
                found |= {user, unquote(user)}
    return frozenset(value for value in found
                     if len(value) >= _SHORTEST and value.lower() not in _NOT_SECRET)  # fmt: skip


def without_secrets(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment without secret variables, and without those parts of addresses that are.

    A value in which another one's secret stands is left out as well.
    """
    secrets = secret_values(environment)
    shown = {name: _USER_INFO.sub(_shown_user, value)
             for name, value in environment.items() if not is_secret(name)}  # fmt: skip
    return {name: value for name, value in shown.items()
            if not any(secret in value for secret in secrets)}  # fmt: skip


def without_secret_words(text: str, environment: Mapping[str, str]) -> str:
    """A text (the words of a command) in which no value of `secret_values` stands any more."""
    for secret in sorted(secret_values(environment), key=len, reverse=True):
        text = text.replace(secret, "***")
    return _USER_INFO.sub(_shown_user, text)


def secret_names(environment: Mapping[str, str]) -> list[str]:
    """The variables, sorted, that `without_secrets` leaves out or changes."""
    shown = without_secrets(environment)
    return sorted(name for name, value in environment.items() if shown.get(name) != value)


def _shown_user(match: re.Match[str]) -> str:
    user = match.group(1)
    return "" if not user or _TOKEN.fullmatch(user) else f"{user}@"
