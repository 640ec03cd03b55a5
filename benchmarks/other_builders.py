"""The other image builders that `cold_build` runs beside goldsmith.

diskimage-builder comes from PyPI into a virtual environment of its own; nothing of it is a
dependency of goldsmith. Its `vm` element divides the image with kpartx, which needs device-mapper.
A kernel without that (or a host without the programs) gets stand-ins, first on its PATH only:
kpartx adds the partitions with partx and links them to where kpartx would have put them, dmsetup
has nothing left to do, sudo runs what it is given. They save diskimage-builder work, if anything.

mkosi is run where it is installed, with the packages of goldsmith's image.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import venv
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from goldsmith.packages.apt_sources import AptSource

NAMESPACES = ("unshare", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child")
"""Before a command line: what it mounts and starts goes with it, however it ends."""

NEEDED = ("losetup", "partx", "qemu-img", "mkfs.ext4", "blkid", "curl", "git")
"""What diskimage-builder runs here, besides what every Debian has."""

_KPARTX = """\
#!/bin/sh
# kpartx of diskimage-builder's calls: -av DEVICE, -uvs DEVICE, -d DEVICE.
set -e
case $1 in
-d)
    rm -f /dev/mapper/"${2##*/}"p*
    # grub-install makes the control node, whatever the kernel has.
    if [ -e /dev/mapper/.stand-in ]; then
        rm -f /dev/mapper/.stand-in /dev/mapper/control
        rmdir --ignore-fail-on-non-empty /dev/mapper
    fi
    exec partx --delete "$2"
    ;;
esac
partx --update "$2"
if [ ! -e /dev/mapper ]; then
    mkdir /dev/mapper
    touch /dev/mapper/.stand-in
fi
for partition in "$2"p*; do
    ln -sf "$partition" "/dev/mapper/${partition##*/}"
    echo "add map ${partition##*/}"
done
"""
_DMSETUP = "#!/bin/sh\nexit 0\n"
_SUDO = """\
#!/bin/sh
# Everything runs as root already.
while :; do
    case $1 in
    -E|-n|-H|-i|--|--preserve-env) shift ;;
    -u|-g) shift 2 ;;
    *) break ;;
    esac
done
exec env "$@"
"""


def has_device_mapper() -> bool:
    """Whether the kernel can make the devices of kpartx. dmsetup(8)."""
    return "device-mapper" in Path("/proc/misc").read_text()


class DiskImageBuilder:
    """diskimage-builder in a directory of its own; `remark` says with what it runs."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._bin = directory / "venv/bin"
        stand_ins = {} if shutil.which("sudo") else {"sudo": _SUDO}
        if not has_device_mapper() or not shutil.which("kpartx"):
            stand_ins |= {"kpartx": _KPARTX, "dmsetup": _DMSETUP}
        self._stand_ins = stand_ins
        self.version = ""

    @property
    def remark(self) -> str:
        """What of this host it cannot use, and what it runs with instead."""
        if not self._stand_ins:
            return "with this host's own programs"
        why = (
            "device-mapper of its own" if has_device_mapper() else "no device-mapper in this kernel"
        )
        return f"with stand-ins for {', '.join(sorted(self._stand_ins))} ({why}; partx instead)"

    def install(self) -> None:
        """Install it from the package index that pip is set up for, and write the stand-ins."""
        venv.create(self._bin.parent, with_pip=True)
        python = self._bin / "python"
        subprocess.run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
                        "diskimage-builder"], check=True)  # fmt: skip
        self._prepare(python)

    def use_installed(self, programs: Path) -> None:
        """Take the one whose programs lie in a directory, and write the stand-ins."""
        self._bin = programs
        self._prepare(programs / "python")

    def _prepare(self, python: Path) -> None:
        asked = "import importlib.metadata as m; print(m.version('diskimage-builder'))"
        self.version = subprocess.run(
            [python, "-c", asked], check=True, capture_output=True, text=True
        ).stdout.strip()
        programs = self._directory / "stand-ins"
        programs.mkdir()
        for name, text in self._stand_ins.items():
            (programs / name).write_text(text)
            (programs / name).chmod(0o755)

    def command(self, target: Path) -> list[str]:
        """Its command line, without `--checksum`; `target` has no ending yet."""
        return [*NAMESPACES, str(self._bin / "disk-image-create"), "-t", "qcow2", "-o", str(target),
                "vm", "debian-minimal"]  # fmt: skip

    def environment(self, work: Path, suite: str, sources: Sequence[AptSource]) -> dict[str, str]:
        """Where it works, with nothing cached, and this host's APT sources.

        TMPDIR is not among it and must not be set: its programs in the tree would believe it.
        """
        lines = dict.fromkeys(
            f"deb {source.uris[0]} {suite_name} {' '.join(source.components)}"
            for source in sources
            for suite_name in source.suites
        )
        named = "\n".join(f"source{number}:{line}" for number, line in enumerate(lines))
        path = f"{self._directory / 'stand-ins'}:{self._bin}:{os.environ['PATH']}"
        return {
            "PATH": path, "DIB_RELEASE": suite, "TMP_DIR": str(work),
            "DIB_IMAGE_CACHE": str(work / "cache"), "DIB_NO_TIMESTAMP": "1",
            "DIB_DISTRIBUTION_MIRROR": sources[0].uris[0],
            "DIB_APT_SOURCES_CONF": named,
        }  # fmt: skip


@contextmanager
def disk_image_builder(place: Path) -> Iterator[DiskImageBuilder | None]:
    """diskimage-builder for the length of a block; None, with a line on stderr, where it cannot."""
    missing = [tool for tool in NEEDED if shutil.which(tool) is None]
    if missing:
        print(f"no diskimage-builder: it needs {', '.join(missing)}", file=sys.stderr)
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="diskimage-builder.", dir=place) as directory:
        Path(directory).chmod(0o755)
        builder = DiskImageBuilder(Path(directory))
        try:
            builder.install()
        except subprocess.CalledProcessError as e:
            print(f"no diskimage-builder: pip ended with {e.returncode}", file=sys.stderr)
            yield None
        else:
            yield builder


def detach_loops(directory: Path) -> None:
    """Let go of loop devices over files of a directory that a builder was killed before it did."""
    listed = subprocess.run(["losetup", "--list", "--noheadings", "--output", "NAME,BACK-FILE"],
                            check=True, capture_output=True, text=True).stdout  # fmt: skip
    for line in listed.splitlines():
        device, _, file = line.partition(" ")
        if file.strip().startswith(f"{directory}/"):
            subprocess.run(["losetup", "--detach", device], check=False)


def mkosi_command(work: Path, suite: str, packages: Sequence[str]) -> list[str] | None:
    """mkosi's command line, to be run in `work`, its settings written there; None without mkosi."""
    program = shutil.which("mkosi")
    if program is None:
        return None
    (work / "mkosi.conf").write_text(
        f"[Distribution]\nDistribution=debian\nRelease={suite}\n"
        "[Output]\nFormat=disk\nOutput=image\n"
        f"[Content]\nBootable=yes\nPackages={','.join(packages)}\n"
    )
    return [*NAMESPACES, program, "build"]
