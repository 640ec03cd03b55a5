"""What tells one machine from another: host name, machine id, resolver, seeds."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from goldsmith.host.confined import confined, read_confined, remove_confined, write_confined
from goldsmith.packages.errors import PackageError

_LABEL: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?")
_HOSTNAME_LIMIT: Final = 64
_HOSTS: Final = """127.0.0.1\tlocalhost
::1\t\tlocalhost ip6-localhost ip6-loopback
ff02::1\t\tip6-allnodes
ff02::2\t\tip6-allrouters
"""
_MACHINE_IDS: Final = ("/etc/machine-id", "/var/lib/dbus/machine-id")
_SEEDS: Final = (
    "/var/lib/systemd/random-seed",
    "/var/lib/systemd/credential.secret",
    "/var/lib/urandom/random-seed",
)


def set_hostname(tree: Path, hostname: str) -> None:
    """Write /etc/hostname, and the name's line in /etc/hosts at 127.0.1.1 as Debian has it.

    Other lines of /etc/hosts stay. Raises PackageError for a name that hostname(5) forbids.
    """
    labels = hostname.split(".")
    if len(hostname) > _HOSTNAME_LIMIT or not all(map(_LABEL.fullmatch, labels)):
        raise PackageError(
            f"{hostname!r} is not a host name",
            hint=f"letters, digits and hyphens, at most {_HOSTNAME_LIMIT} characters",
        )
    write_confined(tree, "/etc/hostname", f"{hostname}\n".encode())
    present = read_confined(tree, "/etc/hosts")
    text = _HOSTS if present is None else present.decode(errors="surrogateescape")
    write_confined(tree, "/etc/hosts", _named(text, hostname).encode(errors="surrogateescape"))


def _named(hosts: str, hostname: str) -> str:
    """The text of /etc/hosts with the host's name at 127.0.1.1, in place of an older one."""
    names = " ".join(dict.fromkeys([hostname, hostname.partition(".")[0]]))
    line = f"127.0.1.1\t{names}"
    lines = hosts.splitlines()
    for number, old in enumerate(lines):
        if old.split()[:1] == ["127.0.1.1"]:
            lines[number] = line
            break
    else:
        local = [n for n, old in enumerate(lines) if old.split()[:1] == ["127.0.0.1"]]
        lines.insert(local[0] + 1 if local else 0, line)
    return "\n".join(lines) + "\n"


def clear_machine_id(tree: Path) -> None:
    """Leave an empty machine-id, which each machine fills at its first boot (machine-id(5)).

    Nothing is made in a tree that has none.
    """
    main, of_dbus = _MACHINE_IDS
    if confined(tree, main).exists() or confined(tree, main).is_symlink():
        write_confined(tree, main, b"", mode=0o444)
    # A link to /etc/machine-id is dbus's own way of having the same one.
    if not confined(tree, of_dbus).is_symlink():
        remove_confined(tree, of_dbus)


def clear_seeds(tree: Path) -> None:
    """Remove what would give every machine the same random numbers and the same secret."""
    for path in _SEEDS:
        remove_confined(tree, path)


def finish_resolv_conf(tree: Path, host_root: Path = Path("/")) -> None:
    """Leave the resolv.conf of packages and provisioners, and none that is the host's or empty.

    An empty one was made for the host's to be bound over it.
    """
    path = "/etc/resolv.conf"
    if confined(tree, path).is_symlink():
        return
    left = read_confined(tree, path)
    if left is not None and (not left.strip() or left == read_confined(host_root, path)):
        remove_confined(tree, path)
