"""How host and plugin find each other: a cookie in the environment, one line on standard output.

Packer up to 1.6 writes and wants three fields, `5|unix|PATH`; since 1.7 there is a minor version
between: `5|0|unix|PATH`.
"""

from __future__ import annotations

import contextlib
import errno
import hmac
import re
import secrets
import socket
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from goldsmith.gotemplate.quoting import quote
from goldsmith.plugin.wire.errors import ConnectionLost, HandshakeError, TimedOut

MAGIC_COOKIE_KEY: Final = "PACKER_PLUGIN_MAGIC_COOKIE"
MAGIC_COOKIE_VALUE: Final = "d602bf8f470bc67ca7faa0386276bbdd4330efaf76d1a219cb4d6991ca9872b2"
MIN_PORT_KEY: Final = "PACKER_PLUGIN_MIN_PORT"
MAX_PORT_KEY: Final = "PACKER_PLUGIN_MAX_PORT"
DEFAULT_MIN_PORT: Final = 10_000
DEFAULT_MAX_PORT: Final = 25_000

MAJOR: Final = 5
MINOR: Final = 0
LONGEST_LINE: Final = 4096
"""In bytes; a line that is longer is no handshake."""
_SHOWN: Final = 200
_LINE = re.compile(
    r"(?P<major>\d{1,9})\|(?:(?P<minor>\d{1,9})\|)?(?P<network>[^|]*)\|(?P<address>.+)", re.ASCII
)
_OLDEST_LINE = re.compile(r"(?:1\|)?[^|\s]*:\d+", re.ASCII)


def is_cookie_right(environment: Mapping[str, str]) -> bool:
    """Whether a host has started this process as a plugin."""
    return hmac.compare_digest(
        environment.get(MAGIC_COOKIE_KEY, "").encode(), MAGIC_COOKIE_VALUE.encode()
    )


@dataclass(frozen=True, slots=True)
class Handshake:
    """What the line of a plugin says; without a `minor` version it has three fields."""

    network: str
    """"unix" or "tcp"."""
    address: str
    """The path of the socket, or HOST:PORT."""
    major: int = MAJOR
    minor: int | None = MINOR

    def line(self) -> str:
        """The line, without its newline."""
        versions = [str(self.major)] if self.minor is None else [str(self.major), str(self.minor)]
        return "|".join([*versions, self.network, self.address])


def parse_handshake(line: str) -> Handshake:
    """Read the first line of a plugin.

    Raises HandshakeError for lines of protocols before Packer 1.5 or after 5.0, and for others.
    """
    text = line.rstrip("\r\n")
    match = _LINE.fullmatch(text) if len(text) <= LONGEST_LINE else None
    if match is None:
        raise _other_version("0 or 1") if _OLDEST_LINE.fullmatch(text[:_SHOWN]) else _garbage(text)
    major, minor, network, address = match.group("major", "minor", "network", "address")
    if major != str(MAJOR) or minor not in (None, str(MINOR)):
        raise _other_version(major if minor is None else f"{major}.{minor}")
    if network not in ("unix", "tcp"):
        raise HandshakeError(f"Unknown address type: {network[:_SHOWN]}")
    if network == "tcp" and _split_address(address) is None:
        raise _garbage(text)
    return Handshake(network, address, MAJOR, None if minor is None else MINOR)


def _garbage(text: str) -> HandshakeError:
    shown = quote(text[:_SHOWN]) + ("..." if len(text) > _SHOWN else "")
    return HandshakeError(
        f"the first line that it printed is no plugin's: {shown}",
        hint="a plugin prints MAJOR|MINOR|NETWORK|ADDRESS first of all; anything else belongs on "
        "its standard error",
    )


def _other_version(version: str) -> HandshakeError:
    return HandshakeError(
        f"it speaks version {version[:_SHOWN]} of the plugin protocol, not {MAJOR}.{MINOR}",
        hint="use a release of this plugin for Packer 1.5 or later",
    )


