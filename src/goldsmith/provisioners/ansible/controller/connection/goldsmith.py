"""Ansible's way to the tree or machine being built: over a socket to goldsmith, which is there.

Each request is a line of JSON, and so is each answer (see `channel` beside us).
Ansible loads this file by its path.
"""

from __future__ import annotations

import json
import os
import socket
from typing import Any

from ansible.errors import AnsibleConnectionFailure, AnsibleError
from ansible.plugins.connection import ConnectionBase

DOCUMENTATION = """
    name: goldsmith
    short_description: Run tasks on what goldsmith builds
    description:
        - Runs commands and moves files through the communicator of a running goldsmith build.
    author: goldsmith
    options:
        channel:
            description: The directory of the socket.
            type: str
            required: true
            vars:
                - name: ansible_goldsmith_channel
        remote_user:
            description: Who commands run as.
            type: str
            default: root
            vars:
                - name: ansible_user
            keyword:
                - name: remote_user
"""


class Connection(ConnectionBase):  # type: ignore[misc]
    """A connection to the machine of one build."""

    transport = "goldsmith"
    has_pipelining = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._socket: socket.socket | None = None
        self._connected = False

    def _connect(self) -> Connection:
        if self._connected:
            return self
        try:
            place = os.open(self.get_option("channel"), os.O_PATH | os.O_DIRECTORY)
            try:
                self._socket = socket.socket(socket.AF_UNIX)
                # The address of a socket is short; the path of its directory need not be.
                self._socket.connect(f"/proc/self/fd/{place}/socket")
            finally:
                os.close(place)
        except OSError as e:
            raise AnsibleConnectionFailure(f"goldsmith does not answer: {e.strerror}") from e
        self._connected = True
        return self

    def exec_command(
        self, cmd: str, in_data: bytes | None = None, sudoable: bool = True
    ) -> tuple[int, bytes, bytes]:
        """Run a shell line there."""
        super().exec_command(cmd, in_data=in_data, sudoable=sudoable)
        if sudoable and self.become and self.become.expect_prompt():
            raise AnsibleError(
                "goldsmith's connection gives no password to become: let the user become another "
                "one without a password, or connect as root"
            )
        answer = self._ask(do="run", command=cmd)
        return answer["status"], _taken(answer["stdout"]), _taken(answer["stderr"])

    def put_file(self, in_path: str, out_path: str) -> None:
        """Copy a file of this host there."""
        super().put_file(in_path, out_path)
        self._ask(do="put", source=os.path.abspath(in_path), destination=out_path)

    def fetch_file(self, in_path: str, out_path: str) -> None:
        """Copy a file from there."""
        super().fetch_file(in_path, out_path)
        self._ask(do="fetch", source=in_path, destination=os.path.abspath(out_path))

    def close(self) -> None:
        """Give the socket back."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        self._connected = False

    def _ask(self, **request: str) -> dict[str, Any]:
        self._connect()
        assert self._socket is not None
        answer = b""
        try:
            self._socket.sendall(json.dumps(request).encode() + b"\n")
            while not answer.endswith(b"\n"):
                part = self._socket.recv(1 << 16)
                if not part:
                    raise AnsibleConnectionFailure("goldsmith has closed the connection")
                answer += part
        except OSError as e:
            raise AnsibleConnectionFailure(f"goldsmith does not answer: {e.strerror}") from e
        told: dict[str, Any] = json.loads(answer)
        if "error" in told:
            raise AnsibleError(told["error"])
        return told


def _taken(path: str) -> bytes:
    """The content of a file that was made for this answer alone."""
    with open(path, "rb") as file:
        content = file.read()
    os.unlink(path)
    return content
