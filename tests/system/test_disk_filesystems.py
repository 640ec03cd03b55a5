"""Every file system, filled by assembly and judged by its own checker, reader and the kernel."""

import os
import shutil
from fractions import Fraction
from pathlib import Path

import pytest
from disk_trees import MIB, OLD_S, cut, describe, make_tree, tool
from private_namespace import run_privately

from goldsmith.disk import attached
from goldsmith.disk.assemble import assemble
from goldsmith.disk.filesystems import ext4, ext4_geometry, packed
from goldsmith.disk.filesystems.stretch import Stretch
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
from goldsmith.host import loop, mounts, sparse
from goldsmith.host.digests import file_digest
from goldsmith.host.process import find_tool
from goldsmith.units import GIB

EPOCH_S = 1_700_000_000
IDENTITY = DiskIdentity("file systems")
TOOLS = {
    "ext2": ("mkfs.ext4", "e2fsck"), "ext3": ("mkfs.ext4", "e2fsck"),
    "ext4": ("mkfs.ext4", "e2fsck"), "btrfs": ("mkfs.btrfs", "btrfs"),
    "xfs": ("mkfs.xfs", "xfs_repair"), "squashfs": ("mksquashfs", "unsquashfs"),
    "erofs": ("mkfs.erofs", "fsck.erofs"), "swap": ("mkswap", "swaplabel"),
}  # fmt: skip
is_root = os.geteuid() == 0


def require(type: str) -> None:
    """Skip where the tools or, for what is attached, the kernel's driver is missing."""
    missing = [name for name in TOOLS[type] if find_tool(name) is None]
    if missing:
        pytest.skip(f"needs {', '.join(missing)}")
    if type == "xfs" and (reason := attached.why_not("xfs")):
        pytest.skip(reason)


def check(type: str, path: Path, tmp_path: Path) -> None:
    """What the file system's own checker says of it."""
    if type.startswith("ext"):
        tool("e2fsck", "-fn", path)
    elif type == "btrfs":
        tool("btrfs", "check", "--readonly", path)
    elif type == "xfs":
        tool("xfs_repair", "-n", "-f", path)
    elif type == "erofs":
        tool("fsck.erofs", path)
    elif type == "squashfs":
        assert "zstd" in tool("unsquashfs", "-s", path)
        tool("unsquashfs", "-l", path)


def mounted(path: Path, type: str, body, *, options: str = "") -> object:
    """What `body` finds in a file system that is mounted read-only where only it sees it."""

    def run():
        with loop.attached(path, read_only=True) as device:
            target = path.with_name("mounted")
            target.mkdir(exist_ok=True)
            with mounts.mounted(
                str(device.path), target, type, flags=mounts.MS_RDONLY, options=options
            ):
                return body(target)

    return run_privately(run)


READ_ONLY = {"xfs": "norecovery,nouuid", "ext3": "noload", "ext4": "noload"}


@pytest.mark.skipif(not is_root, reason="mounts what was made")
@pytest.mark.root
@pytest.mark.parametrize("type", ["ext2", "ext3", "ext4", "btrfs", "xfs", "squashfs", "erofs"])
@pytest.mark.parametrize("label", ["gpt", "mbr", "none"])
def test_what_went_in_comes_out(tmp_path, type, label):
    require(type)
    tree = make_tree(tmp_path / "tree", owners=True)
    if type != "btrfs":
        os.setxattr(tree, "user.top", b"1")
        os.utime(tree, (OLD_S - 1, OLD_S - 1))
    name = None if type in ("squashfs", "erofs") else "a label"
    root = Partition("root", "root", AUTO, FileSystem(type, name), "/")
    swap = Partition("swap", "swap", ExactSize(8 * MIB), FileSystem("swap", "sw"))
    layout = Layout(label, partitions=(root,) if label == "none" else (swap, root))
    disk = plan(layout, measure(tree, ["/"]))

    def build():
        return assemble(disk, {"/": tree}, tmp_path / "image.raw", identity=IDENTITY,
                        epoch_s=EPOCH_S)  # fmt: skip

    image = run_privately(build) if type == "xfs" else build()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["image.raw", "tree"]
    made = image.partitions[-1]
    path = cut(image.path, made.offset_bytes, made.size_bytes, tmp_path / "part")
    check(type, path, tmp_path)
    shown = dict(
        line.split("=", 1) for line in tool("blkid", "-p", "-o", "export", path).splitlines()
    )
    assert shown["TYPE"] == type
    assert shown.get("UUID") == made.filesystem_uuid
    assert shown.get("LABEL", "").replace("\\", "") == (name or "")
    wanted = describe(tree, latest_s=EPOCH_S)
    # mkfs.btrfs keeps later times.
    found = mounted(path, type, lambda top: describe(top, latest_s=EPOCH_S),
                    options=READ_ONLY.get(type, ""))  # fmt: skip
    assert found == wanted
    if label != "none":
        tool("sfdisk", "--verify", image.path)