def _split_address(address: str) -> tuple[str, int] | None:
    host, colon, port = address.rpartition(":")
    if not colon or not (port.isascii() and port.isdigit()) or not 0 < int(port[:6]) < 65536:
        return None
    return host.strip("[]") or "127.0.0.1", int(port)


def connect(handshake: Handshake, timeout_s: float = 10.0) -> socket.socket:
    """Connect to a plugin that has printed its line; the caller closes the socket.

    Raises ConnectionLost when nobody listens there.
    """
    if handshake.network == "unix":
        connection = socket.socket(socket.AF_UNIX)
        target: str | tuple[str, int] = handshake.address
    else:
        address = _split_address(handshake.address)
        assert address is not None, "the line was checked"
        connection = socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        target = address
    try:
        connection.settimeout(timeout_s)
        connection.connect(target)
        connection.settimeout(None)
    except OSError as e:
        connection.close()
        raise ConnectionLost(
            f"cannot connect to {handshake.network} {handshake.address}: {e.strerror or e}"
        ) from e
    return connection


class Listener:
    """Where a plugin waits for its host: exactly one connection is ever accepted."""

    def __init__(self, listening: socket.socket, handshake: Handshake, path: Path | None) -> None:
        self._socket = listening
        self._handshake = handshake
        self._path = path

    @classmethod
    def open(
        cls,
        network: str = "unix",
        *,
        min_port: int = DEFAULT_MIN_PORT,
        max_port: int = DEFAULT_MAX_PORT,
        directory: Path | None = None,
    ) -> Listener:
        """Listen on a new socket in `directory` (the temporary one), or on a free port."""
        if network == "tcp":
            listening, port = _free_port(min_port, max_port)
            return cls(listening, Handshake("tcp", f"127.0.0.1:{port}"), None)
        folder = directory or Path(tempfile.gettempdir())
        path = folder / f"packer-plugin{secrets.randbits(48)}"
        listening = socket.socket(socket.AF_UNIX)
        try:
            listening.bind(str(path))
            path.chmod(0o600)  # nobody can connect before it listens
            listening.listen(1)
        except OSError as e:
            listening.close()
            raise HandshakeError(
                f"cannot listen on {path}: {e.strerror or e}",
                hint="set TMPDIR to a directory with a short name that can be written",
            ) from e
        return cls(listening, Handshake("unix", str(path)), path)

    def handshake(self, minor: int | None = MINOR) -> Handshake:
        """What to print; without a `minor` version the line has three fields."""
        return Handshake(self._handshake.network, self._handshake.address, MAJOR, minor)

    def accept(self, timeout_s: float | None = None) -> socket.socket:
        """Wait for the host, then listen no more; raises TimedOut."""
        try:
            self._socket.settimeout(timeout_s)
            connection, _ = self._socket.accept()
        except TimeoutError:
            raise TimedOut(f"no host connected within {timeout_s:g} s") from None
        finally:
            self.close()
        connection.settimeout(None)
        if connection.family == socket.AF_INET:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def close(self) -> None:
        """Listen no more and remove the socket's file."""
        self._socket.close()
        if self._path is not None:
            with contextlib.suppress(FileNotFoundError):
                self._path.unlink()

    def __enter__(self) -> Listener:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()


def _free_port(min_port: int, max_port: int) -> tuple[socket.socket, int]:
    for port in range(min_port, max_port + 1):
        listening = socket.socket(socket.AF_INET)
        try:
            listening.bind(("127.0.0.1", port))
            listening.listen(1)
        except OSError as e:
            listening.close()
            if e.errno not in (errno.EADDRINUSE, errno.EACCES):
                raise HandshakeError(f"cannot listen on port {port}: {e.strerror or e}") from e
        else:
            return listening, port
    raise HandshakeError(f"no port from {min_port} to {max_port} is free on 127.0.0.1")
