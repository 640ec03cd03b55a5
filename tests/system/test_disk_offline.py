"""Images made offline by the real tools: the same bytes, sound file systems, fitting sizes."""

import os
import shutil
import stat
import subprocess
from fractions import Fraction
from functools import partial
from pathlib import Path, PurePosixPath

import pytest

from goldsmith.disk import formats, partition_table
from goldsmith.disk.assemble import assemble
from goldsmith.disk.bootloader.grub import BootLoader
from goldsmith.disk.filesystems import ext4, ext4_geometry, vfat, vfat_geometry
from goldsmith.disk.filesystems.ext4 import Stretch
from goldsmith.disk.identity import DiskIdentity
from goldsmith.disk.layout import (
    AUTO,
    REST,
    ExactSize,
    FileSystem,
    Headroom,
    Layout,
    Partition,
)
from goldsmith.disk.planner import plan
from goldsmith.disk.usage import TreeUsage, measure
from goldsmith.errors import GoldsmithError, LayoutError, NoSpaceError
from goldsmith.host import sparse
from goldsmith.host.digests import file_digest
from goldsmith.host.process import find_tool, search_path
from goldsmith.units import MIB

EPOCH_S = 1_700_000_000
TOOLS = ("mkfs.ext4", "mkfs.vfat", "mcopy", "sfdisk", "debugfs", "e2fsck", "dumpe2fs")
pytestmark = pytest.mark.skipif(
    any(find_tool(tool) is None for tool in TOOLS), reason="needs e2fsprogs, dosfstools, mtools"
)
is_root = os.geteuid() == 0


def tool(*argv, ok=(0,), **kwargs):
    env = {"PATH": search_path(), "LC_ALL": "C.UTF-8", "TZ": "UTC0", "MTOOLSRC": "/dev/null"}
    done = subprocess.run(argv, env=env, capture_output=True, check=False, **kwargs)
    assert done.returncode in ok, done.stderr.decode() + done.stdout.decode()
    return done.stdout.decode(errors="surrogateescape")


def fsck(image: Path, offset: int = 0) -> str:
    return tool("e2fsck", "-fn", f"{image}?offset={offset}")


def superblock(image: Path, offset: int = 0) -> dict[str, str]:
    lines = tool("dumpe2fs", "-h", f"{image}?offset={offset}").splitlines()
    return {k.strip(): v.strip() for k, _, v in (line.partition(":") for line in lines)}


def debugfs(image: Path, offset: int, command: str) -> str:
    return tool("debugfs", "-R", command, f"{image}?offset={offset}")


def make_tree(tree: Path, *, backwards: bool = False) -> Path:
    """Every kind of file; `backwards` makes them in another order."""
    tree.mkdir(parents=True)
    steps = [
        (tree / "etc").mkdir,
        (tree / "many").mkdir,
        lambda: (tree / "boot/efi").mkdir(parents=True),
    ]
    for number in range(300):
        steps.append(lambda n=number: (tree / f"many/{n:x}").write_text(f"{n}\n" * n))
    steps += [
        lambda: (tree / "etc/motd").write_text("hello"),
        lambda: (tree / "etc/link").symlink_to("motd"),
        lambda: (tree / "etc/long").symlink_to("x" * 200),
        lambda: (tree / "etc/sudo").write_bytes(b"\x7fELF" * 3000),
        lambda: Path(os.fsdecode(os.fsencode(tree) + b"/odd \xff'\"\n name")).write_text("odd"),
        lambda: os.mkfifo(tree / "etc/pipe"),
        partial(_holes, tree / "holes"),
        lambda: os.setxattr(_touched(tree / "etc/attributes"), "user.one", b"1" * 200),
    ]
    directories, files = steps[:3], steps[3:]
    for step in (*directories[::-1], *files[::-1]) if backwards else steps:
        step()
    os.link(tree / "etc/motd", tree / "many/motd")
    (tree / "etc/sudo").chmod(0o4755)
    (tree / "many").chmod(0o1777)
    tree.chmod(0o755)
    for path in sorted(tree.rglob("*"), reverse=True):
        os.utime(path, (1_600_000_000, 1_600_000_000), follow_symlinks=False)
    os.utime(tree, (1_500_000_000, 1_500_000_000))
    return tree