@pytest.mark.skipif(not is_root, reason="mounts what was made")
@pytest.mark.root
def test_sparse_files_stay_sparse_in_an_attached_file_system(tmp_path):
    require("xfs")
    tree = make_tree(tmp_path / "tree")
    stretch = _stretch(tmp_path / "fs", 320 * MIB)
    spec = attached.Attached("xfs", IDENTITY.filesystem_uuid("r", "xfs"))
    run_privately(lambda: attached.make(stretch, spec, tree, epoch_s=EPOCH_S))
    blocks = mounted(stretch.image, "xfs", lambda top: (top / "etc/holes").stat().st_blocks,
                     options=READ_ONLY["xfs"])  # fmt: skip
    assert blocks * 512 < MIB
    late = mounted(stretch.image, "xfs", lambda top: (top / "etc/late").stat().st_mtime,
                   options=READ_ONLY["xfs"])  # fmt: skip
    assert late == EPOCH_S


def _stretch(image: Path, size_bytes: int) -> Stretch:
    sparse.create_sparse(image, size_bytes)
    return Stretch(image, 0, size_bytes)


@pytest.mark.parametrize("type", ["ext2", "ext3", "squashfs", "erofs"])
def test_the_same_tree_gives_the_same_bytes(tmp_path, type):
    require(type)
    trees = [make_tree(tmp_path / "one/tree"), tmp_path / "two/deeper/tree"]
    shutil.copytree(trees[0] / "many", trees[1] / "many", symlinks=True)
    (trees[1] / "many").chmod(0o1777)
    os.utime(trees[1] / "many", (OLD_S, OLD_S))
    os.utime(trees[1], (5, 5))
    os.utime(trees[0] / "many", (OLD_S, OLD_S))
    only = [trees[0] / "many", trees[1] / "many"]
    partition = Partition("d", "root", AUTO, FileSystem(type), "/")
    disk = plan(Layout("none", partitions=(partition,)), {"/": measure(only[0])["/"]})
    images = [
        assemble(disk, {"/": tree}, tmp_path / f"image{n}", identity=IDENTITY, epoch_s=EPOCH_S).path
        for n, tree in enumerate(only)
    ]
    assert file_digest(images[0]) == file_digest(images[1])


@pytest.mark.parametrize("type", ["squashfs", "erofs"])
def test_a_finished_file_system_decides_the_size_of_a_bare_image(tmp_path, type):
    require(type)
    tree = make_tree(tmp_path / "tree")
    spec = packed.Packed(type, IDENTITY.filesystem_uuid("root", type))
    path = tmp_path / "packed"
    size_bytes = packed.write_file(path, spec, tree, epoch_s=EPOCH_S)
    root = Partition("root", "root", AUTO, FileSystem(type), "/")
    usage = measure(tree, ["/"])
    layout = Layout("none", partitions=(root,))
    disk = plan(layout, usage, packed_bytes={"/": size_bytes})
    assert disk.size_bytes == size_bytes == path.stat().st_size
    made = assemble(disk, {"/": tree}, tmp_path / "image", identity=IDENTITY, epoch_s=EPOCH_S,
                    packed_files={"/": path})  # fmt: skip
    assert file_digest(made.path) == file_digest(path)
    bound = plan(layout, usage)
    assert bound.size_bytes >= size_bytes
    again = assemble(bound, {"/": tree}, tmp_path / "again", identity=IDENTITY, epoch_s=EPOCH_S)
    assert again.path.read_bytes()[:size_bytes] == path.read_bytes()


