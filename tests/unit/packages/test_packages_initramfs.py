"""The diversion of update-initramfs, and what is read of an initramfs."""

from __future__ import annotations

import gzip
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from goldsmith.errors import CommandFailed
from goldsmith.host.process import Completed
from goldsmith.packages.errors import PackageError
from goldsmith.packages.initramfs import (
    DIVERTED,
    STUB,
    STUB_CONTENT,
    compression_of,
    configured_compression,
    divert_update_initramfs,
    generate,
    installed_kernels,
    packs_itself,
    restore_update_initramfs,
)

ZSTD = b"\x28\xb5\x2f\xfd" + b"x" * 40


def cpio(*members: tuple[bytes, bytes]) -> bytes:
    """A "newc" archive, written by the format's description in cpio(5)."""
    out = b""
    for name, data in (*members, (b"TRAILER!!!", b"")):
        fields = [0, 0o100644, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0]
        out += b"070701" + b"".join(b"%08X" % field for field in fields) + name + b"\0"
        out += b"\0" * (-len(out) % 4) + data
        out += b"\0" * (-len(out) % 4)
    return out + b"\0" * (-len(out) % 512)


EARLY = cpio((b"kernel/x86/microcode/GenuineIntel.bin", b"m" * 1001))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (ZSTD, "zstd"),
        (gzip.compress(b"x"), "gzip"),
        (b"\xfd7zXZ\x00x", "xz"),
        (b"\x02\x21\x4c\x18xxx", "lz4"),
        (EARLY + ZSTD, "zstd"),
        (EARLY + b"\0" * 4096 + cpio((b"second", b"")) + gzip.compress(b"x"), "gzip"),
        (EARLY, "none"),
        (EARLY[:200], "none"),
        (b"", "unknown"),
        (b"plain text", "unknown"),
    ],
)
def test_compression(content: bytes, expected: str) -> None:
    assert compression_of(io.BytesIO(content)) == expected


def make_tree(tmp_path: Path, *, kernels: Sequence[str] = ("6.1.0-1",)) -> Path:
    for folder in ("boot", "usr/sbin", "usr/bin", "etc/initramfs-tools/conf.d", "var/lib/dpkg",
                   "usr/lib/modules"):  # fmt: skip
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "lib").symlink_to("usr/lib")
    (tmp_path / "usr/bin/dpkg-divert").touch()
    (tmp_path / "etc/initramfs-tools/initramfs.conf").write_text("COMPRESS=zstd\n")
    for kernel in kernels:
        (tmp_path / f"boot/vmlinuz-{kernel}").touch()
        (tmp_path / f"usr/lib/modules/{kernel}").mkdir()
    return tmp_path


class Chroot:
    """Does in a tree what dpkg-divert and update-initramfs do, and keeps what it was asked."""

    def __init__(self, tree: Path, made: bytes = ZSTD, status: int = 0) -> None:
        self.tree, self.made, self.status = tree, made, status
        self.calls: list[tuple[tuple[str, ...], dict[str, str]]] = []

    def __call__(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        input: bytes | None = None,
    ) -> Completed:
        self.calls.append((tuple(argv), dict(env or {})))
        stub, diverted = (self.tree / path[1:] for path in (STUB, DIVERTED))
        database = self.tree / "var/lib/dpkg/diversions"
        if argv[0] == "dpkg-divert" and "--add" in argv:
            stub.rename(diverted)
            database.write_text(f"{STUB}\n{DIVERTED}\n:\n")
        elif argv[0] == "dpkg-divert":
            assert not stub.exists(), "dpkg-divert refuses to overwrite"
            if diverted.exists():
                diverted.rename(stub)
            database.write_text("")
        elif argv[0] == "update-initramfs":
            (self.tree / f"boot/initrd.img-{argv[3]}").write_bytes(self.made)
        return Completed(tuple(argv), self.status, b"", (), 0.0)


def test_divert_and_restore(tmp_path: Path) -> None:
    tree = make_tree(tmp_path)
    original = tree / STUB[1:]
    original.write_text("original")
    chroot = Chroot(tree)
    assert divert_update_initramfs(tree, chroot)
    assert divert_update_initramfs(tree, chroot)
    assert len(chroot.calls) == 1
    assert original.read_bytes() == STUB_CONTENT
    assert original.stat().st_mode & 0o777 == 0o755
    assert restore_update_initramfs(tree, chroot)
    assert original.read_text() == "original"
    assert not restore_update_initramfs(tree, chroot)


def test_a_tree_without_dpkg(tmp_path: Path) -> None:
    chroot = Chroot(tmp_path)
    assert not divert_update_initramfs(tmp_path, chroot)
    assert generate(tmp_path, chroot, source_date_epoch=1) == ()
    assert chroot.calls == []


