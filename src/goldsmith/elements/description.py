"""What an image of elements is made of: all that its tree depends on, in one value."""

from __future__ import annotations

import difflib
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from goldsmith.elements.phases import Breaks

DEBIAN_ARCHITECTURES: Final = {"x86_64": "amd64", "aarch64": "arm64"}
"""Debian's names of architectures, by the kernel's."""
_ARCHITECTURES: Final = frozenset({
    "aarch64", "alpha", "amd64", "arm64", "armel", "armhf", "armv6l", "armv7hl", "armv7l", "hppa",
    "i386", "i486", "i586", "i686", "ia64", "loong64", "loongarch64", "m68k", "mips", "mips64",
    "mips64el", "mipsel", "powerpc", "ppc", "ppc64", "ppc64el", "ppc64le", "riscv64", "s390",
    "s390x", "sh4", "sparc", "sparc64", "x32", "x86", "x86_64",
})  # fmt: skip
"""What distributions and kernels call architectures: whatever elements are told is one of them."""
DEFAULT_JOURNAL_MIB: Final = 64
"""The journal of an ext4 root."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """One image, as `disk-image-create` was asked for it."""

    elements: tuple[str, ...]
    """The names after `expansion.asked_for`: with `base` and a partition table."""
    arch: str = "amd64"
    image_name: str = "image"
    """As `-o` has it: may be a path, relative to the caller's directory."""
    image_types: tuple[str, ...] = ("qcow2",)
    packages: tuple[str, ...] = ()
    install_type: str = "source"
    offline: bool = False
    trace: int = 0
    ramdisk: bool = False
    compat_elements: bool = True
    """Whether images made by APT get `apt-keys` and `build-settings`."""
    arguments: str = ""
    """The words of the command line, which manifests store."""
    root_filesystem: str = "ext4"
    image_cache: str = ""
    """Where hooks keep what they fetch; "" is `~/.cache/image-create`."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """The caller's, as given."""
    cache_ttl_s: float | None = None
    """How long results of phases are used, in seconds; None is the default of all steps."""

    @property
    def breaks(self) -> Breaks:
        """Where the variable `break` asks for a shell; raises ElementError for one that is none."""
        return Breaks.of(self.environment)


def known_architecture(name: str) -> str:
    """The name, "" for this host's; raises ValueError where no distribution has such a one."""
    if name and name not in _ARCHITECTURES and name != platform.machine():
        near = difflib.get_close_matches(name, _ARCHITECTURES, n=1)
        meant = f"; did you mean {near[0]}?" if near else ""
        raise ValueError(f"{name}: there is no such architecture{meant}")
    return name
