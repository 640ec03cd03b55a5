"""The options by which a template says how a machine is reached."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import BeforeValidator, Field, field_validator

from goldsmith.core.options import DurationSeconds, Options, WrittenAs
from goldsmith.units import LONGEST_WAIT_S, UnitError, parse_duration_s
from goldsmith.values.types import STRING

TIMEOUT_S: Final = 300.0
KEEP_ALIVE_S: Final = 5.0
HANDSHAKES: Final = 10

Port = Annotated[int, Field(ge=0, le=65535)]


def _signed_duration(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        duration_s = parse_duration_s(value)
    except UnitError as e:
        raise ValueError(f"{e}" + (f" ({e.hint})" if e.hint else "")) from e
    if duration_s > LONGEST_WAIT_S:
        raise ValueError("nothing waits longer than 24 days")
    return duration_s


def parse_tunnel(text: str) -> tuple[int, str, int]:
    """Read "8080:host:80" as a port to listen on, a host and its port; raises ValueError."""
    listening, _, rest = text.partition(":")
    host, _, port = rest.rpartition(":")
    if not host or not listening.isdecimal() or not port.isdecimal():
        raise ValueError(f'{text!r} is not a tunnel: write "PORT:HOST:PORT"')
    if max(int(listening), int(port)) > 65535:
        raise ValueError(f"{text!r}: ports end at 65535")
    return int(listening), host.strip("[]"), int(port)


class WinrmOptions(Options):
    """Options of Packer's communicator `winrm`, which is refused: they are known, and have no use.

    Windows machines are reached by ssh.
    """

    winrm_host: str = Field("", description="Without use: goldsmith has no winrm.")
    winrm_port: Port = Field(0, description="Without use: goldsmith has no winrm.")
    winrm_username: str = Field("", description="Without use: goldsmith has no winrm.")
    winrm_password: str = Field("", description="Without use: goldsmith has no winrm.")
    winrm_timeout: DurationSeconds = Field(0.0, description="Without use: goldsmith has no winrm.")
    winrm_no_proxy: bool = Field(False, description="Without use: goldsmith has no winrm.")
    winrm_use_ssl: bool = Field(False, description="Without use: goldsmith has no winrm.")
    winrm_insecure: bool = Field(False, description="Without use: goldsmith has no winrm.")
    winrm_use_ntlm: bool = Field(False, description="Without use: goldsmith has no winrm.")


class CommunicatorOptions(WinrmOptions):
    """How a machine is reached."""

    communicator: str = Field("ssh", description='"ssh", or "none" where there is no machine.')
    pause_before_connecting: DurationSeconds = Field(
        0.0,
        description="Wait when the machine has answered for the first time, then connect again.",
    )
    ssh_host: str = Field("", description="The machine's name or address.")
    ssh_port: Port = Field(22, description="The port on which its sshd listens.")
    ssh_username: str = Field("", description="The user to log in as.")
    ssh_password: str = Field("", description="The password, also for keyboard-interactive.")
    ssh_private_key_file: str = Field(
        "", description="A private key that has no passphrase; ~ is the home directory."
    )
    ssh_certificate_file: str = Field(
        "", description="A certificate of the key in ssh_private_key_file."
    )
    ssh_agent_auth: bool = Field(
        False, description="Log in by the keys of the agent that SSH_AUTH_SOCK names."
    )
    ssh_disable_agent_forwarding: bool = Field(
        False, description="Do not lend the agent that SSH_AUTH_SOCK names to the machine."
    )
    ssh_host_keys: tuple[str, ...] = Field(
        (),
        description="The machine's host keys, each as a fingerprint (SHA256:…) or as a public key "
        "(ssh-ed25519 AAAA…): any other one is refused. Packer has no such option.",
    )
    ssh_bastion_host_keys: tuple[str, ...] = Field(
        (), description="The same for the bastion. Packer has no such option."
    )
    ssh_known_hosts_file: str = Field(
        "",
        description="A file such as ~/.ssh/known_hosts: a machine or bastion with a key that is "
        "not in it is refused. Packer has no such option.",
    )
    ssh_pty: bool = Field(False, description="Run commands in a pseudo terminal.")
    ssh_timeout: DurationSeconds = Field(
        TIMEOUT_S, description='How long to wait for the machine to answer; by default "5m".'
    )
    ssh_wait_timeout: DurationSeconds = Field(
        0.0, description="The old name of ssh_timeout; it counts where ssh_timeout is not given."
    )
    ssh_handshake_attempts: int = Field(
        HANDSHAKES, ge=0, description="How often the machine may refuse a login; 0 means 10."
    )
    ssh_keep_alive_interval: Annotated[
        float, BeforeValidator(_signed_duration), WrittenAs(STRING)
    ] = Field(
        KEEP_ALIVE_S,
        description="How often to ask whether the machine is still there; negative: never.",
    )
    ssh_read_write_timeout: DurationSeconds = Field(
        0.0,
        description="Give a connection up when the machine has not been heard of for so long; by "
        "default after two minutes.",
    )
    ssh_file_transfer_method: Literal["scp", "sftp"] = Field(
        "scp", description="How files are moved; both are there in any usual sshd."
    )
    ssh_ciphers: tuple[str, ...] = Field((), description="The ciphers to offer, best first.")
    ssh_key_exchange_algorithms: tuple[str, ...] = Field(
        (), description="The key exchange algorithms to offer, best first."
    )
    ssh_clear_authorized_keys: bool = Field(
        False,
        description="For builders that add a key of their own: remove it at the end. A null source "
        "adds none.",
    )
    ssh_keypair_name: str = Field("", description="For clouds; without use in a null source.")
    temporary_key_pair_name: str = Field("", description="For clouds; without use in null.")
    temporary_key_pair_type: Literal["", "rsa", "dsa", "ecdsa", "ed25519"] = Field(
        "", description="For clouds; without use in a null source."
    )
    temporary_key_pair_bits: int = Field(
        0, ge=0, description="For clouds; without use in a null source."
    )
    ssh_bastion_host: str = Field("", description="A machine through which to reach the other.")
    ssh_bastion_port: Port = Field(22, description="The port of the bastion's sshd.")
    ssh_bastion_agent_auth: bool = Field(False, description="Log in there by the agent's keys.")
    ssh_bastion_username: str = Field("", description="The user to log in there as.")
    ssh_bastion_password: str = Field("", description="The password there.")
    ssh_bastion_interactive: bool = Field(
        False,
        description="Offer the password there for keyboard-interactive too; it always is.",
    )
    ssh_bastion_private_key_file: str = Field("", description="A private key for the bastion.")
    ssh_bastion_certificate_file: str = Field("", description="A certificate of that key.")
    ssh_proxy_host: str = Field("", description="A SOCKS5 proxy through which to connect.")
    ssh_proxy_port: Port = Field(1080, description="The port of the proxy.")
    ssh_proxy_username: str = Field("", description="The user, where the proxy asks for one.")
    ssh_proxy_password: str = Field("", description="The password, where the proxy asks for one.")
    ssh_remote_tunnels: tuple[str, ...] = Field(
        (),
        description='Each "PORT:HOST:PORT": what connects to the first port on the machine reaches '
        "HOST:PORT as this host sees it.",
    )
    ssh_local_tunnels: tuple[str, ...] = Field(
        (),
        description='Each "PORT:HOST:PORT": what connects to the first port on this host reaches '
        "HOST:PORT as the machine sees it.",
    )

    @field_validator("ssh_remote_tunnels", "ssh_local_tunnels")
    @classmethod
    def _are_tunnels(cls, given: tuple[str, ...]) -> tuple[str, ...]:
        for text in given:
            parse_tunnel(text)
        return given

    @property
    def waits_s(self) -> float:
        """How long to wait for the machine to answer."""
        given = self.model_fields_set
        if "ssh_timeout" not in given and "ssh_wait_timeout" in given:
            return self.ssh_wait_timeout or TIMEOUT_S
        return self.ssh_timeout or TIMEOUT_S

    @property
    def handshakes(self) -> int:
        """How many refused logins are too many."""
        return self.ssh_handshake_attempts or HANDSHAKES

    @property
    def port(self) -> int:
        """The port of the machine's sshd."""
        return self.ssh_port or 22


def home_path(name: str) -> Path:
    """The path of a file that an option names; ~ is the home directory."""
    return Path(name).expanduser()
