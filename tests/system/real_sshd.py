"""A real sshd on a loopback port, with keys of its own, for the tests of the ssh communicator."""

from __future__ import annotations

import contextlib
import getpass
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

STARTS_WITHIN_S = 120
KINDS = ("ed25519", "ecdsa", "rsa")
CONFIG = """\
ListenAddress 127.0.0.1:{port}
{host_keys}
PidFile none
AuthorizedKeysFile {place}/authorized
TrustedUserCAKeys {place}/authority.pub
StrictModes no
UsePAM no
PasswordAuthentication no
PermitRootLogin yes
MaxStartups 100
MaxSessions 100
Subsystem sftp internal-sftp
"""


@dataclass(frozen=True)
class Sshd:
    """A running sshd, and the files of its keys."""

    port: int
    place: Path
    user: str

    @property
    def key(self) -> Path:
        """A private key that is let in."""
        return self.place / "user"

    def fingerprint(self, kind: str) -> str:
        """The fingerprint of one of its host keys."""
        public = str(self.place / f"host_{kind}.pub")
        listed = subprocess.run(
            ["ssh-keygen", "-lf", public], check=True, capture_output=True, text=True
        )
        return listed.stdout.split()[1]

    def public_key(self, kind: str) -> str:
        """One of its host keys, as a line."""
        return (self.place / f"host_{kind}.pub").read_text().strip()

    def options(self, **more: object) -> dict[str, object]:
        """Options of a source that reaches it; nothing here waits for less than minutes."""
        return {
            "ssh_host": "127.0.0.1", "ssh_port": self.port, "ssh_username": self.user,
            "ssh_private_key_file": str(self.key), "ssh_timeout": "4m", **more,
        }  # fmt: skip


def make_key(path: Path, kind: str = "ed25519", passphrase: str = "") -> Path:
    """A pair of keys."""
    argv = ["ssh-keygen", "-q", "-t", kind, "-N", passphrase, "-C", "test", "-f", str(path)]
    subprocess.run(argv, check=True)
    return path


def free_port() -> int:
    """A port on which nothing listens now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for_banner(port: int) -> None:
    """Wait until something on the port speaks as an SSH server does."""
    deadline_s = time.monotonic() + STARTS_WITHIN_S
    while time.monotonic() < deadline_s:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 30) as one:
            if one.recv(4).startswith(b"SSH-"):
                return
        time.sleep(0.05)
    raise AssertionError(f"no sshd answers on port {port}")


@contextlib.contextmanager
def running_sshd(place: Path, kinds: Sequence[str] = KINDS) -> Iterator[Sshd]:
    """Start it, with host keys of these kinds; it and its sessions end with the block."""
    place.mkdir()
    for kind in kinds:
        make_key(place / f"host_{kind}", kind)
    make_key(place / "user")
    make_key(place / "authority")
    (place / "authorized").write_text((place / "user.pub").read_text())
    # What Debian's unit makes; sshd does not start without it.
    Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    port = free_port()
    host_keys = "\n".join(f"HostKey {place}/host_{kind}" for kind in kinds)
    (place / "config").write_text(CONFIG.format(port=port, host_keys=host_keys, place=place))
    with (place / "log").open("wb") as log:
        server = subprocess.Popen(
            ["/usr/sbin/sshd", "-D", "-e", "-f", str(place / "config")],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        )  # fmt: skip
    try:
        wait_for_banner(port)
        yield Sshd(port, place, getpass.getuser())
    finally:
        server.terminate()
        server.wait()
