"""Ports of this host that lead into a machine: on the loopback address only, never on the network.

QEMU's user networking carries them, so no device, route or privilege of the host is needed. The
machine itself reaches nothing (`restrict=on`) unless that is asked for.
"""

from __future__ import annotations

import errno
import re
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from goldsmith.errors import GoldsmithError, UsageError

LOOPBACK: Final = "127.0.0.1"
_LAST_PORT: Final = 65535
_FORWARD: Final = re.compile(r"(\d{1,5}):(\d{1,5})")


@dataclass(frozen=True, slots=True)
class Forward:
    """A TCP port of the host's loopback address, and the machine's port that it leads to."""

    host_port: int
    guest_port: int

    def __str__(self) -> str:
        return f"{LOOPBACK}:{self.host_port} -> {self.guest_port}"


def parse_forward(text: str) -> Forward:
    """Read "HOST:GUEST", two ports; raises UsageError for anything else."""
    match = _FORWARD.fullmatch(text.strip())
    ports = tuple(map(int, match.groups())) if match else ()
    if not ports or not all(1 <= port <= _LAST_PORT for port in ports):
        raise UsageError(
            f"{text!r} is not a pair of ports HOST:GUEST",
            hint=f"write for example 2222:22: port 2222 of {LOOPBACK} leads to the machine's 22",
        )
    return Forward(*ports)


def check_forwards(forwards: Sequence[Forward]) -> None:
    """Raise UsageError for two forwards of one port, GoldsmithError for a port that is taken."""
    ports = [forward.host_port for forward in forwards]
    twice = next((port for port in ports if ports.count(port) > 1), None)
    if twice is not None:
        raise UsageError(f"port {twice} of this host is forwarded twice")
    for port in ports:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as tried:
            # As QEMU binds it: a port that was used a moment ago is free.
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                tried.bind((LOOPBACK, port))
            except OSError as e:
                is_taken = e.errno == errno.EADDRINUSE
                raise GoldsmithError(
                    f"port {port} of {LOOPBACK} cannot be forwarded: {e.strerror}",
                    hint="another program uses it: choose another port" if is_taken
                    else "choose a port above 1023",
                ) from e  # fmt: skip


def network_arguments(forwards: Sequence[Forward], *, outward: bool) -> tuple[str, ...]:
    """QEMU's arguments for the network card; without forwards and `outward` there is none."""
    if not forwards and not outward:
        return ("-nic", "none")
    rules = "".join(
        f",hostfwd=tcp:{LOOPBACK}:{forward.host_port}-:{forward.guest_port}" for forward in forwards
    )
    restrict = "off" if outward else "on"
    return (
        "-netdev", f"user,id=network,restrict={restrict}{rules}",
        "-device", "virtio-net-pci,netdev=network,romfile=",
    )  # fmt: skip