def _touched(path: Path) -> Path:
    path.touch()
    return path


def _holes(path: Path) -> None:
    with open(path, "wb") as stream:
        stream.truncate(64 * MIB)
        stream.seek(32 * MIB)
        stream.write(b"data in the middle")


LAYOUT = Layout(
    partitions=(
        Partition("bios", "bios-boot", ExactSize(MIB)),
        Partition("esp", "esp", ExactSize(40 * MIB), FileSystem("vfat", "ESP"), "/boot/efi"),
        Partition("root", "root", AUTO, FileSystem("ext4", "root"), "/"),
    )
)


def make_image(tree: Path, efi: Path, image: Path, *, epoch_s: int = EPOCH_S, seed: str = "one"):
    usage = {"/": measure(tree)["/"], "/boot/efi": measure(efi)["/"]}
    return assemble(
        plan(LAYOUT, usage), {"/": tree, "/boot/efi": efi}, image,
        identity=DiskIdentity(seed), epoch_s=epoch_s,
    )  # fmt: skip


@pytest.fixture
def efi(tmp_path):
    directory = tmp_path / "efi-tree"
    (directory / "EFI/Debian").mkdir(parents=True)
    (directory / "EFI/Debian/grub.cfg").write_text("# config")
    (directory / "a rather long näme.txt").write_text("text")
    return directory


def test_the_same_inputs_give_the_same_bytes(tmp_path, efi):
    first = make_tree(tmp_path / "first/tree")
    second = make_tree(tmp_path / "second/deeper/tree", backwards=True)
    for path in second.rglob("*"):  # other times of reading
        if path.is_file() and not path.is_symlink():
            os.utime(path, (1, path.stat().st_mtime))
    other_efi = tmp_path / "efi-copy"
    shutil.copytree(efi, other_efi, copy_function=shutil.copy)
    (tmp_path / "a").mkdir()
    one = make_image(first, efi, tmp_path / "one.raw")
    two = make_image(second, other_efi, tmp_path / "a/two.raw")
    assert file_digest(one.path) == file_digest(two.path)
    assert file_digest(make_image(first, efi, tmp_path / "b.raw", seed="two").path) != file_digest(
        one.path
    )
    formats.convert(one.path, tmp_path / "one.qcow2", "qcow2")
    formats.convert(two.path, tmp_path / "two.qcow2", "qcow2")
    assert file_digest(tmp_path / "one.qcow2") == file_digest(tmp_path / "two.qcow2")
    tool("qemu-img", "compare", "-f", "raw", "-F", "qcow2", one.path, tmp_path / "two.qcow2")
    assert sparse.hash_sparse(one.path)["sha256"] == file_digest(one.path)


def test_the_file_systems_are_sound_and_hold_the_tree(tmp_path, efi):
    tree = make_tree(tmp_path / "tree")
    made = make_image(tree, efi, tmp_path / "image.raw")
    root, esp = made.partitions[2], made.partitions[1]
    assert "clean" not in fsck(made.path, root.offset_bytes).replace("non-contiguous", "")
    shown = superblock(made.path, root.offset_bytes)
    assert shown["Filesystem UUID"] == root.filesystem_uuid
    assert shown["Filesystem volume name"] == "root"
    assert "Lifetime writes" not in shown  # as dumpe2fs shows a zero
    assert shown["Filesystem state"] == "clean"
    dump = tmp_path / "dump"
    dump.mkdir()
    debugfs(made.path, root.offset_bytes, f"rdump /etc {dump}")
    debugfs(made.path, root.offset_bytes, f"rdump /many {dump}")
    debugfs(made.path, root.offset_bytes, f"dump /holes {dump}/holes")
    for path in tree.rglob("*"):
        inside = dump / path.relative_to(tree)
        if path.is_symlink():
            assert os.readlink(inside) == os.readlink(path)
        elif path.is_file() and "odd" not in path.name:
            assert inside.read_bytes() == path.read_bytes(), path
    one, two = (
        debugfs(made.path, root.offset_bytes, f"stat {name}").split()[1]
        for name in ("/etc/motd", "/many/motd")
    )
    assert one == two
    assert "Mode:  04755" in debugfs(made.path, root.offset_bytes, "stat /etc/sudo")
    assert "user.one (200)" in debugfs(made.path, root.offset_bytes, "stat /etc/attributes")
    assert "odd \\xff'\"\\x0a name" in debugfs(made.path, root.offset_bytes, "ls -l /")
    holes = debugfs(made.path, root.offset_bytes, "stat /holes")
    assert "Size: 67108864" in holes
    assert "Blockcount: 8\n" in holes
    files = tool("mdir", "-/", "-b", "-i", f"{made.path}@@{esp.offset_bytes}", "::").splitlines()
    assert {"::/EFI/Debian/grub.cfg", "::/a rather long näme.txt"} <= set(files)
    listing = tool("mdir", "-i", f"{made.path}@@{esp.offset_bytes}", "::/EFI/Debian")
    assert listing.count("2023-11-14  22:13") == 3
    assert "fsck" in tool("fsck.vfat", "-n", _cut(made.path, esp, tmp_path / "esp"), ok=(0,))