def test_a_replaced_stub_is_reported(tmp_path: Path) -> None:
    tree = make_tree(tmp_path)
    (tree / "var/lib/dpkg/diversions").write_text(f"{STUB}\n{DIVERTED}\n:\n")
    (tree / STUB[1:]).write_text("a user's own")
    with pytest.raises(PackageError, match="was replaced"):
        restore_update_initramfs(tree, Chroot(tree))


def test_generate_once_for_each_kernel(tmp_path: Path) -> None:
    tree = make_tree(tmp_path, kernels=("6.1.0-2", "6.1.0-1"))
    (tree / "boot/vmlinuz-5.0-no-modules").touch()
    (tree / "boot/initrd.img-4.0-removed").touch()
    (tree / STUB[1:]).write_text("original")
    chroot = Chroot(tree)
    divert_update_initramfs(tree, chroot)
    said: list[str] = []
    made = generate(tree, chroot, source_date_epoch=77, emit=said.append)
    assert [(i.kernel, i.path, i.compression) for i in made] == [
        ("6.1.0-1", "/boot/initrd.img-6.1.0-1", "zstd"),
        ("6.1.0-2", "/boot/initrd.img-6.1.0-2", "zstd"),
    ]
    assert chroot.calls[-1] == (
        ("update-initramfs", "-c", "-k", "6.1.0-2"),
        {"SOURCE_DATE_EPOCH": "77"},
    )
    assert installed_kernels(tree) == ("6.1.0-1", "6.1.0-2")
    assert not (tree / "boot/initrd.img-4.0-removed").exists()
    assert len(said) == 2


def test_silent_gzip_is_an_error(tmp_path: Path) -> None:
    tree = make_tree(tmp_path)
    (tree / STUB[1:]).write_text("original")
    with pytest.raises(PackageError, match=r"with gzip, but initramfs\.conf says zstd") as caught:
        generate(tree, Chroot(tree, gzip.compress(b"")), source_date_epoch=1)
    assert "zstd" in str(caught.value.hint)


def test_failure_in_the_tree(tmp_path: Path) -> None:
    tree = make_tree(tmp_path)
    (tree / STUB[1:]).write_text("original")
    with pytest.raises(CommandFailed, match="update-initramfs"):
        generate(tree, Chroot(tree, status=1), source_date_epoch=1)


def test_configured_compression(tmp_path: Path) -> None:
    assert configured_compression(tmp_path) == "gzip"
    tree = make_tree(tmp_path)
    assert configured_compression(tree) == "zstd"
    (tree / "etc/initramfs-tools/conf.d/b").write_text('# COMPRESS=xz\nexport COMPRESS="pigz"\n')
    (tree / "etc/initramfs-tools/conf.d/a").write_text("COMPRESS=lz4\n")
    (tree / "etc/initramfs-tools/conf.d/c~").write_text("COMPRESS=xz\n")
    assert configured_compression(tree) == "pigz"
    last = tree / "usr/share/initramfs-tools/conf-hooks.d/crypt~setup"
    last.parent.mkdir(parents=True)
    last.write_text("COMPRESS=lzop\n")
    assert configured_compression(tree) == "lzop"
    last.unlink()
    (tree / STUB[1:]).write_text("original")
    generate(tree, Chroot(tree, gzip.compress(b"")), source_date_epoch=1)


def test_who_packs_it(tmp_path: Path) -> None:
    def packs(lends_zstd: bool) -> bool:
        return packs_itself(tree, installed_kernels(tree), lends_zstd=lends_zstd)

    tree = make_tree(tmp_path)
    config = tree / "boot/config-6.1.0-1"
    config.write_text("CONFIG_RD_ZSTD=y\n")
    assert (packs(True), packs(False)) == (True, False)
    (tree / "usr/bin/zstd").touch()
    (tree / "usr/sbin/mkinitramfs").write_text('\n$compress -c "${__TMPMAINCPIO}" ||\n\texit 1\n')
    assert (packs(True), packs(False)) == (True, True)
    config.write_text("# CONFIG_RD_ZSTD is not set\n")
    assert (packs(True), packs(False)) == (False, False)
    config.write_text("CONFIG_RD_ZSTD=y\n")
    level = tree / "etc/initramfs-tools/conf.d/level"
    level.write_text("# COMPRESSLEVEL=9\n")
    assert packs(False)
    level.write_text("COMPRESSLEVEL=9\n")
    assert (packs(True), packs(False)) == (False, False)
    level.write_text("COMPRESS=xz\n")
    assert (packs(True), packs(False)) == (False, False)
