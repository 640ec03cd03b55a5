"""ext2, ext3 and ext4, made and filled in one go inside an image, the same bytes on every run.

The recipe: `mke2fs -d` with fixed UUID, hash seed and clock; one debugfs pass that sets the
times which mke2fs takes from the host; the write counter cleared in every superblock copy. One
thing still shows through: attributes of one file that were set in another order (e2fsprogs 1.47
copies them in the order in which the kernel lists them).
"""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from goldsmith.disk.filesystems import ext4_geometry
from goldsmith.disk.filesystems.ext4_inodes import ROOT_INODE, Ext4File, modified_s
from goldsmith.disk.filesystems.options import values_of, without
from goldsmith.disk.filesystems.stretch import Stretch
from goldsmith.errors import CommandFailed, GoldsmithError, LayoutError
from goldsmith.host.process import run, tool_environment
from goldsmith.host.sparse import full_file_system_named, is_full_message, no_space
from goldsmith.units import format_size

# Our own defaults, so that /etc/mke2fs.conf of the build host does not show in images. Debian 12's
# list; newer features (orphan_file, metadata_csum_seed) are left out: GRUB 2.06 refuses them.
_MKE2FS_CONF: Final = """\
[defaults]
\tbase_features = sparse_super,large_file,filetype,resize_inode,dir_index,ext_attr
\tdefault_mntopts = acl,user_xattr
\tenable_periodic_fsck = 0
\tblocksize = 4096
\tinode_size = 256
\tinode_ratio = 16384
[fs_types]
\text2 = {
\t}
\text3 = {
\t\tfeatures = has_journal
\t}
\text4 = {
\t\tfeatures = has_journal,extent,huge_file,flex_bg,metadata_csum,64bit,dir_nlink,extra_isize
\t}
\tfloppy = {
\t}
\tsmall = {
\t}
\tbig = {
\t}
\thuge = {
\t}
"""

__all__ = ["Ext4", "Stretch", "make", "mkfs_words"]

LARGEST_EPOCH_S: Final = 2**31 - 1
MKFS_TIMEOUT_S: Final = 3600.0
_TOO_SMALL: Final = ("Could not allocate block", "Could not allocate inode", "No free space")


@dataclass(frozen=True, slots=True)
class Ext4:
    """What tells one file system from another; `type` is ext2, ext3 or ext4."""

    uuid: str
    hash_seed: str
    inodes: int
    label: str | None = None
    options: tuple[str, ...] = ()
    type: str = "ext4"
    journal_mib: int | None = None


def make(
    stretch: Stretch,
    filesystem: Ext4,
    tree: Path | None,
    *,
    epoch_s: int,
    clamp_mtimes: bool = True,
) -> None:
    """Make a file system in a stretch of an image and fill it with a tree (None: empty).

    Every access and change time becomes `epoch_s`; times of modification after it become it too,
    unless `clamp_mtimes` is off. Raises LayoutError when the tree does not fit, NoSpaceError when
    the host's file system is full.
    """
    if not 0 <= epoch_s <= LARGEST_EPOCH_S:
        raise GoldsmithError(f"{epoch_s} is not a time that an image can carry",
                             hint="SOURCE_DATE_EPOCH is in seconds since 1970")  # fmt: skip
    with full_file_system_named(stretch.image):
        _run_mkfs(stretch, filesystem, tree, epoch_s)
        with open(stretch.image, "r+b", buffering=0) as stream:
            made = Ext4File.read(stream.fileno(), stretch.offset_bytes)
            script = _time_script(made, tree, epoch_s, clamp_mtimes=clamp_mtimes)
            _run_debugfs(stretch, script, epoch_s)
            made.zero_kbytes_written()


def mkfs_words(stretch: Stretch, filesystem: Ext4) -> list[str]:
    """The words of the mkfs program, without the tree: ours and the layout's in one list.

    mke2fs takes the last -E and the last -O only (1.47), so those of a layout join ours.
    """
    blocks = stretch.size_bytes // ext4_geometry.BLOCK_BYTES
    journal = ext4_geometry.journal_blocks(blocks, filesystem.type, filesystem.journal_mib)
    extended = [
        f"offset={stretch.offset_bytes}", f"hash_seed={filesystem.hash_seed}", "root_owner=0:0",
        # The image is a hole: there is nothing to discard, and nothing to leave to the first mount.
        "nodiscard", "lazy_itable_init=0", "lazy_journal_init=0",
        *values_of(filesystem.options, "-E"),
    ]  # fmt: skip
    features = values_of(filesystem.options, "-O")
    words = ["-q", "-F", "-t", filesystem.type, "-b", "4096", "-I", "256",
             "-N", str(filesystem.inodes), "-m", str(ext4_geometry.RESERVED_PERCENT),
             "-U", filesystem.uuid, "-E", ",".join(extended)]  # fmt: skip
    if journal and "^has_journal" not in features:
        words += ["-J", f"size={journal * ext4_geometry.BLOCK_BYTES >> 20}"]
    elif filesystem.type != "ext2":
        features = ["^has_journal", *features]
    if features:
        words += ["-O", ",".join(dict.fromkeys(features))]
    if filesystem.label is not None:
        words += ["-L", filesystem.label]
    return [*words, *without(without(filesystem.options, "-E"), "-O")]


