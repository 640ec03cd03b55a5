"""When the initramfs of an earlier build is taken, and when it is made again."""

from __future__ import annotations

import gzip
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from goldsmith.builders.image.kept_initramfs import UNCHANGED, keep_initramfs, make_initramfs
from goldsmith.core.caching import CachePolicy
from goldsmith.core.kept_files import KeptFiles
from goldsmith.core.step import TreeContext
from goldsmith.core.step_cache import StepCache
from goldsmith.events import Emitter, Event, Said
from goldsmith.host.process import Completed
from goldsmith.layers.store import Store
from goldsmith.packages.lent_zstd import MARK

KERNEL = "6.1.0-1"
INITRD = f"boot/initrd.img-{KERNEL}"
FILES = {
    "usr/sbin/update-initramfs": "real", "usr/share/initramfs-tools/init": "an init",
    "etc/initramfs-tools/initramfs.conf": "COMPRESS=gzip\n", f"boot/vmlinuz-{KERNEL}": "kernel",
    f"lib/modules/{KERNEL}/x.ko": "module", "etc/motd": "hello", "var/tmp/.keep": "",
    "var/lib/dpkg/status": "Package: initramfs-tools\nStatus: install ok installed\nVersion: 1\n",
    "var/lib/dpkg/info/initramfs-tools.list":
        "/usr/sbin/update-initramfs\n/usr/share/initramfs-tools/init\n",
}  # fmt: skip


def make_tree(tree: Path) -> Path:
    for name, content in FILES.items():
        lay(tree, name, content)
    for folder, _, _ in os.walk(tree):
        os.utime(folder, (1000, 1000))
    return tree


def lay(tree: Path, name: str, content: str) -> None:
    place = tree / name
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(content)
    os.utime(place, (1000, 1000))


def archive(path: str, content: bytes) -> bytes:
    out = b""
    for name, mode, data in ((path, 0o100644, content), ("TRAILER!!!", 0, b"")):
        named = name.encode() + b"\0"
        fields = [0, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(named), 0]
        out += b"070701" + b"".join(b"%08X" % field for field in fields) + named
        out += b"\0" * (-len(out) % 4) + data
        out += b"\0" * (-len(out) % 4)
    return out


@dataclass
class Build:
    """Finishes a tree with a store; its update-initramfs packs one file of the tree."""

    tree: Path
    store: Path
    policy: CachePolicy = field(default_factory=CachePolicy)
    packs: str = "usr/share/initramfs-tools/init"
    also_writes: str = ""
    epoch_s: int = 5000
    epoch_is_given: bool = True
    lends_zstd: bool = False
    """The tree wants zstd."""
    calls: int = 0
    told: list[str] = field(default_factory=list)

    def run(self) -> str:
        """Returns what was told."""
        make_initramfs(self._context("finish"), lends_zstd=self.lends_zstd)
        return "\n".join(self.told)

    def run_beside(self) -> str:
        """The same for a tree that nobody uses."""
        keep_initramfs(self._context("bootstrap"))
        return "\n".join(self.told)

    def _context(self, step: str) -> TreeContext:
        self.told = []
        emitter = Emitter("image.x", self._hear)
        cache = StepCache(Store.open(self.store), self.policy)
        nothing: Any = None
        return TreeContext(
            emitter=emitter, scratch=self.store, epoch_s=self.epoch_s, tree=self.tree,
            communicator=nothing, run_in_tree=self._in_tree, run_tool=nothing, environment={},
            kept=KeptFiles(cache, emitter, {}, step), epoch_is_given=self.epoch_is_given,
        )  # fmt: skip

    def _hear(self, event: Event) -> None:
        if isinstance(event, Said):
            self.told.append(event.text)

    def _in_tree(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        input: bytes | None = None,
    ) -> Completed:
        assert argv[0] == "update-initramfs"
        self.calls += 1
        epoch_s = int((env or {})["SOURCE_DATE_EPOCH"])
        content = (self.tree / self.packs).read_bytes()
        place = self.tree / INITRD
        packed = archive(self.packs, content)
        program = self.tree / "usr/sbin/mkinitramfs"
        marks = self.lends_zstd or (program.exists() and MARK in program.read_bytes())
        place.write_bytes(MARK + packed if marks else gzip.compress(packed, mtime=epoch_s))
        place.chmod(0o640)
        lay(self.tree, f"var/lib/initramfs-tools/{KERNEL}", "state")
        (self.tree / "var/tmp/work").touch()
        (self.tree / "var/tmp/work").unlink()
        if self.also_writes:
            lay(self.tree, self.also_writes, "by a hook")
        return Completed(tuple(argv), 0, b"", (), 0.0)


@pytest.fixture
def build(tmp_path: Path) -> Build:
    return Build(make_tree(tmp_path / "tree"), tmp_path / "store")


def next_build(build: Build, place: str = "next", **changes: Any) -> Build:
    """Another build of the same template with the same store."""
    return Build(make_tree(build.tree.parent / place), build.store, **changes)


