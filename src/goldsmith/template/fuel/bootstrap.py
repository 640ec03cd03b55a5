"""The input of `fa-mkbootstrap` as a build: a squashfs root, and /boot in an image of its own."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any, Final

from goldsmith.deploy.bootstrap_image import ROOT
from goldsmith.template.fuel.bootstrap_input import BOOT_IMAGE, BootstrapInput

METADATA_NAME: Final = "set"
"""The image set's own metadata, which the bootstrap image's are made from."""

_CERTIFICATES: Final = "/usr/local/share/ca-certificates"
_KEYS_DIRECTORY: Final = PurePosixPath("/root", ".ssh")
_KEYS: Final = _KEYS_DIRECTORY / "authorized_keys"
_LVM_NAMES: Final = (
    "if [ -f /etc/lvm/lvm.conf ]; then "
    "sed -i 's|^[#[:space:]]*preferred_names *=.*|\\tpreferred_names = [ \"^/dev/mapper/\" ]|' "
    "/etc/lvm/lvm.conf; fi"
)


def image_set(given: BootstrapInput) -> dict[str, Any]:
    """The options `image_set` of the `image` source.

    The root's fstab mounts no /boot: the machine that runs from memory has none.
    """
    return {
        "metadata": METADATA_NAME, "container": "raw",
        "image": {
            "/": {"filesystem": "squashfs", "file": ROOT,
                  "filesystem_options": ["-comp", given.compression("rootfs")]},
            "/boot": {"filesystem": "ext2", "file": BOOT_IMAGE,
                      "mount_options": ["noauto", "nofail"]},
        },
    }  # fmt: skip


def provisioners(given: BootstrapInput) -> list[tuple[str, Mapping[str, Any]]]:
    """What is done to the tree after its packages are installed: type and options of each."""
    wanted = given.bootstrap
    found: list[tuple[str, Mapping[str, Any]]] = []

    def put(source: str, destination: str) -> None:
        found.append(("file", {"source": _literal(source), "destination": destination}))

    def shell(*commands: str) -> None:
        found.append(("shell", {"inline": [_literal(c) for c in commands], "network": False}))

    for directory in wanted.extra_files:
        put(f"{Path(directory).absolute()}/", "/")
    if wanted.certs:
        shell(f"mkdir -p {_CERTIFICATES}")
    for place in wanted.certs:
        put(str(Path(place).absolute()), f"{_CERTIFICATES}/{Path(place).stem}.crt")
    if wanted.certs:
        shell("update-ca-certificates")
    if wanted.root_ssh_authorized_file:
        shell(f"mkdir -p -m 0700 {_KEYS_DIRECTORY}")
        put(str(Path(wanted.root_ssh_authorized_file).absolute()), str(_KEYS))
        shell(f"chown root:root {_KEYS}", f"chmod 0600 {_KEYS}")
    compression = shlex.quote(f"COMPRESS={given.compression('initrd')}")
    identity = shlex.quote(f"runtime_uuid: {wanted.uuid}")
    shell(
        "mkdir -p /etc/initramfs-tools/conf.d /etc/nailgun-agent",
        f"printf '%s\\n' {compression} >/etc/initramfs-tools/conf.d/compress",
        f"printf '%s\\n' {identity} >>/etc/nailgun-agent/config.yaml",
        _LVM_NAMES,
    )
    if wanted.post_script_file:
        script = str(Path(wanted.post_script_file).absolute())
        found.append(("shell", {"script": _literal(script)}))
    return found


def _literal(text: str) -> str:
    """A text in which Go's templates find nothing to fill in."""
    return text.replace("{{", '{{"{{"}}')