def _run_mkfs(stretch: Stretch, filesystem: Ext4, tree: Path | None, epoch_s: int) -> None:
    # One program under three names; -t says which it is.
    argv: list[str | os.PathLike[str]] = ["mkfs.ext4", *mkfs_words(stretch, filesystem)]
    if tree is not None:
        argv += ["-d", tree.absolute()]
    argv += [stretch.image.name, f"{stretch.size_bytes // 1024}k"]
    with tempfile.TemporaryDirectory(prefix="goldsmith-mkfs-") as directory:
        conf = Path(directory, "mke2fs.conf")
        conf.write_text(_MKE2FS_CONF)
        env = tool_environment(MKE2FS_CONFIG=str(conf), E2FSPROGS_FAKE_TIME=str(epoch_s))
        try:
            done = run(argv, env=env, cwd=stretch.image.parent, timeout_s=MKFS_TIMEOUT_S)
        except CommandFailed as e:
            if any(mark in line for line in e.tail for mark in _TOO_SMALL):
                raise LayoutError(
                    [f"the files of {tree} do not fit in an {filesystem.type} of "
                     f"{format_size(stretch.size_bytes)} with {filesystem.inodes} inodes"],
                    hint='make the partition larger, or write size = "auto"',
                ) from e  # fmt: skip
            raise
    _refuse_left_out(done.tail, tree, filesystem.type)


def _refuse_left_out(lines: tuple[str, ...], tree: Path | None, type: str) -> None:
    """mke2fs passes over what it cannot copy with a remark and status 0 (e2fsprogs 1.47)."""
    left_out = [line for line in lines if "ignoring" in line or "Operation not permitted" in line]
    if left_out:
        raise GoldsmithError(f"mkfs.{type} left files of {tree} out: " + "; ".join(left_out))


def _run_debugfs(stretch: Stretch, script: str, epoch_s: int) -> None:
    # debugfs ends with status 0 whatever its commands did: what it says on stderr counts. The
    # commands themselves it repeats on stdout, four lines for every inode.
    errors: list[str] = []

    def note(stream: str, line: str) -> None:
        if stream == "stderr" and line and not line.startswith("debugfs 1."):
            errors.append(line)

    with (
        tempfile.NamedTemporaryFile("w", prefix="goldsmith-debugfs-") as commands,
        open(os.devnull, "wb") as nowhere,
    ):
        commands.write(script)
        commands.flush()
        run(
            ["debugfs", "-w", "-f", commands.name, stretch.tool_name],
            env=tool_environment(E2FSPROGS_FAKE_TIME=str(epoch_s), DEBUGFS_PAGER="__none__"),
            cwd=stretch.image.parent, timeout_s=MKFS_TIMEOUT_S, on_line=note,
            stdout_to=nowhere.fileno(),
        )  # fmt: skip
    if any(is_full_message(error) for error in errors):
        raise no_space(stretch.image)
    if errors:
        raise GoldsmithError("debugfs could not set the times of inodes: " + "; ".join(errors[:5]))


def _time_script(made: Ext4File, tree: Path | None, epoch_s: int, *, clamp_mtimes: bool) -> str:
    """The debugfs commands for every inode in use; mke2fs leaves the root's attributes alone."""
    lines: list[str] = []
    for number, inode in made.inodes_in_use():
        lines += _fields(number, atime=f"@{epoch_s}", atime_extra="0",
                         ctime=f"@{epoch_s}", ctime_extra="0")  # fmt: skip
        if clamp_mtimes and modified_s(inode) > epoch_s:
            lines += _fields(number, mtime=f"@{epoch_s}", mtime_extra="0")
    if tree is not None:
        status = tree.stat()
        seconds = min(int(status.st_mtime), epoch_s) if clamp_mtimes else int(status.st_mtime)
        mode = stat.S_IFDIR | stat.S_IMODE(status.st_mode)
        lines += _fields(ROOT_INODE, mode=f"0{mode:o}", uid=str(status.st_uid),
                         gid=str(status.st_gid), mtime=f"@{max(seconds, 0)}",
                         mtime_extra="0")  # fmt: skip
    return "\n".join([*lines, ""])


def _fields(number: int, **values: str) -> Iterator[str]:
    return (f"set_inode_field <{number}> {name} {value}" for name, value in values.items())
