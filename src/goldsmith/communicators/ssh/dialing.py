"""One attempt to connect and log in, through a bastion or a proxy where there is one."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Final

from goldsmith.communicators.ssh.credentials import Login
from goldsmith.communicators.ssh.host_keys import HostKeyPolicy, HostKeyRefused
from goldsmith.communicators.ssh.options import CommunicatorOptions, parse_tunnel
from goldsmith.communicators.ssh.socks import connect_through
from goldsmith.core.communicator import ConnectionFailed
from goldsmith.errors import GoldsmithError

if TYPE_CHECKING:
    import asyncssh
    from asyncssh.agent import SSHAgentClient

CONNECT_S: Final = 30.0
LOGIN_S: Final = 120.0
SILENCE_S: Final = 120.0


class LoginRefused(ConnectionFailed):
    """The machine answered and does not let this user in."""

    lasting: ClassVar[bool] = True


@dataclass(slots=True)
class Progress:
    """How far an attempt has come, for the error when time is over."""

    reached: str = ""
    """The machine that has accepted a connection, and with which the handshake is under way."""


@dataclass(slots=True)
class _Seen:
    """What a client object learns while it connects."""

    key: Any = None
    refused: bool = False


@dataclass(frozen=True, slots=True)
class Line:
    """Connections that belong together: the machine's, and the bastion's below it."""

    connection: asyncssh.SSHClientConnection
    below: asyncssh.SSHClientConnection | None = None

    @property
    def is_open(self) -> bool:
        """Whether it can still be used, as far as is known."""
        return not self.connection.is_closed()

    def abort(self) -> None:
        """End both at once."""
        for connection in (self.connection, self.below):
            if connection is not None:
                connection.abort()

    async def close(self) -> None:
        """Close, waiting for the other end."""
        for connection in (self.connection, self.below):
            if connection is not None:
                connection.close()
                await connection.wait_closed()


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialer:
    """Makes connections to one machine."""

    options: CommunicatorOptions
    machine: Login
    bastion: Login | None
    forwarded_agent: str | None
    """The socket of the agent that is lent to the machine."""
    settings: Mapping[str, Any] = field(default_factory=dict)

    async def dial(self, progress: Progress) -> Line:
        """Connect; raises HostKeyRefused, LoginRefused, ConnectionFailed.

        And GoldsmithError for an option that no machine can be reached with.
        """
        below: asyncssh.SSHClientConnection | None = None
        try:
            if self.bastion is not None:
                below = await self._log_in(self.bastion, progress, None, None)
            connection = await self._log_in(self.machine, progress, below, self.forwarded_agent)
            line = Line(connection, below)
        except BaseException:
            if below is not None:
                below.abort()
            raise
        try:
            await self._open_tunnels(connection)
        except BaseException:
            line.abort()
            raise
        return line

    async def _log_in(
        self,
        login: Login,
        progress: Progress,
        below: asyncssh.SSHClientConnection | None,
        forwarded: str | None,
    ) -> asyncssh.SSHClientConnection:
        refusal: HostKeyRefused | None = None
        for algorithms in login.policy.attempts(login.host, login.port):
            try:
                return await self._attempt(login, progress, below, forwarded, algorithms)
            except HostKeyRefused as e:
                refusal = refusal or e
            except _NoSuchKey:
                continue
            except LoginRefused:
                raise
            except ConnectionFailed:
                # sshd may hang up before it says that it has no key of such a kind; that it is
                # there was seen when it showed another key.
                if refusal is None:
                    raise
        raise refusal or login.policy.refusal(login.host, login.port, None)

    async def _attempt(
        self,
        login: Login,
        progress: Progress,
        below: asyncssh.SSHClientConnection | None,
        forwarded: str | None,
        algorithms: tuple[str, ...],
    ) -> asyncssh.SSHClientConnection:
        import asyncssh
        from asyncssh.agent import SSHAgentClient

        seen = _Seen()
        options = self.options
        agent = SSHAgentClient(login.agent) if login.agent else None
        try:
            agent_keys = await _keys_of(agent) if agent else ()
            given = self._arguments(login, algorithms, agent_keys)
            if below is not None:
                given["tunnel"] = below
            elif options.ssh_proxy_host:
                given["sock"] = await connect_through(
                    (options.ssh_proxy_host, options.ssh_proxy_port or 1080),
                    options.ssh_proxy_username, options.ssh_proxy_password,
                    (login.host, login.port),
                )  # fmt: skip
            connection = await asyncssh.connect(
                login.host, login.port,
                client_factory=_client_class(login, seen, progress),
                agent_forwarding=forwarded or False, **given,
            )  # fmt: skip
            progress.reached = ""
            return connection
        except asyncssh.HostKeyNotVerifiable as e:
            raise login.policy.refusal(login.host, login.port, seen.key) from e
        except asyncssh.PermissionDenied as e:
            raise LoginRefused(
                f"{login.what} does not let {login.user} in with {_ways(login)}",
                hint="check the user, and that its password or key is the right one there",
            ) from e
        except asyncssh.KeyExchangeFailed as e:
            if algorithms and "server host key" in str(e).lower():
                raise _NoSuchKey from e
            raise ConnectionFailed(f"{login.what} port {login.port}: {e}") from e
        except ValueError as e:
            raise GoldsmithError(
                f"{login.what} port {login.port} cannot be tried: {e}",
                hint="check ssh_ciphers, ssh_key_exchange_algorithms, ssh_known_hosts_file and "
                "the host",
            ) from e
        except (OSError, asyncssh.Error, TimeoutError) as e:
            text = str(e) or ("no answer" if isinstance(e, TimeoutError) else type(e).__name__)
            raise ConnectionFailed(f"{login.what} port {login.port}: {text}") from e
        finally:
            if agent is not None:
                agent.close()
                await agent.wait_closed()

    def _arguments(
        self, login: Login, algorithms: tuple[str, ...], agent_keys: Sequence[Any]
    ) -> dict[str, Any]:
        options = self.options
        silence_s = options.ssh_read_write_timeout or SILENCE_S
        interval_s = options.ssh_keep_alive_interval or 5.0
        if interval_s < 0:
            # Without questions of its own only a limit that was asked for shows a dead machine.
            interval_s = silence_s if options.ssh_read_write_timeout else 0.0
        given: dict[str, Any] = {
            "config": None, "known_hosts": login.policy.known,
            "username": login.user, "password": login.password or None,
            # None: no key of this user's home directory, and no agent but the one asked above.
            "client_keys": [*login.keys, *agent_keys] or None, "agent_path": None,
            "preferred_auth": ("publickey", "password", "keyboard-interactive"),
            "keepalive_interval": interval_s,
            "keepalive_count_max": max(1, math.ceil(silence_s / interval_s)) if interval_s else 1,
            "connect_timeout": CONNECT_S, "login_timeout": LOGIN_S,
            **self.settings,
        }  # fmt: skip
        if algorithms:
            given["server_host_key_algs"] = algorithms
        if options.ssh_ciphers:
            given["encryption_algs"] = options.ssh_ciphers
        if options.ssh_key_exchange_algorithms:
            given["kex_algs"] = options.ssh_key_exchange_algorithms
        return given

    async def _open_tunnels(self, connection: asyncssh.SSHClientConnection) -> None:
        import asyncssh

        text = ""
        try:
            for text in self.options.ssh_local_tunnels:
                listening, host, port = parse_tunnel(text)
                await connection.forward_local_port("localhost", listening, host, port)
            for text in self.options.ssh_remote_tunnels:
                listening, host, port = parse_tunnel(text)
                await connection.forward_remote_port("localhost", listening, host, port)
        except (OSError, asyncssh.Error, asyncssh.ChannelListenError) as e:
            raise ConnectionFailed(
                f"the tunnel {text} cannot be opened: {e}",
                hint="perhaps the port is taken, or the machine's sshd forbids forwarding",
            ) from e


class _NoSuchKey(Exception):
    """The machine has no host key of the kind that was asked for."""


async def _keys_of(agent: SSHAgentClient) -> Sequence[Any]:
    """The keys that an agent holds; raises GoldsmithError when there are none."""
    try:
        keys = await agent.get_keys()
    except (OSError, ValueError) as e:
        raise GoldsmithError(
            f"the agent at SSH_AUTH_SOCK does not answer: {e}",
            hint='start one with `eval "$(ssh-agent)"` and give it the key with `ssh-add KEY`',
        ) from e
    if not keys:
        raise GoldsmithError("the agent at SSH_AUTH_SOCK has no keys", hint="ssh-add KEY adds one")
    return keys


def _ways(login: Login) -> str:
    ways = [("its key", bool(login.keys)), ("the agent's keys", login.agent is not None),
            ("its password", bool(login.password))]  # fmt: skip
    return " or ".join(name for name, given in ways if given) or "nothing"


def _client_class(login: Login, seen: _Seen, progress: Progress) -> type[asyncssh.SSHClient]:
    """The class whose object the library asks while it connects."""
    import asyncssh

    policy: HostKeyPolicy = login.policy
    asked_passwords = iter([login.password] if login.password else [])

    class Client(asyncssh.SSHClient):
        """Decides over the host key, and answers questions with the password."""

        def connection_made(self, conn: asyncssh.SSHClientConnection) -> None:
            progress.reached = f"{login.what} port {login.port}"

        def validate_host_public_key(
            self, host: str, addr: str, port: int, key: asyncssh.SSHKey
        ) -> bool:
            seen.key = key
            return policy.is_pinned(key)

        def kbdint_auth_requested(self) -> str | None:
            return "" if next(asked_passwords, None) else None

        def kbdint_challenge_received(
            self, name: str, instructions: str, lang: str, prompts: Any
        ) -> list[str]:
            # As Packer: whatever is asked, the answer is the password; notices ask nothing.
            return [login.password for _ in prompts]

    return Client
