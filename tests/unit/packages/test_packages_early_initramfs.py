"""In which laid trees the initramfs can be made before they are configured."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from debian_tree import KERNEL, debian_tree, lay

from goldsmith.host.process import Completed
from goldsmith.packages.early_initramfs import configure_for_initramfs, unsuitable
from goldsmith.packages.initramfs import installed_kernels
from goldsmith.packages.initramfs_key import initramfs_inputs

LAID = ("base-files", "base-passwd", "initramfs-tools-core", "kmod", "mawk", "tmux", "tzdata")
HOOK = "/usr/share/initramfs-tools/hooks/own"
SCRIPTS = {
    "base-passwd": "true", "kmod": "echo x > /etc/modules",
    "tmux": "update-alternatives --install /usr/bin/x x /usr/bin/tmux 5",
    "mawk": "update-alternatives --install /usr/bin/awk awk /usr/bin/mawk 5",
    "tzdata": "# makes /etc/localtime\n",
    "base-files": "dpkg-maintscript-helper rm_conffile /etc/kernel/x 1~ -- \"$@\"\n",
}  # fmt: skip


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    tree = debian_tree(tmp_path / "tree")
    state = {
        "first": [described("base-files", ["/etc/issue"]), described("base-passwd", [])],
        "rest": [described(name, []) for name in LAID[2:]], "slow": [], "archives": {},
    }  # fmt: skip
    lay(tree, "/var/lib/dpkg/goldsmith-unpacked.json", json.dumps(state))
    for name, text in SCRIPTS.items():
        lay(tree, f"/var/lib/dpkg/info/{name}.postinst", f"#!/bin/sh\n{text}\n")
    (tree / "etc/issue").rename(tree / "etc/issue.dpkg-new")
    return tree


def described(name: str, conffiles: Sequence[str]) -> dict[str, Any]:
    return {"name": name, "info": name, "architecture": "amd64", "conffiles": list(conffiles)}


def test_hooks_that_ask_only_for_inputs(tree: Path) -> None:
    lay(tree, HOOK, "# not for dpkg\ncp -p /etc/udev/udev.conf \"$DESTDIR/etc/udev/\"\n"
                    "[ -e /etc/fstab ] && mkdir -p \"$DESTDIR/var/tmp\"\n"
                    "cp a \"${DESTDIR}/etc\"; cp b \"$DESTDIR\"/etc/; test /lib/${x#/etc/}\n"
                    "install -m 0644 -D c \"$DESTDIR/root\"; ls /rootfs\n")  # fmt: skip
    assert unsuitable(tree) == ""


@pytest.mark.parametrize(
    ("line", "asks"),
    [("id=$(getent passwd _own)", "getent"), ("cp /etc/hostname $DESTDIR/etc", "hostname"),
     ("cp /etc/own/key $DESTDIR", "/etc/own/key"), ("[ -e /var/lib/own ]", "/var/lib/own"),
     ("cp /etc/*.conf $DESTDIR", "/etc"), ("cp /etc/$name $DESTDIR", "/etc"),
     ("cd /etc && cp key $DESTDIR", "/etc"), ("cp -a /root/ $DESTDIR", "/root"),
     ("name=$(uname -n)", "uname"),
     ("chown -R _own $DESTDIR", "chown"), ("install -m 0600 -o _own key $DESTDIR", "install")],
)  # fmt: skip
def test_hooks_that_ask_for_more(tree: Path, line: str, asks: str) -> None:
    lay(tree, HOOK, f"#!/bin/sh\n{line}\n")
    assert unsuitable(tree) == f"{HOOK} asks for {asks}"


def test_other_generators_and_no_kernel(tree: Path) -> None:
    state = tree / "var/lib/dpkg/goldsmith-unpacked.json"
    with_it = json.loads(state.read_text())
    with_it["rest"].append(described("dracut", []))
    state.write_text(json.dumps(with_it))
    assert unsuitable(tree) == "dracut makes it"
    with_it["rest"] = [one for one in with_it["rest"] if "initramfs" not in one["name"]]
    state.write_text(json.dumps(with_it))
    assert unsuitable(tree).startswith("initramfs-tools-core is not")
    state.write_text(state.read_text().replace('"dracut"', '"initramfs-tools-core"', 1))
    (tree / f"boot/vmlinuz-{KERNEL}").unlink()
    assert unsuitable(tree) == "there is no kernel among them"


def test_who_writes_inputs_is_configured(tree: Path) -> None:
    calls: list[list[str]] = []

    def run_tool(argv: Sequence[str], **_: Any) -> Completed:
        calls.append(list(argv))
        return Completed(tuple(argv), 0, b"", (), 0.0)

    assert configure_for_initramfs(tree, run_tool=run_tool, on_line=lambda *_: None)
    (words,) = calls
    # What tmux would choose does not count, as it is no input itself.
    assert words[words.index("--configure") + 1 :] == ["base-passwd", "kmod", "mawk", "tzdata"]
    assert (tree / "etc/issue").exists()
    assert not os.path.lexists(tree / "etc/issue.dpkg-new")


def test_the_linker_is_told_of_libraries_when_its_directories_are_named(tree: Path) -> None:
    calls: list[str] = []

    def run_tool(argv: Sequence[str], **_: Any) -> Completed:
        # The directories are configuration files, too.
        named = (tree / "etc/issue").exists()
        calls.append(f"{'named' if named else 'new'} {argv[-1]}")
        return Completed(tuple(argv), 0, b"", (), 0.0)

    lay(tree, "/sbin/ldconfig", "a program")
    assert configure_for_initramfs(tree, run_tool=run_tool, on_line=lambda *_: None)
    assert calls == ["new tzdata", "named /sbin/ldconfig"]


def test_no_hook_goes_without_what_is_no_input(tree: Path) -> None:
    def run_tool(argv: Sequence[str], **_: Any) -> Completed:
        return Completed(tuple(argv), 0, b"", (), 0.0)

    lay(tree, "/etc/udev/udev.conf", "")
    os.utime(tree / "etc/udev", (1000, 1000))
    assert configure_for_initramfs(tree, run_tool=run_tool, on_line=lambda *_: None)
    assert (tree / "etc/udev/hwdb.bin").read_bytes()
    assert (tree / "etc/udev").stat().st_mtime == 1000
    (kernel,) = installed_kernels(tree)
    inputs = initramfs_inputs(tree, [kernel])
    assert not [name for name in (*inputs.named, *inputs.covered) if "hwdb" in name]
    # One that is there is not touched.
    lay(tree, "/etc/udev/hwdb.bin", "its own")
    assert configure_for_initramfs(tree, run_tool=run_tool, on_line=lambda *_: None)
    assert (tree / "etc/udev/hwdb.bin").read_text() == "its own"


def test_a_package_that_cannot_be_configured(tree: Path) -> None:
    def run_tool(argv: Sequence[str], **_: Any) -> Completed:
        return Completed(tuple(argv), 1, b"", (), 0.0)

    assert not configure_for_initramfs(tree, run_tool=run_tool, on_line=lambda *_: None)