def _cut(image: Path, part, target: Path) -> Path:
    sparse.create_sparse(target, part.size_bytes)
    with open(image, "rb") as reading, open(target, "r+b") as writing:
        sparse.copy_extents(
            reading.fileno(), writing.fileno(),
            source_offset=part.offset_bytes, length=part.size_bytes,
        )  # fmt: skip
    return target


def test_every_superblock_copy_is_mended(tmp_path):
    stretch = _stretch(tmp_path / "fs", 300 * MIB)
    ext4.make(stretch, _spec(1000), None, epoch_s=EPOCH_S)
    data = stretch.image.read_bytes()
    for at in (1024, 32768 * 4096):
        assert data[at + 0x38 : at + 0x3A] == b"\x53\xef"
        assert data[at + 0x178 : at + 0x180] == bytes(8)
    # From the copy alone, with its own checksum; it only misses the count of free blocks.
    from_copy = tool("dumpe2fs", "-h", "-o", "superblock=32768", "-o", "blocksize=4096",
                     stretch.image)  # fmt: skip
    assert "Checksum:" in from_copy


def test_times_and_the_root_directory(tmp_path):
    tree = make_tree(tmp_path / "tree")
    late = tree / "late"
    late.write_text("x")
    os.utime(late, (2_000_000_000, 2_000_000_000))
    tree.chmod(0o2751)
    os.setxattr(tree, "user.root", b"yes")
    os.utime(tree, (1_500_000_000, 1_500_000_000))
    stretch = _stretch(tmp_path / "fs", 64 * MIB)
    ext4.make(stretch, _spec(2000), tree, epoch_s=EPOCH_S)
    root = debugfs(stretch.image, 0, "stat <2>")
    assert "Mode:  02751" in root
    assert "mtime: 0x59682f00:00000000" in root
    assert "user.root (3)" in root
    stated = debugfs(stretch.image, 0, "stat /late")
    epoch = f"0x{EPOCH_S:08x}:00000000"
    assert [f"{name}time: {epoch}" in stated for name in ("a", "c", "m", "cr")] == [True] * 4
    assert "mtime: 0x5f5e1000:00000000" in debugfs(stretch.image, 0, "stat /etc/motd")
    kept = _stretch(tmp_path / "kept", 64 * MIB)
    ext4.make(kept, _spec(2000), tree, epoch_s=EPOCH_S, clamp_mtimes=False)
    assert "mtime: 0x77359400:00000000" in debugfs(kept.image, 0, "stat /late")
    fsck(kept.image)