def test_it_is_made_once(build: Build) -> None:
    assert build.run() == "Making the initramfs: never built"
    again = next_build(build)
    lay(again.tree, "etc/motd", "changed")
    assert again.run() == UNCHANGED
    assert (build.calls, again.calls) == (1, 0)
    for name in (INITRD, f"var/lib/initramfs-tools/{KERNEL}"):
        first, second = build.tree / name, again.tree / name
        assert first.read_bytes() == second.read_bytes()
        assert first.stat().st_mode == second.stat().st_mode
    assert not list(again.tree.rglob("*goldsmith*"))


def test_the_tree_is_touched_alike(build: Build) -> None:
    build.run()
    again = next_build(build)
    again.run()

    def old(tree: Path) -> set[str]:
        found = {str(path.relative_to(tree)): path.stat().st_mtime for path in tree.rglob("*")}
        return {name for name, time_s in found.items() if time_s == 1000}

    assert old(build.tree) - old(again.tree) == {f"var/lib/initramfs-tools/{KERNEL}"}
    assert old(again.tree) <= old(build.tree)
    assert "var/tmp" not in old(again.tree)
    assert "boot" not in old(again.tree)


def test_a_changed_input_is_told(build: Build) -> None:
    build.run()
    again = next_build(build)
    lay(again.tree, "etc/modprobe.d/x.conf", "blacklist x")
    told = again.run()
    assert told == (
        "Making the initramfs: file /etc/modprobe.d added, file /etc/modprobe.d/x.conf added"
    )
    assert again.calls == 1
    assert next_build(build, "third").run() == UNCHANGED


def test_one_of_a_tree_that_nobody_uses_is_taken_if_its_inputs_are_the_same(build: Build) -> None:
    lay(build.tree, "etc/passwd", "fewer")
    assert build.run_beside() == "Making the initramfs beside the bootstrap: never built"
    finished = next_build(build)
    lay(finished.tree, "etc/passwd", "more")
    assert finished.run() == UNCHANGED
    assert (build.calls, finished.calls) == (1, 0)
    assert next_build(build, "again").run_beside() == ""
    other = next_build(build, "other")
    lay(other.tree, "etc/fstab", "another")
    assert other.run() == "Making the initramfs: file /etc/fstab added"
    assert other.calls == 1


def test_what_hooks_make_of_other_files_is_never_taken(build: Build) -> None:
    lay(build.tree, "etc/passwd", "fewer")
    build.packs = "etc/passwd"
    assert "nothing says beforehand what is in /etc/passwd" in build.run_beside()
    finished = next_build(build, packs="etc/passwd")
    lay(finished.tree, "etc/passwd", "more")
    finished.run()
    assert finished.calls == 1


def test_one_with_what_is_no_input_is_never_taken(build: Build) -> None:
    build.packs = "usr/lib/udev/hwdb.bin"
    lay(build.tree, build.packs, "a database")
    said = "The initramfs is not kept for later builds: nothing says beforehand what is in /usr/lib"
    assert said in build.run_beside()
    assert Store.open(build.store).records() == []


@pytest.mark.parametrize(
    ("policy", "reason"),
    [
        (CachePolicy(use=False), "-no-cache"),
        (CachePolicy(refresh=("finish",)), "-refresh"),
        (CachePolicy(refresh=("initramfs",)), "-refresh"),
    ],
)
def test_it_is_made_again_if_that_is_wished(build: Build, policy: CachePolicy, reason: str) -> None:
    build.run()
    again = next_build(build, policy=policy)
    assert again.run() == f"Making the initramfs: {reason}"
    assert again.calls == 1
    assert next_build(build, "third").run() == UNCHANGED
    assert len(Store.open(build.store).records()) == 1


def test_what_its_key_does_not_cover_is_not_kept(build: Build) -> None:
    build.packs = "etc/motd"
    said = (
        "The initramfs is not kept for later builds: nothing says beforehand what is in /etc/motd"
    )
    assert build.run().splitlines()[1] == said
    again = next_build(build, packs="etc/motd")
    assert again.run().splitlines()[0] == "Making the initramfs: never built"
    assert Store.open(build.store).records() == []


def test_a_hook_that_changes_the_tree_is_not_kept(build: Build) -> None:
    build.also_writes = "etc/made"
    assert "its hooks change the tree, too: /etc/made" in build.run()
    assert Store.open(build.store).records() == []


def test_one_that_looks_at_the_machine_has_no_key(build: Build) -> None:
    for _ in range(2):
        lay(build.tree, "etc/initramfs-tools/initramfs.conf", "MODULES=dep\nCOMPRESS=gzip\n")
        assert build.run().startswith("The initramfs is made in every build: MODULES=dep")
    assert build.calls == 2


def test_a_given_date_is_in_the_key(build: Build) -> None:
    build.run()
    other = next_build(build, epoch_s=6000)
    assert other.run() == "Making the initramfs: date changed"
    by_the_clock = next_build(build, "a", epoch_s=7000, epoch_is_given=False)
    assert "date removed" in by_the_clock.run()
    later = next_build(build, "b", epoch_s=8000, epoch_is_given=False)
    assert later.run() == UNCHANGED
    # It keeps the date of the build that made it.
    assert (later.tree / INITRD).read_bytes() == (by_the_clock.tree / INITRD).read_bytes()


