"""What is wrong with options by which a machine is to be reached, before anything is tried."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from goldsmith.communicators.ssh.options import (
    CommunicatorOptions,
    WinrmOptions,
    home_path,
)
from goldsmith.core.options import Finding
from goldsmith.errors import Severity

SSH: Final = "ssh"
NONE: Final = "none"
WINRM: Final = "winrm"
_OF_CLOUDS: Final = ("ssh_keypair_name", "temporary_key_pair_name")
_FILES: Final = ("ssh_private_key_file", "ssh_certificate_file", "ssh_bastion_private_key_file",
                 "ssh_bastion_certificate_file", "ssh_known_hosts_file")  # fmt: skip


def check_communicator(options: CommunicatorOptions) -> Sequence[Finding]:
    """Every finding about the options; the files that they name are looked for."""
    kind = options.communicator or SSH
    if kind == WINRM:
        return [
            Finding(
                'goldsmith has no communicator "winrm"', ("communicator",),
                "Windows brings an SSH server (Settings, optional features, OpenSSH Server): "
                'switch it on in the machine and write communicator = "ssh".',
            )
        ]  # fmt: skip
    if kind == NONE:
        given = sorted(options.model_fields_set & set(CommunicatorOptions.model_fields))
        return [
            Finding(f'{name} has no meaning with communicator = "none"', (name,))
            for name in given
            if name != "communicator"
        ]
    if kind != SSH:
        return [
            Finding(f"communicator {kind!r} does not exist", ("communicator",),
                    'Write communicator = "ssh", or "none".')
        ]  # fmt: skip
    return [*_of_login(options), *_of_route(options), *_of_files(options),
            *_of_algorithms(options), *_without_use(options)]  # fmt: skip


def _of_login(options: CommunicatorOptions) -> Iterator[Finding]:
    if not options.ssh_host:
        yield Finding("ssh_host is missing: which machine is to be reached?", ("ssh_host",),
                      'Write communicator = "none" where there is none.')  # fmt: skip
    if not options.ssh_username:
        yield Finding("ssh_username is missing: as which user?", ("ssh_username",))
    ways = [name for name in ("ssh_agent_auth", "ssh_password", "ssh_private_key_file")
            if getattr(options, name)]  # fmt: skip
    if len(ways) > 1:
        yield Finding(f"only one of {' and '.join(ways)} may be given", (ways[-1],))
    if not ways:
        yield Finding(
            "no way to log in is given", (),
            "Give one of ssh_password, ssh_private_key_file and ssh_agent_auth.",
        )  # fmt: skip
    if options.ssh_certificate_file and not options.ssh_private_key_file:
        yield Finding("ssh_certificate_file needs its key in ssh_private_key_file",
                      ("ssh_certificate_file",))  # fmt: skip


def _of_route(options: CommunicatorOptions) -> Iterator[Finding]:
    if not options.ssh_bastion_host:
        return
    if options.ssh_proxy_host:
        yield Finding("only one of ssh_bastion_host and ssh_proxy_host may be given",
                      ("ssh_proxy_host",))  # fmt: skip
    if not options.ssh_bastion_username:
        yield Finding("ssh_bastion_host needs ssh_bastion_username", ("ssh_bastion_host",))
    if not (options.ssh_bastion_agent_auth or options.ssh_bastion_password
            or options.ssh_bastion_private_key_file):  # fmt: skip
        yield Finding(
            "no way to log in to the bastion is given", ("ssh_bastion_host",),
            "Give ssh_bastion_password, ssh_bastion_private_key_file or ssh_bastion_agent_auth.",
        )  # fmt: skip
    if options.ssh_bastion_certificate_file and not options.ssh_bastion_private_key_file:
        yield Finding("ssh_bastion_certificate_file needs ssh_bastion_private_key_file",
                      ("ssh_bastion_certificate_file",))  # fmt: skip


def _of_files(options: CommunicatorOptions) -> Iterator[Finding]:
    from goldsmith.communicators.ssh.host_keys import pin_mistake

    for name in _FILES:
        path = getattr(options, name)
        if path and (mistake := _unreadable(home_path(path))):
            yield Finding(f"{name}: {path}: {mistake}", (name,))
    for name in ("ssh_host_keys", "ssh_bastion_host_keys"):
        for number, pin in enumerate(getattr(options, name)):
            if mistake := pin_mistake(pin):
                yield Finding(mistake, (name, number), "ssh-keyscan HOST | ssh-keygen -lf - "
                              "prints the fingerprints of a machine's keys.")  # fmt: skip


def _of_algorithms(options: CommunicatorOptions) -> Iterator[Finding]:
    named = {"ssh_ciphers": "encryption_algs", "ssh_key_exchange_algorithms": "kex_algs"}
    for name, argument in named.items():
        given = getattr(options, name)
        if given and (mistake := _refused_algorithms(argument, given)):
            yield Finding(f"{name}: {mistake}", (name,))


def _refused_algorithms(argument: str, given: Sequence[str]) -> str:
    try:
        import asyncssh
    except ImportError:
        return ""  # where it is missing, that is told before the build
    try:
        asyncssh.SSHClientConnectionOptions(
            config=None, known_hosts=None, client_keys=None, agent_path=None, username="-",
            **{argument: given},
        )  # fmt: skip
    except ValueError as e:
        return str(e)
    return ""


def _unreadable(path: Path) -> str:
    if not path.exists():
        return "there is no such file"
    if not path.is_file():
        return "this is not a file"
    return "" if os.access(path, os.R_OK) else "this file cannot be read"


def _without_use(options: CommunicatorOptions) -> Iterator[Finding]:
    for name in sorted(options.model_fields_set & set(WinrmOptions.model_fields)):
        yield Finding(f"{name} has no effect: goldsmith has no winrm", (name,), "",
                      Severity.WARNING)  # fmt: skip
    for name in _OF_CLOUDS:
        if getattr(options, name):
            yield Finding(f"{name} has no effect here: it is for clouds that make the machine",
                          (name,), "", Severity.WARNING)  # fmt: skip
    if "ssh_wait_timeout" in options.model_fields_set:
        yield Finding("ssh_wait_timeout is the old name of ssh_timeout", ("ssh_wait_timeout",),
                      "`goldsmith fix` renames it.", Severity.WARNING)  # fmt: skip
