"""What a login needs: users, passwords, keys, certificates and the agent."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from goldsmith.communicators.ssh.host_keys import HostKeyPolicy
from goldsmith.communicators.ssh.options import CommunicatorOptions, home_path
from goldsmith.errors import GoldsmithError

if TYPE_CHECKING:
    import asyncssh


@dataclass(frozen=True, slots=True)
class Login:
    """A machine that is logged in to, the bastion or the one that is provisioned."""

    what: str
    """How errors call it: "the bastion HOST", or the machine's name."""
    host: str
    port: int
    user: str
    password: str = field(repr=False)
    keys: tuple[Any, ...] = field(repr=False)
    """What the library takes: a key, or a key and its certificate."""
    agent: str | None
    policy: HostKeyPolicy
    public_key: str = ""


def machine_login(options: CommunicatorOptions) -> Login:
    """How to log in to the machine; raises GoldsmithError for a key that cannot be used."""
    keys, public = _keys("ssh_private_key_file", options.ssh_private_key_file,
                         options.ssh_certificate_file)  # fmt: skip
    return Login(
        what=options.ssh_host, host=options.ssh_host, port=options.port,
        user=options.ssh_username, password=options.ssh_password, keys=keys,
        agent=agent_socket("ssh_agent_auth") if options.ssh_agent_auth else None,
        policy=_policy(options.ssh_host_keys, options), public_key=public,
    )  # fmt: skip


def bastion_login(options: CommunicatorOptions) -> Login | None:
    """How to log in to the bastion, if there is one; raises GoldsmithError."""
    if not options.ssh_bastion_host:
        return None
    keys, _ = _keys("ssh_bastion_private_key_file", options.ssh_bastion_private_key_file,
                    options.ssh_bastion_certificate_file)  # fmt: skip
    agent = agent_socket("ssh_bastion_agent_auth") if options.ssh_bastion_agent_auth else None
    return Login(
        what=f"the bastion {options.ssh_bastion_host}", host=options.ssh_bastion_host,
        port=options.ssh_bastion_port or 22, user=options.ssh_bastion_username,
        password=options.ssh_bastion_password, keys=keys, agent=agent,
        policy=_policy(options.ssh_bastion_host_keys, options),
    )  # fmt: skip


def _policy(pins: tuple[str, ...], options: CommunicatorOptions) -> HostKeyPolicy:
    file = options.ssh_known_hosts_file
    return HostKeyPolicy(pins, home_path(file) if file else None)


def agent_socket(option: str) -> str:
    """The agent's socket; raises GoldsmithError that names the option which wants it."""
    path = os.environ.get("SSH_AUTH_SOCK", "")
    if not path:
        raise GoldsmithError(
            f"{option} needs an SSH agent, and SSH_AUTH_SOCK is not set",
            hint='start one with `eval "$(ssh-agent)"` and give it the key with `ssh-add KEY`',
        )
    return path


def _keys(option: str, key_file: str, certificate_file: str) -> tuple[tuple[Any, ...], str]:
    """The key with its certificate as the library takes them, and the public key as a line."""
    if not key_file:
        return (), ""
    import asyncssh

    key = _private_key(option, key_file)
    public = key.export_public_key().decode().strip()
    if not certificate_file:
        return (key,), public
    try:
        certificate = asyncssh.read_certificate(str(home_path(certificate_file)))
        asyncssh.load_keypairs([(key, certificate)])
    except (OSError, ValueError) as e:
        raise GoldsmithError(
            f"{certificate_file} is no certificate of the key {key_file}: {e}",
            hint="ssh-keygen -L -f shows what a certificate is for",
        ) from e
    return ((key, certificate), key), public


def _private_key(option: str, key_file: str) -> asyncssh.SSHKey:
    import asyncssh

    try:
        return asyncssh.read_private_key(str(home_path(key_file)))
    except OSError as e:
        raise GoldsmithError(f"{option}: {key_file}: {e.strerror}") from e
    except asyncssh.KeyEncryptionError as e:
        raise _needs_passphrase(option, key_file) from e
    except asyncssh.KeyImportError as e:
        # What an encrypted key raises without any passphrase.
        if "assphrase" in str(e):
            raise _needs_passphrase(option, key_file) from e
        raise GoldsmithError(
            f"{option}: {key_file} is no private key: {e}",
            hint="ssh-keygen -y -f prints the public key of a private one that is good",
        ) from e


def _needs_passphrase(option: str, key_file: str) -> GoldsmithError:
    return GoldsmithError(
        f"{option}: {key_file} is encrypted with a passphrase, for which nobody is asked",
        hint="give the key to an agent (ssh-add) and write ssh_agent_auth = true, or take a key "
        "without a passphrase",
    )
