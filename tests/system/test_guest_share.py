"""The server of this host's files: a guest never waits for one that cannot start."""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path

import pytest

from goldsmith.machine.guest_protocol import GuestError
from goldsmith.machine.guest_share import shared_root

pytestmark = pytest.mark.root


def test_a_server_that_ends_at_once_ends_the_connection(tmp_path: Path) -> None:
    def words(argv: object) -> list[str]:
        return ["sh", "-c", "echo no such luck >&2; exit 1"]

    with pytest.raises(GuestError) as caught, shared_root(words, tmp_path) as share:
        with socket.socket(fileno=share.fd) as connection:
            connection.settimeout(60)
            with contextlib.suppress(ConnectionResetError):
                assert connection.recv(1) == b""
            connection.detach()
        raise GuestError("the guest has ended")
    assert caught.value.__notes__ == ["virtiofsd: no such luck"]