def test_swap_is_a_header_with_its_name(tmp_path):
    require("swap")
    root = Partition("root", "root", AUTO, FileSystem("ext4"), "/")
    swap = Partition("swap", "swap", ExactSize(64 * MIB), FileSystem("swap", "paging"))
    disk = plan(Layout(partitions=(swap, root)), {})
    images = [assemble(disk, {}, tmp_path / name, identity=IDENTITY, epoch_s=EPOCH_S)
              for name in ("a", "b")]  # fmt: skip
    assert file_digest(images[0].path) == file_digest(images[1].path)
    made = images[0].partitions[0]
    part = cut(images[0].path, made.offset_bytes, made.size_bytes, tmp_path / "swap")
    shown = tool("swaplabel", part)
    assert made.filesystem_uuid in shown
    assert "paging" in shown
    assert sparse.mapped_bytes(part) <= 8192


@pytest.mark.parametrize("type", ["ext2", "ext3"])
@pytest.mark.parametrize("size_mib", [4, 16, 64, 129, 200, 1025, 4096, 20480])
def test_the_geometry_of_older_ext_is_what_mkfs_makes(tmp_path, type, size_mib):
    require(type)
    size_bytes = size_mib * MIB
    inodes = ext4_geometry.inode_count(size_bytes, 10)
    shape = ext4_geometry.geometry(size_bytes, inodes, type)
    stretch = _stretch(tmp_path / "fs", size_bytes)
    spec = ext4.Ext4(IDENTITY.filesystem_uuid("r", type), IDENTITY.hash_seed("r"), inodes,
                     type=type)  # fmt: skip
    ext4.make(stretch, spec, None, epoch_s=EPOCH_S)
    lines = tool("dumpe2fs", "-h", stretch.image).splitlines()
    shown = {k.strip(): v.strip() for k, _, v in (line.partition(":") for line in lines)}
    assert int(shown["Block count"]) == shape.blocks
    assert int(shown["Inode count"]) == shape.inodes
    assert int(shown["Free inodes"]) == shape.free_inodes
    assert int(shown["Free blocks"]) == shape.free_blocks
    tool("e2fsck", "-fn", stretch.image)


def test_words_of_a_layout_reach_mkfs_beside_ours(tmp_path):
    require("ext4")
    words = ("-m", "7", "-O", "^metadata_csum", "-E", "stride=4,stripe_width=8")
    root = Partition("root", "root", ExactSize(64 * MIB), FileSystem("ext4", "x", words), "/")
    tree = make_tree(tmp_path / "tree")
    disk = plan(Layout("none", partitions=(root,)), measure(tree, ["/"]))
    made = assemble(disk, {"/": tree}, tmp_path / "image", identity=IDENTITY, epoch_s=EPOCH_S)
    shown = tool("dumpe2fs", "-h", made.path)
    assert "RAID stride:              4" in shown
    assert "metadata_csum" not in shown
    assert IDENTITY.hash_seed("root") in shown
    assert "Reserved block count:     1146" in shown
    tool("e2fsck", "-fn", made.path)


