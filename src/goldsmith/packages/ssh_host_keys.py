"""SSH host keys belong to a machine, not to an image: each machine makes its own at first boot."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from goldsmith.host.confined import confined, make_directory, remove_confined, write_confined

PRIVATE_KEYS: Final = tuple(
    f"/etc/ssh/ssh_host_{kind}_key" for kind in ("rsa", "dsa", "ecdsa", "ed25519")
)
"""What openssh-server makes when it is installed, unless it is there."""
UNIT_NAME: Final = "goldsmith-ssh-host-keys.service"
UNIT_FILE: Final = f"/etc/systemd/system/{UNIT_NAME}"

# ssh.socket is started before basic.target, so the default dependencies would make a cycle.
_UNIT: Final = b"""[Unit]
Description=Make the SSH host keys of this machine
Documentation=man:ssh-keygen(1)
DefaultDependencies=no
ConditionPathExists=|!/etc/ssh/ssh_host_rsa_key
ConditionPathExists=|!/etc/ssh/ssh_host_ecdsa_key
ConditionPathExists=|!/etc/ssh/ssh_host_ed25519_key
After=systemd-remount-fs.service local-fs.target
Before=ssh.service ssh.socket sshd.service shutdown.target
Conflicts=shutdown.target
RequiresMountsFor=/etc/ssh

[Service]
Type=oneshot
ExecStart=/usr/bin/ssh-keygen -A
RemainAfterExit=yes

[Install]
WantedBy=ssh.service ssh.socket
"""
_WANTED_BY: Final = ("ssh.service", "ssh.socket")


def remove_host_keys(tree: Path) -> bool:
    """Remove every host key, public and private; returns whether there was any."""
    folder = confined(tree, "/etc/ssh", follow_last=True)
    keys = sorted(folder.glob("ssh_host_*_key*")) if folder.is_dir() else []
    for key in keys:
        key.unlink()
    return bool(keys)


def install_first_boot_unit(tree: Path) -> None:
    """Write the unit that makes missing host keys before the SSH server starts, and enable it."""
    write_confined(tree, UNIT_FILE, _UNIT)
    for unit in _WANTED_BY:
        folder = f"/etc/systemd/system/{unit}.wants"
        make_directory(tree, folder)
        remove_confined(tree, f"{folder}/{UNIT_NAME}")
        confined(tree, f"{folder}/{UNIT_NAME}").symlink_to(f"../{UNIT_NAME}")


def finish_host_keys(tree: Path, packages: frozenset[str]) -> tuple[str, ...]:
    """Leave the tree without keys and with the unit, if it has an SSH server; returns warnings.

    `packages` are the names of the installed packages.
    """
    remove_host_keys(tree)
    if "openssh-server" not in packages:
        return ()
    if not packages & {"systemd", "systemd-sysv"}:
        return (
            "the image has an SSH server and no systemd: nothing makes its host keys at first boot",
        )
    install_first_boot_unit(tree)
    return ()
