"""From options to a connected machine, with the lines that a user sees meanwhile."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from goldsmith.communicators.ssh.communicator import SshCommunicator
from goldsmith.communicators.ssh.credentials import bastion_login, machine_login
from goldsmith.communicators.ssh.dialing import Dialer
from goldsmith.communicators.ssh.options import CommunicatorOptions, home_path
from goldsmith.errors import HostError
from goldsmith.host.cancellation import pause
from goldsmith.units import format_duration

if TYPE_CHECKING:
    from goldsmith.events import Emitter


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine that is connected, and what a template may ask about it."""

    communicator: SshCommunicator
    run_values: dict[str, str]


def require_library() -> None:
    """Raise HostError when the library for SSH is not installed."""
    try:
        import asyncssh  # noqa: F401
    except ImportError as e:
        raise HostError(
            "the communicator ssh needs the Python package asyncssh",
            hint="pip install 'goldsmith[ssh]'",
        ) from e


@contextmanager
def connected(options: CommunicatorOptions, emitter: Emitter) -> Iterator[Machine]:
    """Connect and log in; the connection ends with the block.

    Raises HostError without the library, and ConnectionFailed.
    """
    require_library()
    from goldsmith.communicators.ssh.background_loop import BackgroundLoop

    emitter.redactor.add(
        [options.ssh_password, options.ssh_bastion_password, options.ssh_proxy_password]
    )
    login = machine_login(options)
    lent = None if options.ssh_disable_agent_forwarding else os.environ.get("SSH_AUTH_SOCK")
    dialer = Dialer(options=options, machine=login, bastion=bastion_login(options),
                    forwarded_agent=lent or None)  # fmt: skip
    with BackgroundLoop(f"ssh {login.host}") as loop:
        communicator = SshCommunicator(options, dialer, loop)
        try:
            emitter.say(f"Using ssh communicator to connect: {options.ssh_host}")
            _connect(communicator, emitter)
            yield Machine(communicator, _run_values(options, login.public_key, emitter))
        finally:
            communicator.disconnect()


def _connect(communicator: SshCommunicator, emitter: Emitter) -> None:
    emitter.say("Waiting for SSH to become available...")
    key = communicator.connect()
    wait_s = communicator.options.pause_before_connecting
    if wait_s:
        emitter.say(f"Pausing {format_duration(wait_s)} before connecting...")
        communicator.disconnect()
        pause(wait_s)
        key = communicator.connect()
    options = communicator.options
    if not (options.ssh_host_keys or options.ssh_known_hosts_file):
        emitter.output(f"the host key of {options.ssh_host} was not checked: {key}", routine=True)
    emitter.say("Connected to SSH!")


def _run_values(options: CommunicatorOptions, public_key: str, emitter: Emitter) -> dict[str, str]:
    """What `build.*` says of a machine; texts that are not there are left out."""
    values = {
        "Host": options.ssh_host, "Port": str(options.port), "User": options.ssh_username,
        "Password": options.ssh_password, "ConnType": "ssh",
    }  # fmt: skip
    if options.ssh_private_key_file:
        private = home_path(options.ssh_private_key_file).read_text("utf-8", "surrogateescape")
        emitter.redactor.add([private])
        values |= {"SSHPrivateKey": private, "SSHPublicKey": public_key}
    return values