def _tiny_files(tree: Path) -> None:
    for number in range(12_000):
        if number % 500 == 0:
            (tree / str(number)).mkdir()
        (tree / str(number // 500 * 500) / f"file-{number}").write_bytes(b"x" * (number % 3000))


def _large_files(tree: Path) -> None:
    for number in range(3):
        (tree / f"large-{number}").write_bytes(os.urandom(MIB) * 90)


def _blocks(tree: Path) -> None:
    """Files just too large for an inode or a leaf."""
    for number in range(4000):
        (tree / f"{number}").write_bytes(b"x" * 2100)


def _directories(tree: Path) -> None:
    for number in range(8000):
        (tree / f"t{number // 200}/d{number}").mkdir(parents=True)


def _empty(tree: Path) -> None:
    assert not list(tree.iterdir())


@pytest.mark.parametrize("type", ["ext2", "ext3", "btrfs", "xfs"])
@pytest.mark.parametrize("fill", [_tiny_files, _large_files, _blocks, _directories, _empty])
def test_the_smallest_planned_size_holds_the_files(tmp_path, type, fill):
    require(type)
    tree = tmp_path / "tree"
    tree.mkdir()
    fill(tree)
    used = measure(tree)["/"]
    root = Partition("root", "root", AUTO, FileSystem(type), "/")
    layout = Layout("none", partitions=(root,), headroom=Headroom(Fraction(0), 0))
    disk = plan(layout, {"/": used})
    image = tmp_path / "image"

    def build():
        assemble(disk, {"/": tree}, image, identity=IDENTITY, epoch_s=EPOCH_S)

    if type == "xfs":
        run_privately(build)
    else:
        build()
    check(type, image, tmp_path)
    assert disk.size_bytes < used.blocks * 4096 * 3 // 2 + 320 * MIB


@pytest.mark.parametrize("type", ["ext3", "btrfs", "xfs", "squashfs", "erofs"])
def test_files_that_do_not_fit_are_refused_by_name(tmp_path, type):
    require(type)
    tree = tmp_path / "tree"
    tree.mkdir()
    size_mib = 304 if type == "xfs" else 160 if type == "btrfs" else 64
    (tree / "big").write_bytes(os.urandom((size_mib + 8) * MIB))
    size = ExactSize(size_mib * MIB)
    root = Partition("root", "root", size, FileSystem(type), "/")
    disk = plan(Layout(partitions=(root,)), {"/": TreeUsage()})
    image = tmp_path / "image"

    def build():
        with pytest.raises(LayoutError, match=r"do not fit in an? |is larger than its 64 MiB"):
            assemble(disk, {"/": tree}, image, identity=IDENTITY, epoch_s=EPOCH_S)

    if type == "xfs":
        run_privately(build)
    else:
        build()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tree"]


def test_attributes_of_the_top_that_btrfs_cannot_get_are_refused(tmp_path):
    require("btrfs")
    tree = tmp_path / "tree"
    tree.mkdir()
    os.setxattr(tree, "user.top", b"1")
    root = Partition("root", "root", AUTO, FileSystem("btrfs"), "/")
    disk = plan(Layout(partitions=(root,)), {})
    with pytest.raises(GoldsmithError, match=r"user\.top"):
        assemble(disk, {"/": tree}, tmp_path / "image", identity=IDENTITY, epoch_s=EPOCH_S)


@pytest.mark.skipif(not is_root, reason="mounts a small tmpfs")
@pytest.mark.root
@pytest.mark.parametrize("type", ["btrfs", "squashfs", "erofs", "ext2"])
def test_a_full_host_is_named(tmp_path, type):
    require(type)
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "random").write_bytes(os.urandom(24 * MIB))
    small = tmp_path / "small"
    small.mkdir()
    root = Partition("root", "root", AUTO, FileSystem(type), "/")
    disk = plan(Layout(partitions=(root,)), measure(tree, ["/"]))

    def build():
        with mounts.mounted("tmpfs", small, "tmpfs", options="size=12m"):
            with pytest.raises(NoSpaceError, match="is full"):
                assemble(disk, {"/": tree}, small / "image", identity=IDENTITY, epoch_s=EPOCH_S)
            return list(small.iterdir())

    assert run_privately(build) == []


@pytest.mark.skipif(not is_root, reason="mounts what was made")
@pytest.mark.root
def test_a_btrfs_uses_the_space_that_it_was_given_after_it_was_filled(tmp_path):
    require("btrfs")
    root = Partition("root", "root", ExactSize(512 * MIB), FileSystem("btrfs"), "/")
    disk = plan(Layout("none", partitions=(root,)), {})
    made = assemble(disk, {}, tmp_path / "image", identity=IDENTITY, epoch_s=EPOCH_S)

    def write():
        with loop.attached(made.path) as device:
            target = tmp_path / "mounted"
            target.mkdir()
            with mounts.mounted(str(device.path), target, "btrfs"):
                (target / "large").write_bytes(b"x" * 330 * MIB)

    run_privately(write)
    tool("btrfs", "check", "--readonly", made.path)


def test_a_file_system_in_a_large_disk_stays_sparse(tmp_path):
    require("btrfs")
    root = Partition("root", "root", REST, FileSystem("btrfs"), "/")
    disk = plan(Layout(size_bytes=16 * GIB, partitions=(root,)), {})
    made = assemble(disk, {}, tmp_path / "image", identity=IDENTITY, epoch_s=EPOCH_S)
    assert sparse.mapped_bytes(made.path) < 16 * MIB
