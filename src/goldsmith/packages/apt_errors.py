"""APT's and dpkg's messages made into one error that says what is wrong and what to do.

The wording is that of apt 2.6 and dpkg 1.21 in the C locale (Debian 12).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from goldsmith.packages.errors import PackageError

LINE_LIMIT: Final = 12
"""So many lines of APT are shown; the log has all of them."""

_NOISE: Final = re.compile(
    r"E: (?:mmdebstrap failed to run|setup failed: |apt-get .* failed$|command failed: "
    r"|run_|Some index files failed to download|Sub-process /usr/bin/env returned"
    r"|Sub-process env returned)"
    r"|W: (?:Download is performed unsandboxed|pid \d+ cought signal)"
)
_RELEVANT: Final = re.compile(
    r"[EW]: |E:|Err:|dpkg: error|dpkg-deb: error|tar: |mmdebstrap: "
    r"| installed \S+ package .* script|N: "
)
_UNMET: Final = "The following packages have unmet dependencies:"

_CAUSES: Final[tuple[tuple[re.Pattern[str], str, str], ...]] = tuple(
    (re.compile(pattern), summary, hint)
    for pattern, summary, hint in (
        (
            r"No space left on device|don't have enough free space",
            "there is no space left for the tree",
            "free space there, or set GOLDSMITH_CACHE_DIR to a directory with more of it",
        ),
        (
            r"Unable to locate package|has no installation candidate|Version '.*' for '.*' was not"
            r"|Couldn't find any package by",
            "packages cannot be found",
            "check their spelling; they may be in another suite, or in a component that the "
            "sources do not name (contrib, non-free, non-free-firmware)",
        ),
        (
            r"is not signed|GPG error|NO_PUBKEY|BADSIG|EXPKEYSIG|signatures? (?:couldn't|were)",
            "a repository's signature cannot be verified",
            "name the keyring that it is signed with (keyring for a mirror, signed_by for a "
            "repository, Signed-By in sources); only `trusted` takes packages whose origin nobody "
            "can prove",
        ),
        (
            r"does not have a Release file|Malformed entry",
            "the mirror has no such suite",
            "check the suite's name, and that this mirror has it",
        ),
        (
            r"is not valid yet|is expired|not valid anymore",
            "a repository's Release file is out of date",
            "check this host's clock; for a snapshot set Acquire::Check-Valid-Until "
            '"false" in its apt.conf',
        ),
        (
            r"Could not connect|Could not resolve|timed out|Connection failed|Unable to connect"
            r"|Cannot initiate the connection|Connection refused|Certificate verification"
            r"|handshake|Temporary failure resolving",
            "a mirror cannot be reached",
            "check the mirror's address, the network, and the proxy in this host's APT settings",
        ),
        (
            r"Hash Sum mismatch|unexpected size",
            "a mirror gave files that do not match its index",
            "it may be in the middle of an update: try again later, or use another mirror",
        ),
        (
            r"unmet dependencies|held broken packages|Unable to correct problems",
            "the packages cannot be installed together",
            "leave one of the conflicting packages out",
        ),
        (
            r"dpkg: error|maintainer script|package .* script subprocess",
            "a package failed to install",
            "its own messages are above",
        ),
        (
            r"Failed to fetch",
            "files cannot be fetched from a mirror",
            "check the mirror and this host's network",
        ),
    )
)


def package_error(lines: Sequence[str]) -> PackageError:
    """The error that the last lines of mmdebstrap or apt-get speak of."""
    relevant = relevant_lines(lines)
    shown = relevant[-LINE_LIMIT:] or [line for line in lines if line.strip()][-LINE_LIMIT:]
    # Causes are asked of APT's own lines: what a script printed before may say anything.
    text = "\n".join(relevant or lines)
    for pattern, summary, hint in _CAUSES:
        if pattern.search(text):
            return PackageError("\n".join([summary, *shown]), hint=hint)
    return PackageError("\n".join(["the packages cannot be installed", *shown]))


def relevant_lines(lines: Sequence[str]) -> list[str]:
    """The lines that say what is wrong: no chatter, no repetition."""
    found: list[str] = []
    in_block = False
    for line in lines:
        if line == _UNMET or line.startswith("Errors were encountered while processing"):
            in_block = True
        elif not line.startswith(" "):
            in_block = False
        if (in_block or _RELEVANT.match(line)) and not _NOISE.match(line):
            found.append(line)
    return _without_echoes(found)


def _without_echoes(lines: list[str]) -> list[str]:
    """APT says `Err:` while it works and `E:` at the end: the second one is enough."""
    if any(line.startswith("E: ") for line in lines):
        lines = [line for line in lines if not line.startswith("Err:")]
    return list(dict.fromkeys(lines))