def test_links_of_the_tree_lead_into_the_tree(build: Build, tmp_path: Path) -> None:
    build.run()
    outside = tmp_path / "outside"
    outside.mkdir()
    again = next_build(build)
    (again.tree / "var/lib/initramfs-tools").symlink_to(outside)
    assert again.run() == UNCHANGED
    assert list(outside.iterdir()) == []
    inside = again.tree / str(outside).lstrip("/")
    assert [path.name for path in inside.iterdir()] == [KERNEL]


def test_a_damaged_one_is_made_again(build: Build) -> None:
    build.run()
    store = Store.open(build.store)
    (record,) = store.records()
    (store.tree(record) / "files" / INITRD).write_bytes(b"damaged")
    again = next_build(build)
    told = again.run()
    assert "cannot be used" in told
    assert again.calls == 1
    assert (again.tree / INITRD).read_bytes() == (build.tree / INITRD).read_bytes()


def test_nothing_is_kept_where_nothing_is_made(build: Build) -> None:
    (build.tree / f"boot/vmlinuz-{KERNEL}").unlink()
    assert build.run() == ""
    (build.tree / "usr/sbin/update-initramfs").unlink()
    assert build.run() == ""
    assert build.calls == 0


NAME = "etc/iscsi/initiatorname.iscsi"
FIRST_NAME = "InitiatorName=iqn.1993-08.org.debian:01:d38cf889558\n"
MKINITRAMFS = """
$compress -c "${__TMPMAINCPIO}" ||
	exit 1
"""
SECOND_NAME = "InitiatorName=iqn.1993-08.org.debian:01:17\n"


def test_the_name_of_another_tree_is_replaced(build: Build) -> None:
    lay(build.tree, NAME, FIRST_NAME)
    build.packs, build.epoch_is_given = NAME, False
    build.run()
    again = next_build(build, epoch_is_given=False, packs=NAME)
    lay(again.tree, NAME, SECOND_NAME)
    assert again.run() == UNCHANGED
    assert again.calls == 0
    made = gzip.decompress((again.tree / INITRD).read_bytes())
    assert made == archive(NAME, SECOND_NAME.encode())
    assert (again.tree / INITRD).stat().st_mode == (build.tree / INITRD).stat().st_mode
    third = next_build(build, "third", epoch_is_given=False, packs=NAME)
    lay(third.tree, NAME, FIRST_NAME)
    assert third.run() == UNCHANGED
    assert (third.tree / INITRD).read_bytes() == (build.tree / INITRD).read_bytes()


def test_a_name_counts_where_the_bytes_are_to_be_the_same(build: Build) -> None:
    lay(build.tree, NAME, FIRST_NAME)
    build.packs = NAME
    build.run()
    again = next_build(build, packs=NAME)
    lay(again.tree, NAME, SECOND_NAME)
    again.run()
    assert again.calls == 1


@pytest.mark.parametrize("lacks", [True, False], ids=["none", "of its own"])
def test_what_we_pack_ourselves_gets_another_name_to_the_byte(build: Build, lacks: bool) -> None:
    def named(build: Build, name: str) -> Build:
        lay(build.tree, "etc/initramfs-tools/initramfs.conf", "COMPRESS=zstd\n")
        lay(build.tree, f"boot/config-{KERNEL}", "CONFIG_RD_ZSTD=y\n")
        lay(build.tree, NAME, name)
        (build.tree / "usr/bin").mkdir()
        if not lacks:
            lay(build.tree, "usr/bin/zstd", "zstd")
            lay(build.tree, "usr/sbin/mkinitramfs", MKINITRAMFS)
        # As a step leaves it that made it just now.
        os.utime(build.tree / NAME, (build.epoch_s, build.epoch_s))
        build.packs, build.lends_zstd = NAME, lacks
        return build

    assert "not kept" not in named(build, FIRST_NAME).run()
    again = named(next_build(build), SECOND_NAME)
    assert again.run() == UNCHANGED
    fresh = named(next_build(build, "fresh", policy=CachePolicy(use=False)), SECOND_NAME)
    fresh.run()
    assert (again.calls, fresh.calls) == (0, 1)
    assert (again.tree / INITRD).read_bytes() == (fresh.tree / INITRD).read_bytes()


def test_a_name_counts_where_the_tree_says_how_hard_to_compress(build: Build) -> None:
    def named(build: Build, name: str) -> Build:
        lay(build.tree, "etc/initramfs-tools/conf.d/level", "COMPRESSLEVEL=9\n")
        lay(build.tree, NAME, name)
        build.packs, build.epoch_is_given = NAME, False
        return build

    named(build, FIRST_NAME).run()
    again = named(next_build(build), SECOND_NAME)
    again.run()
    assert again.calls == 1


def test_a_name_without_a_file_any_more_counts(build: Build) -> None:
    lay(build.tree, NAME, FIRST_NAME)
    build.epoch_is_given = False
    build.run()
    again = next_build(build, epoch_is_given=False)
    again.run()
    assert again.calls == 1