@pytest.mark.skipif(not is_root, reason="needs root for owners and device nodes")
@pytest.mark.root
def test_owners_capabilities_and_device_nodes(tmp_path):
    tree = make_tree(tmp_path / "tree")
    os.chown(tree, 5, 6)
    os.chown(tree / "etc/motd", 1234, 70000)
    os.mknod(tree / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    capability = b"\x01\x00\x00\x02\x00\x04\x00\x00" + bytes(12)
    os.setxattr(tree / "etc/sudo", "security.capability", capability)
    stretch = _stretch(tmp_path / "fs", 64 * MIB)
    ext4.make(stretch, _spec(2000), tree, epoch_s=EPOCH_S)
    fsck(stretch.image)
    assert "User:     5   Group:     6" in debugfs(stretch.image, 0, "stat <2>")
    assert "User:  1234   Group: 70000" in debugfs(stretch.image, 0, "stat /etc/motd")
    assert "security.capability (20)" in debugfs(stretch.image, 0, "stat /etc/sudo")
    assert "Device major/minor number: 01:03" in debugfs(stretch.image, 0, "stat /null")


def _stretch(image: Path, size_bytes: int) -> Stretch:
    sparse.create_sparse(image, size_bytes)
    return Stretch(image, 0, size_bytes)


def _spec(inodes: int) -> ext4.Ext4:
    identity = DiskIdentity("test")
    return ext4.Ext4(identity.filesystem_uuid("r", "ext4"), identity.hash_seed("r"), inodes)


@pytest.mark.parametrize("size_mib", [4, 15, 16, 64, 129, 130, 200, 1000, 1025, 4096, 10241, 65536])
def test_the_geometry_is_what_mkfs_makes(tmp_path, size_mib):
    size_bytes = size_mib * MIB
    inodes = ext4_geometry.inode_count(size_bytes, 10)
    shape = ext4_geometry.geometry(size_bytes, inodes)
    stretch = _stretch(tmp_path / "fs", size_bytes)
    ext4.make(stretch, _spec(inodes), None, epoch_s=EPOCH_S)
    shown = superblock(stretch.image)
    assert int(shown["Block count"]) == shape.blocks
    assert int(shown["Inode count"]) == shape.inodes
    assert int(shown["Free inodes"]) == shape.free_inodes
    assert int(shown["Free blocks"]) == shape.free_blocks
    # mke2fs rounds once more where it drops a last group.
    assert abs(int(shown["Reserved block count"]) - shape.reserved_blocks) <= 2
    fsck(stretch.image)


def test_a_geometry_that_mkfs_refuses_is_none():
    assert ext4_geometry.geometry(2 * MIB, 10) is None
    assert ext4_geometry.geometry(64 * MIB, 40_000) is None


def _tiny_files(tree: Path) -> None:
    for number in range(15_000):
        if number % 500 == 0:
            (tree / str(number)).mkdir()
        (tree / str(number // 500 * 500) / f"file-{number}").write_bytes(b"x" * (number % 3))


def _directories(tree: Path) -> None:
    for number in range(20_000):
        if number % 200 == 0:
            (tree / f"t{number}").mkdir()
        (tree / f"t{number // 200 * 200}/d{number}").mkdir()


def _large_files(tree: Path) -> None:
    for number in range(3):
        (tree / f"large-{number}").write_bytes(os.urandom(MIB) * 90)


def _one_wide_directory(tree: Path) -> None:
    for number in range(3000):
        (tree / f"{number:x>200}").touch()


def _fragments(tree: Path) -> None:
    with open(tree / "fragments", "wb") as stream:
        for number in range(2000):
            stream.seek(number * 12288)
            stream.write(b"x" * 4096)


def _empty(tree: Path) -> None:
    assert not list(tree.iterdir())


@pytest.mark.parametrize(
    "fill", [_tiny_files, _directories, _large_files, _one_wide_directory, _fragments, _empty]
)
def test_an_automatic_size_is_neither_too_small_nor_wasteful(tmp_path, fill):
    tree = tmp_path / "tree"
    tree.mkdir()
    fill(tree)
    used = measure(tree)["/"]
    root = Partition("root", "root", AUTO, FileSystem("ext4"), "/")
    for headroom in (Headroom(Fraction(0), 0), Headroom()):
        layout = Layout(partitions=(root,), headroom=headroom)
        planned = plan(layout, {"/": used})
        image = tmp_path / "image.raw"
        assemble(planned, {"/": tree}, image, identity=DiskIdentity("s"), epoch_s=EPOCH_S)
        shown = superblock(image, MIB)
        free = int(shown["Free blocks"]) * 4096
        promised = headroom.of(used.blocks * 4096)
        assert free >= promised
        assert int(shown["Free inodes"]) > 0
        reserved = int(shown["Reserved block count"]) * 4096
        # The smallest file system, a rounded mebibyte, the slack, space for a step of the journal.
        assert free - promised - reserved < 4 * MIB + planned.size_bytes // 50
        fsck(image, MIB)
        image.unlink()


def test_too_small_a_partition_is_refused_by_name(tmp_path):
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "big").write_bytes(os.urandom(30 * MIB))
    root = Partition("root", "root", ExactSize(20 * MIB), FileSystem("ext4"), "/")
    lying = plan(Layout(partitions=(root,)), {"/": TreeUsage()})
    image = tmp_path / "image.raw"
    with pytest.raises(LayoutError, match=r"do not fit in an ext4 of 20 MiB"):
        assemble(lying, {"/": tree}, image, identity=DiskIdentity("s"), epoch_s=EPOCH_S)
    assert not image.exists()


def test_the_table_is_read_back_and_its_bytes_are_fixed(tmp_path):
    layout = Layout(size_bytes=256 * MIB, partitions=(*LAYOUT.partitions[:2],
                    Partition("root", "root", REST, FileSystem("ext4"), "/")))  # fmt: skip
    disk, identity = plan(layout, {}), DiskIdentity("table")
    images = [tmp_path / "a1", tmp_path / "b"]
    for image in images:
        sparse.create_sparse(image, disk.size_bytes)
        partition_table.write_table(image, disk, identity)
    assert file_digest(images[0]) == file_digest(images[1])
    table = partition_table.read_table(images[0])
    assert (table.label, table.uuid.lower()) == ("gpt", identity.disk_uuid)
    for entry, planned in zip(table.entries, disk.partitions, strict=True):
        assert entry.number == planned.number
        assert entry.name == planned.name
        assert (entry.start_sector, entry.size_sectors) == (
            planned.start_sector, planned.size_sectors,
        )  # fmt: skip
        assert entry.uuid.lower() == identity.partition_uuid(planned.name)
        assert entry.type_guid == partition_table.TYPE_GUIDS[planned.partition.type]
    tool("sfdisk", "--verify", images[0])
    with open(images[0], "rb") as stream:
        stream.seek(-512, os.SEEK_END)
        assert stream.read(8) == b"EFI PART"


@pytest.mark.parametrize("size_mib", [1, 2, 3, 5, 32, 33, 34, 64, 259, 261, 1024])
def test_a_vfat_holds_what_its_geometry_says(tmp_path, size_mib):
    shape = vfat_geometry.geometry(size_mib * MIB)
    files = tmp_path / "files"
    files.mkdir()
    if size_mib < 100:
        (files / "big").write_bytes(b"\1" * shape.free_bytes)
    stretch = _stretch(tmp_path / "fs", size_mib * MIB)
    vfat.make(stretch, vfat.Vfat(0x1234ABCD, "LABEL"), vfat.read_tree(files), epoch_s=EPOCH_S)
    shown = tool("minfo", "-i", stretch.image, "::")
    assert f'disk type="FAT{shape.fat_bits}' in shown.replace(" ", "").replace(
        "disktype", "disk type"
    )
    checked = tool("fsck.vfat", "-n", stretch.image).splitlines()[-1]
    clusters = int(checked.rsplit("/", 1)[1].split()[0])
    assert shape.free_clusters <= clusters <= shape.free_clusters + 16


@pytest.mark.parametrize("size_mib", [255, 256.4, 260])
def test_a_vfat_of_large_sectors_is_made_around_the_end_of_fat16(tmp_path, size_mib):
    size_bytes = int(size_mib * 256) * 4096
    shape = vfat_geometry.geometry(size_bytes, 4096)
    stretch = _stretch(tmp_path / "fs", size_bytes)
    vfat.make(stretch, vfat.Vfat(0x1234ABCD, sector_bytes=4096), {}, epoch_s=EPOCH_S)
    checked = tool("fsck.vfat", "-n", stretch.image).splitlines()[-1]
    clusters = int(checked.rsplit("/", 1)[1].split()[0])
    assert (clusters > 65524) == (shape.fat_bits == 32)
    assert shape.free_clusters <= clusters <= shape.free_clusters + 64


def test_what_vfat_cannot_hold_is_named(tmp_path):
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "link").symlink_to("x")
    os.mkfifo(tree / "pipe")
    with pytest.raises(GoldsmithError, match=r"link is a symlink; pipe is a special file"):
        vfat.read_tree(tree)
    contents = {PurePosixPath(name): None for name in ("README", "readme", "a[1]", "dot.")}
    with pytest.raises(GoldsmithError) as caught:
        vfat.check_names(contents)
    assert all(name in str(caught.value) for name in ("README and readme", "a[1]", "dot."))


def test_a_vfat_that_is_too_full_is_refused(tmp_path):
    (tmp_path / "big").write_bytes(b"x" * (3 * MIB))
    stretch = _stretch(tmp_path / "fs", 2 * MIB)
    with pytest.raises(LayoutError, match="do not fit in a vfat of 2 MiB"):
        vfat.make(stretch, vfat.Vfat(1), {PurePosixPath("big"): tmp_path / "big"}, epoch_s=0)


def test_the_efi_loader_goes_where_the_tree_has_its_directory(tmp_path):
    efi = tmp_path / "efi"
    (efi / "efi/Boot").mkdir(parents=True)
    (efi / "efi/Boot/old.txt").write_text("x")
    tree = tmp_path / "tree"
    tree.mkdir()
    made = assemble(
        plan(LAYOUT, {}), {"/": tree, "/boot/efi": efi}, tmp_path / "image",
        identity=DiskIdentity("s"), epoch_s=EPOCH_S,
        boot_loader=BootLoader(efi=b"MZ" * 1000),
    )  # fmt: skip
    where = f"{made.path}@@{made.partitions[1].offset_bytes}"
    files = tool("mdir", "-/", "-b", "-i", where, "::").splitlines()
    assert "::/efi/Boot/BOOTX64.EFI" in files
    assert tool("mtype", "-i", where, "::/efi/Boot/BOOTX64.EFI") == "MZ" * 1000


@pytest.mark.skipif(not is_root, reason="mounts a small tmpfs")
@pytest.mark.root
def test_a_full_host_is_named_with_its_free_space(tmp_path, efi):
    small = tmp_path / "small"
    small.mkdir()
    tree = make_tree(tmp_path / "tree")
    (tree / "random").write_bytes(os.urandom(12 * MIB))
    made = make_image(tree, efi, tmp_path / "image.raw")
    random = tmp_path / "random"
    random.write_bytes(os.urandom(12 * MIB))

    def fill_vfat():
        stretch = _stretch(small / "fs", 64 * MIB)
        try:
            vfat.make(stretch, vfat.Vfat(1), {PurePosixPath("random"): random}, epoch_s=0)
        finally:
            stretch.image.unlink()

    tool("mount", "-t", "tmpfs", "-o", "size=8M", "tmpfs", small)
    try:
        for attempt in (
            fill_vfat,
            lambda: make_image(tree, efi, small / "image.raw"),
            lambda: formats.convert(made.path, small / "image.qcow2", "qcow2"),
            lambda: formats.convert(made.path, small / "image.raw", "raw"),
        ):
            with pytest.raises(NoSpaceError, match=rf"{small} is full \(.* free\)"):
                attempt()
            assert list(small.iterdir()) == []
    finally:
        tool("umount", small)


def test_conversion_tells_its_progress_and_refuses_to_overwrite(tmp_path):
    image = tmp_path / "image.raw"
    sparse.create_sparse(image, 64 * MIB)
    with open(image, "r+b") as stream:
        stream.write(os.urandom(4 * MIB))
    for name in ("qcow2", "raw"):
        seen = []
        formats.convert(image, tmp_path / f"target.{name}", name, on_percent=seen.append)
        assert seen[-1] == 100
        assert seen == sorted(seen)
        with pytest.raises(FileExistsError):
            formats.convert(image, tmp_path / f"target.{name}", name)
    assert file_digest(tmp_path / "target.raw") == file_digest(image)
    assert sparse.mapped_bytes(tmp_path / "target.raw") <= 5 * MIB
