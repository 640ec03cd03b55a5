"""Connecting through a SOCKS5 proxy (RFC 1928, and RFC 1929 for its passwords)."""

from __future__ import annotations

import asyncio
import socket
from typing import Final

from goldsmith.core.communicator import ConnectionFailed

_NO_PASSWORD: Final = 0
_PASSWORD: Final = 2
_REFUSALS: Final = {
    1: "it failed", 2: "its rules forbid it", 3: "the network cannot be reached",
    4: "the host cannot be reached", 5: "the connection was refused", 6: "it took too long",
    7: "it cannot connect", 8: "it does not know this kind of address",
}  # fmt: skip


async def connect_through(
    proxy: tuple[str, int], user: str, password: str, target: tuple[str, int]
) -> socket.socket:
    """A socket that leads to the target; raises ConnectionFailed or OSError."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(*proxy, type=socket.SOCK_STREAM)
    family, kind, protocol, _, address = found[0]
    connection = socket.socket(family, kind, protocol)
    try:
        connection.setblocking(False)
        await loop.sock_connect(connection, address)
        conversation = _Conversation(connection, f"the proxy {proxy[0]} port {proxy[1]}")
        await conversation.greet(user, password)
        await conversation.ask(*target)
    except BaseException:
        connection.close()
        raise
    return connection


class _Conversation:
    def __init__(self, connection: socket.socket, name: str) -> None:
        self._connection, self._name = connection, name

    async def _send(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self._connection, data)

    async def _receive(self, length: int) -> bytes:
        data = b""
        while len(data) < length:
            piece = await asyncio.get_running_loop().sock_recv(self._connection, length - len(data))
            if not piece:
                raise ConnectionFailed(f"{self._name} has closed the connection")
            data += piece
        return data

    async def greet(self, user: str, password: str) -> None:
        """Agree on how to log in, and log in."""
        methods = bytes([_NO_PASSWORD, _PASSWORD] if user else [_NO_PASSWORD])
        await self._send(bytes([5, len(methods)]) + methods)
        version, method = await self._receive(2)
        if version != 5:
            raise ConnectionFailed(f"{self._name} is no SOCKS5 proxy")
        if method == _PASSWORD and user:
            words = [user.encode(), password.encode()]
            if any(len(word) > 255 for word in words):
                raise ConnectionFailed(f"{self._name}: its users and passwords end at 255 bytes")
            await self._send(b"\1" + b"".join(bytes([len(word)]) + word for word in words))
            if (await self._receive(2))[1] != 0:
                raise ConnectionFailed(
                    f"{self._name} does not let {user} in",
                    hint="look at ssh_proxy_username and ssh_proxy_password",
                )
        elif method != _NO_PASSWORD:
            raise ConnectionFailed(
                f"{self._name} asks for a login",
                hint="give ssh_proxy_username and ssh_proxy_password",
            )

    async def ask(self, host: str, port: int) -> None:
        """Let the proxy connect; names are resolved there."""
        name = host.encode("idna")
        if len(name) > 255:
            raise ConnectionFailed(f"{host}: names end at 255 bytes")
        await self._send(bytes([5, 1, 0, 3, len(name)]) + name + port.to_bytes(2, "big"))
        _, refusal, _, kind = await self._receive(4)
        if refusal:
            why = _REFUSALS.get(refusal, f"its answer is {refusal}")
            raise ConnectionFailed(f"{self._name} does not connect to {host} port {port}: {why}")
        length = {1: 4, 4: 16}.get(kind) or (await self._receive(1))[0]
        await self._receive(length + 2)
