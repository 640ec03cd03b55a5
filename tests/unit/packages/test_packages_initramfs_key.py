"""What makes another initramfs, and what does not."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from debian_tree import KERNEL, LAID_S, debian_tree, lay, write_status

from goldsmith.packages.initramfs_key import InitramfsInputs, initramfs_inputs
from goldsmith.packages.package_closure import closure, package_files

EPOCH_S = 1_500_000


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return debian_tree(tmp_path / "tree")


def inputs_of(tree: Path, dated_s: int | None = None) -> InitramfsInputs:
    return initramfs_inputs(tree, (KERNEL,), dated_s=dated_s)


def changed_by(
    tree: Path, change: Callable[[Path], object], dated_s: int | None = None
) -> set[str]:
    """The names of the inputs that are not as they were before a change."""
    before = inputs_of(tree, dated_s).named
    change(tree)
    after = inputs_of(tree, dated_s).named
    return {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}


def laying(path: str, mtime_s: int = LAID_S + 1) -> Callable[[Path], object]:
    return lambda tree: lay(tree, path, "another content", mtime_s=mtime_s)


def linking(path: str, target: str) -> Callable[[Path], object]:
    def change(tree: Path) -> None:
        place = tree / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.unlink(missing_ok=True)
        place.symlink_to(target)

    return change


CHANGES: dict[str, tuple[Callable[[Path], object], set[str]]] = {
    "an option": (
        laying("etc/initramfs-tools/initramfs.conf"), {"file:/etc/initramfs-tools/initramfs.conf"}
    ),
    "another option": (
        laying("etc/initramfs-tools/conf.d/x"),
        {"file:/etc/initramfs-tools/conf.d", "file:/etc/initramfs-tools/conf.d/x"},
    ),
    "fstab": (laying("etc/fstab"), {"file:/etc/fstab"}),
    "a file that was absent": (laying("etc/crypttab"), {"file:/etc/crypttab"}),
    "a file less": (
        lambda tree: (tree / "etc/udev/udev.conf").unlink(), {"file:/etc/udev/udev.conf"}
    ),
    "a mode": (lambda tree: (tree / "etc/fstab").chmod(0o600), {"file:/etc/fstab"}),
    "an upgrade": (lambda tree: write_status(tree, kmod="1.1"), {"package:kmod:amd64"}),
    "an essential one": (
        lambda tree: write_status(tree, **{"base-files": "2"}), {"package:base-files:amd64"}
    ),
    "a patched program": (laying("usr/bin/kmod"), {"package:kmod:amd64"}),
    "one with an old time": (laying("usr/bin/kmod", mtime_s=999), {"package:kmod:amd64"}),
    "a patched library": (
        laying("usr/lib/x86_64-linux-gnu/libkmod.so.2"), {"package:libkmod2:amd64"}
    ),
    "a removed program": (
        lambda tree: (tree / "usr/bin/kmod").unlink(), {"package:kmod:amd64"}
    ),
    "a module": (
        laying(f"lib/modules/{KERNEL}/updates/new.ko"), {f"files below:/lib/modules/{KERNEL}"}
    ),
    "a patched module": (
        laying(f"lib/modules/{KERNEL}/kernel/x.ko"), {"package:linux-image:amd64"}
    ),
    "firmware": (laying("lib/firmware/a.bin"), {"files below:/lib/firmware"}),
    "a local program": (laying("usr/local/sbin/x"), {"files below:/usr/local/sbin"}),
    "a program of nobody": (laying("usr/bin/lzop"), {"file:/usr/bin/lzop"}),
    "a library of nobody": (
        laying("usr/lib/x86_64-linux-gnu/libkmod.so.3"),
        {"file:/usr/lib/x86_64-linux-gnu/libkmod.so.3"},
    ),
    "a hook of nobody": (
        laying("usr/share/initramfs-tools/hooks/x"), {"file:/usr/share/initramfs-tools/hooks/x"}
    ),
    "a rule of nobody": (laying("lib/udev/rules.d/1.rules"), {"file:/lib/udev/rules.d/1.rules"}),
    "a time zone": (laying("usr/share/zoneinfo/Etc/UTC"), {"file:/etc/localtime"}),
    "an alternative": (linking("etc/alternatives/awk", "/usr/bin/gawk"), {"alternative:awk"}),
    "a moved boot": (
        lambda tree: ((tree / "boot").rename(tree / "b"), (tree / "boot").symlink_to("b")),
        {"link:/boot"},
    ),
    "what a link leads to": (
        lambda tree: lay(tree, "/srv/rules/1.rules"),
        {"file:/etc/udev/rules.d", "file:/etc/udev/rules.d/1.rules"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_that_counts(tree: Path, name: str) -> None:
    change, expected = CHANGES[name]
    if name == "what a link leads to":
        linking("etc/udev/rules.d", "/srv/rules")(tree)
        expected = expected - {"file:/etc/udev/rules.d"}
        (tree / "srv/rules").mkdir(parents=True)
    assert changed_by(tree, change) == expected


NOTHING: dict[str, Callable[[Path], object]] = {
    "motd": laying("etc/motd"),
    "a conffile of an essential package": laying("etc/issue"),
    "a new file": laying("srv/data"),
    "a home": laying("home/ops/.profile"),
    "another package": lambda tree: write_status(tree, tmux="3"),
    "a program of another package": laying("usr/bin/tmux"),
    "documentation": laying("usr/share/doc/kmod/changelog"),
    "the cache of the loader": laying("etc/ld.so.cache"),
    "a log": laying("var/log/dpkg.log"),
    "the time of a file": lambda tree: os.utime(tree / "etc/fstab", (5, 5)),
    "the time of a package's own": lambda tree: os.utime(tree / "etc/udev/udev.conf", (5, 5)),
    "the time of a directory": lambda tree: os.utime(tree / "etc/udev", (5, 5)),
    "an alternative of another package": linking("etc/alternatives/editor", "/usr/bin/vi"),
    "its link": linking("usr/bin/editor", "/etc/alternatives/editor"),
    "the initramfs itself": laying(f"boot/initrd.img-{KERNEL}"),
    "a file below a program's directory": laying("usr/lib/python3/x.so.py"),
}


@pytest.mark.parametrize("name", NOTHING)
def test_a_change_that_does_not_count(tree: Path, name: str) -> None:
    assert changed_by(tree, NOTHING[name]) == set()


def test_kernels(tree: Path) -> None:
    one, two = (initramfs_inputs(tree, kernels).named for kernels in ((KERNEL,), (KERNEL, "7")))
    assert one["kernels"] != two["kernels"]


def test_a_given_date_counts_with_the_older_times(tree: Path) -> None:
    assert inputs_of(tree, EPOCH_S).named["date"] == str(EPOCH_S)

    def dated(seconds: int) -> Callable[[Path], object]:
        return lambda tree: os.utime(tree / "etc/fstab", (seconds, seconds))

    assert changed_by(tree, dated(EPOCH_S - 1), EPOCH_S) == {"file:/etc/fstab"}
    assert changed_by(tree, dated(EPOCH_S + 5), EPOCH_S) == {"file:/etc/fstab"}
    # mkinitramfs dates both of them the same.
    assert changed_by(tree, dated(EPOCH_S + 9), EPOCH_S) == set()


def test_the_path_of_the_tree_does_not_count(tree: Path, tmp_path: Path) -> None:
    before = inputs_of(tree).named
    shutil.move(tree, tmp_path / "elsewhere")
    assert inputs_of(tmp_path / "elsewhere").named == before


def test_links_stay_inside(tree: Path, tmp_path: Path) -> None:
    outside = lay(tmp_path, "outside/file", "of the host")
    linking("etc/modules-load.d/x.conf", str(outside))(tree)
    linking("etc/modprobe.d/up", "../" * 20 + str(outside.parent).lstrip("/"))(tree)
    linking("usr/local/lib", str(outside.parent))(tree)
    linking("etc/depmod.d", "depmod.d")(tree)
    assert changed_by(tree, lambda _: outside.write_text("changed")) == set()
    assert not [path for path in inputs_of(tree).covered if "outside" in path]


def test_what_a_link_to_a_conffile_leads_to(tree: Path) -> None:
    linking("etc/modprobe.d/x.conf", "/etc/issue")(tree)
    assert changed_by(tree, laying("etc/issue")) == {"file:/etc/modprobe.d/x.conf"}


def test_a_torn_list_of_files(tree: Path) -> None:
    with (tree / "var/lib/dpkg/info/kmod.list").open("a") as file:
        file.write("/usr/\0odd/x\n/..\nusr/bin/relative\n/usr/bin/kmod/below\n")
    assert inputs_of(tree).keyless == ""


def test_what_has_no_key(tree: Path, tmp_path: Path) -> None:
    assert inputs_of(tree).keyless == ""
    conf = tree / "etc/initramfs-tools/initramfs.conf"
    for text in ("MODULES=dep\n", "MODULES=$(cat /x)\n"):
        conf.write_text(text)
        assert inputs_of(tree).keyless.startswith(text.strip().partition(" ")[0])
    conf.write_text('MODULES=dep\nMODULES="most"\n')
    assert inputs_of(tree).keyless == ""
    lay(tree, "etc/initramfs/post-update.d/loader")
    assert "post-update.d" in inputs_of(tree).keyless
    assert "dpkg" in inputs_of(tmp_path).keyless


def test_a_file_where_a_directory_should_be(tree: Path) -> None:
    lay(tree, "etc/initramfs", "a file")
    shutil.rmtree(tree / "etc/udev")
    lay(tree, "etc/udev", "a file")
    assert "file:/etc/udev" in inputs_of(tree).named


def test_the_closure(tree: Path) -> None:
    packages = package_files(tree)
    assert "gone" not in {package.name for package in packages}
    found = closure(packages, lambda package: package.name == "initramfs-tools")
    assert {package.name for package in found} == {
        "initramfs-tools", "kmod", "libkmod2", "libfoo0"
    }  # fmt: skip


def test_covered_paths_have_their_directories_resolved(tree: Path) -> None:
    covered = inputs_of(tree).covered
    assert covered["/usr/bin/kmod"] == (tree / "usr/bin/kmod").stat().st_size
    assert covered["/etc/localtime"] == -1
    assert "/usr/share/zoneinfo/Etc/UTC" in covered
    assert "/etc/motd" not in covered
    assert "/usr/bin/tmux" not in covered
