"""Which host keys are trusted: those that the template pins, those of a file, or any."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final

from goldsmith.core.communicator import ConnectionFailed

if TYPE_CHECKING:
    import asyncssh

ALGORITHMS: Final = (
    ("ssh-ed25519",),
    ("ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521"),
    ("rsa-sha2-512", "rsa-sha2-256"),
)
"""The kinds of keys, by what they sign with, in the order of preference."""

_KEY_OF: Final = {"rsa-sha2-512": "ssh-rsa"}
"""An RSA key is not called by what it signs with (RFC 8332)."""
_FINGERPRINT: Final = re.compile(r"SHA256:[A-Za-z0-9+/]{43}=?")
_PUBLIC_KEY: Final = re.compile(r"([a-z][a-z0-9@.-]+ +[A-Za-z0-9+/]+={0,2})(?: .*)?")


class HostKeyRefused(ConnectionFailed):
    """Another host key than a trusted one: this is not the machine, or somebody stands between."""

    lasting: ClassVar[bool] = True


def pin_mistake(pin: str) -> str:
    """What is wrong with a pinned host key; "" when nothing is."""
    text = pin.strip()
    if _FINGERPRINT.fullmatch(text) or _is_public_key(text):
        return ""
    if text.startswith("MD5:") or re.fullmatch(r"(?:[0-9a-f]{2}:){15}[0-9a-f]{2}", text):
        return f"{pin!r} is an MD5 fingerprint, which can be forged: give the SHA256 one"
    return f'{pin!r} is neither a fingerprint ("SHA256:…") nor a public key ("ssh-ed25519 AAAA…")'


def _is_public_key(text: str) -> bool:
    if not _PUBLIC_KEY.fullmatch(text):
        return False
    kind, blob = text.split()[:2]
    try:
        data = base64.b64decode(blob, validate=True)
    except ValueError:
        return False
    # RFC 4253 6.6: the blob names its kind, too.
    return data[:4] == len(kind).to_bytes(4, "big") and data[4:].startswith(kind.encode())


@dataclass(frozen=True, slots=True)
class HostKeyPolicy:
    """What decides over the host key of one machine."""

    pins: tuple[str, ...] = ()
    known_hosts: Path | None = None

    @property
    def trusts_any(self) -> bool:
        """Whether nothing was said, as with Packer."""
        return not self.pins and self.known_hosts is None

    def attempts(self, host: str, port: int) -> tuple[tuple[str, ...], ...]:
        """The kinds of keys to ask a machine for, one attempt each; () leaves it to the library.

        First all kinds, the trusted ones before the others: a machine shows the first one that it
        has, so a key that is not trusted is seen and not just missing. A fingerprint does not tell
        the kind of its key, so then each kind is asked for by itself.
        """
        if self.trusts_any:
            return ((),)
        try:
            keys, authorities = self._known(host, "", port)[:2]
        except (ValueError, OSError):
            return ((),)  # a file that cannot be read is told of by the attempt
        if authorities:
            return ((),)  # certificates have names of their own
        kinds = {key.get_algorithm() for key in keys}
        trusted = [one for one in ALGORITHMS if kinds & {*one, _KEY_OF.get(one[0], one[0])}]
        others = [one for one in ALGORITHMS if one not in trusted]
        every = tuple(name for group in (*trusted, *others) for name in group)
        has_fingerprint = any(_FINGERPRINT.fullmatch(pin.strip()) for pin in self.pins)
        return (every, *ALGORITHMS) if has_fingerprint else (every,)

    def is_pinned(self, key: asyncssh.SSHKey) -> bool:
        """Whether the key is one of those whose fingerprints are given, or any one would do."""
        fingerprint = key.get_fingerprint()
        return self.trusts_any or any(pin.strip().rstrip("=") == fingerprint for pin in self.pins)

    @property
    def known(self) -> Callable[[str, str, int | None], Sequence[Any]] | None:
        """What the library asks for the trusted keys of a host; None: any will do."""
        return None if self.trusts_any else self._known

    def _known(self, host: str, address: str, port: int | None) -> Sequence[Any]:
        """The trusted keys, authorities and revoked keys, and nothing of X.509."""
        import asyncssh

        listed: Sequence[Any] = ([], [], [], [], [], [], [])
        if self.known_hosts is not None:
            listed = asyncssh.match_known_hosts(str(self.known_hosts), host, address, port)
        pinned = [
            asyncssh.import_public_key(pin.strip())
            for pin in self.pins
            if _is_public_key(pin.strip())
        ]
        return ([*listed[0], *pinned], *listed[1:])

    def refusal(self, host: str, port: int, key: asyncssh.SSHKey | None) -> HostKeyRefused:
        """The error for a key that is not trusted."""
        shown = f"it is {shown_key(key)}" if key else "it has no key of a kind that can be trusted"
        expected = [pin.strip() for pin in self.pins]
        if self.known_hosts is not None:
            expected.append(f"what {self.known_hosts} says")
        return HostKeyRefused(
            f"the host key of {host} port {port} is not a trusted one: {shown}; expected was "
            + " or ".join(expected),
            hint="if the machine was made anew, trust its new key in ssh_host_keys or "
            "ssh_known_hosts_file; otherwise somebody may stand between: no password was sent",
        )


def shown_key(key: asyncssh.SSHKey) -> str:
    """A host key as people compare it."""
    return f"{key.get_algorithm()} {key.get_fingerprint()}"
