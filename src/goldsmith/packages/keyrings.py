"""The keys that repositories are signed with: which one fits a suite, and keys from files.

A key that a template names is carried as text, so neither the user as which APT downloads nor the
tree needs to reach its file. Source: gpgv(1), RFC 4880 (4.2 packet headers, 6.2 armor).
"""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import Final

from goldsmith.packages.errors import PackageError

DEBIAN_KEYRING: Final = "/usr/share/keyrings/debian-archive-keyring.gpg"
UBUNTU_KEYRING: Final = "/usr/share/keyrings/ubuntu-archive-keyring.gpg"

_KEYRING_PACKAGES: Final = {
    DEBIAN_KEYRING: "debian-archive-keyring", UBUNTU_KEYRING: "ubuntu-keyring",
}  # fmt: skip
_UBUNTU_SUITES: Final = frozenset({
    "trusty", "xenial", "bionic", "focal", "jammy", "kinetic", "lunar", "mantic", "noble",
    "oracular", "plucky", "questing", "devel",
})  # fmt: skip
_ARMOR_BEGIN: Final = "-----BEGIN PGP PUBLIC KEY BLOCK-----"
_ARMOR_END: Final = "-----END PGP PUBLIC KEY BLOCK-----"
# Tag 6 (public key) with an old packet header of one, two or four length bytes, or a new one.
_PUBLIC_KEY_PACKETS: Final = (0x98, 0x99, 0x9A, 0xC6)
_SIZE_LIMIT_BYTES: Final = 4 << 20


def keyring_for(suite: str, host_root: Path = Path("/")) -> str:
    """The keyring of this host that a distribution's mirror of `suite` is checked with.

    Raises PackageError when the host lacks it: nothing is ever taken unchecked instead.
    """
    keyring = UBUNTU_KEYRING if suite.partition("-")[0] in _UBUNTU_SUITES else DEBIAN_KEYRING
    if (host_root / keyring.lstrip("/")).is_file():
        return keyring
    raise PackageError(
        f"this host has no {keyring} to check the mirror's signatures with",
        hint=f"apt-get install {_KEYRING_PACKAGES[keyring]}",
    )


def keys_digest(signed_by: str, host_root: Path = Path("/")) -> str:
    """The SHA-256 of the files of this host with the keys that a source is checked with.

    `signed_by` is as in a source: of the paths in it, else of all that APT trusts.
    """
    etc = host_root / "etc/apt"
    if _ARMOR_BEGIN in signed_by:
        named: list[Path] = []
    else:
        words = signed_by.replace(",", " ").split()
        named = [host_root / word.lstrip("/") for word in words if word.startswith("/")]
        named = named or [etc / "trusted.gpg", *sorted(etc.glob("trusted.gpg.d/*"))]
    digest = hashlib.sha256()
    for path in named:
        try:
            content = path.read_bytes()
        except OSError:
            content = b""
        digest.update(f"{path}\0{len(content)}\0".encode("utf-8", "surrogateescape") + content)
    return digest.hexdigest()


def read_key(path: Path) -> str:
    """A keyring's public keys as armored text, for Signed-By.

    Raises PackageError for a file that is absent, or has no public keys in a form that APT knows.
    """
    try:
        if path.stat().st_size > _SIZE_LIMIT_BYTES:
            raise PackageError(f"{path} is no keyring: it is too large")
        content = path.read_bytes()
    except OSError as e:
        raise PackageError(f"the keyring {path} cannot be read: {e.strerror}") from e
    text = content.decode("ascii", errors="replace")
    if _ARMOR_BEGIN in text and _ARMOR_END in text:
        return text[text.index(_ARMOR_BEGIN) : text.rindex(_ARMOR_END)] + f"{_ARMOR_END}\n"
    if "BEGIN PGP PRIVATE KEY" in text:
        raise PackageError(f"{path} holds a private key", hint="gpg --export makes the public one")
    if content[8:12] == b"KBXf":
        raise PackageError(
            f"{path} is a keybox of GnuPG, which APT cannot read",
            hint=f"gpg --no-default-keyring --keyring {path} --export > KEYRING.gpg",
        )
    if not content or content[0] not in _PUBLIC_KEY_PACKETS:
        raise PackageError(f"{path} is no keyring: it has no OpenPGP public key")
    encoded = base64.b64encode(content).decode()
    lines = [encoded[start : start + 64] for start in range(0, len(encoded), 64)]
    return "\n".join([_ARMOR_BEGIN, "", *lines, _ARMOR_END, ""])
