"""Trees that exist already: an archive unpacked, or a directory copied.

Source: tar(1) of GNU tar 1.34, cp(1) of coreutils 9.1.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from goldsmith.errors import CommandFailed, NotRootError
from goldsmith.host import user_namespace
from goldsmith.host.namespaces import RunTool
from goldsmith.host.process import run, tool_environment
from goldsmith.packages.apt_request import Report
from goldsmith.packages.errors import PackageError

_NOT_A_TREE = "it has no /usr and no /etc"
_KERNEL_MOUNTS = ("/proc", "/sys", "/dev", "/run")
_WITHOUT_DEVICES = ("--anchored", "--exclude=./dev/*", "--exclude=dev/*", "--exclude=/dev/*")


def require_archive(archive: Path) -> None:
    """Raise PackageError unless there is a file that `bootstrap_tar` could unpack."""
    if archive.is_dir():
        raise PackageError(
            f"{archive} is a directory, not an archive", hint='method = "directory" copies it'
        )
    if not archive.is_file():
        raise PackageError(f"there is no archive {archive}")


def require_tree(source: Path) -> None:
    """Raise PackageError unless there is a directory that `bootstrap_directory` could copy."""
    origin = Path(os.path.realpath(source))
    if origin.is_file():
        raise PackageError(
            f"{source} is a file, not a directory", hint='method = "tar" unpacks an archive'
        )
    if not origin.is_dir():
        raise PackageError(f"there is no directory {source}")
    if origin == Path("/"):
        raise PackageError(
            "the tree of this running host cannot be copied: its files change meanwhile",
            hint='copy a snapshot of it, or start from method = "apt"',
        )
    _require_root_file_system(origin, str(source))


def bootstrap_tar(target: Path, archive: Path, *, emit: Report, run_tool: RunTool = run) -> None:
    """Unpack the archive of a root file system into `target`, an empty directory or a new one.

    Owners, modes, ACLs, capabilities and device nodes are kept as the archive has them. The
    archive is not trusted: tar takes the leading `/` off names, refuses `..`, and makes links that
    lead elsewhere only after all files are written. Raises PackageError for an archive that is
    damaged, has such members, or holds no tree.
    """
    require_archive(archive)
    prepare_target(target)
    emit("message", f"Unpacking {archive.name}")
    argv = [
        "tar",
        "--extract",
        f"--file={archive.absolute()}",
        f"--directory={target.absolute()}",
        # A name with a colon is a file, never another host.
        "--force-local",
        "--same-owner",
        "--same-permissions",
        "--numeric-owner",
        "--acls",
        "--xattrs",
        # Not trusted.*: overlayfs keeps its own marks there.
        "--xattrs-include=user.*",
        "--xattrs-include=security.*",
        "--delay-directory-restore",
        "--warning=no-timestamp",
        # A user namespace makes no device nodes, and the image's /dev is empty anyway.
        *(_WITHOUT_DEVICES if user_namespace.is_inside() else ()),
    ]
    try:
        run_tool(argv, env=tool_environment(), on_line=lambda _, line: emit("output", line))
    except CommandFailed as e:
        raise _tar_error(archive, e) from e
    _require_root_file_system(target, str(archive))


def bootstrap_directory(
    target: Path, source: Path, *, emit: Report, run_tool: RunTool = run
) -> None:
    """Copy the tree in `source` into `target`, an empty directory or a new one.

    Everything of a file is kept, holes are made where there are zeros, and blocks are shared where
    the file system can. What is mounted below `source` is not copied; a warning says so. Raises
    PackageError.
    """
    require_tree(source)
    origin = Path(os.path.realpath(source))
    if Path(os.path.realpath(target)).is_relative_to(origin):
        raise PackageError(f"the tree would be copied into itself: {target} is in {source}")
    prepare_target(target)
    for mounted in mounts_below(origin, Path("/proc/self/mountinfo").read_text()):
        emit("warning", f"{mounted} is another file system and is not copied")
    emit("message", f"Copying {source}")
    argv = ["cp", "--archive", "--reflink=auto", "--sparse=always", "--one-file-system",
            "--no-target-directory", str(origin), os.path.abspath(target)]  # fmt: skip
    run_tool(argv, on_line=lambda _, line: emit("output", line))


def mounts_below(directory: Path, mountinfo: str) -> list[str]:
    """The mount points below a directory, but for those of the kernel's own file systems.

    `mountinfo` is the text of /proc/PID/mountinfo (proc(5)), which writes blanks in octal.
    """
    found = []
    for line in mountinfo.splitlines():
        place = re.sub(r"\\([0-7]{3})", lambda m: chr(int(m.group(1), 8)), line.split()[4])
        if not place.startswith(f"{directory}/"):
            continue
        below = place.removeprefix(str(directory))
        if not any(below == top or below.startswith(f"{top}/") for top in _KERNEL_MOUNTS):
            found.append(place)
    return found


def prepare_target(target: Path) -> None:
    """Make the target if it is missing; raises PackageError when it has content, NotRootError."""
    if os.geteuid() != 0:
        raise NotRootError("keeping the owners of a tree's files")
    target.mkdir(parents=True, exist_ok=True)
    if any(child.name != "lost+found" for child in target.iterdir()):
        raise PackageError(f"{target} is not empty")


def _require_root_file_system(tree: Path, name: str) -> None:
    if (tree / "usr").is_dir() or (tree / "etc").is_dir():
        return
    children = [child.name for child in tree.iterdir() if child.is_dir()]
    inner = next((c for c in children if (tree / c / "usr").is_dir()), None)
    raise PackageError(
        f"{name} is not a root file system: {_NOT_A_TREE}",
        hint=f"its tree is in the folder {inner}: give that one" if inner else None,
    )


def _tar_error(archive: Path, error: CommandFailed) -> PackageError:
    lines = [line for line in error.tail if line.startswith("tar")]
    text = "\n".join(lines) or str(error)
    missing = re.search(r"tar \(child\): (\S+): Cannot exec", text)
    hint = None
    if missing:
        hint = f"install {missing.group(1)} on this host"
    elif "contains '..'" in text:
        hint = "the archive would write outside its tree: do not trust it"
    elif "does not look like a tar archive" in text or "Unexpected EOF" in text:
        hint = "the file is damaged or not an archive: fetch it again"
    elif "Cannot mknod" in text and user_namespace.is_inside():
        hint = "only root makes device nodes: build as root, or leave them out of the archive"
    elif "No space left" in text:
        hint = "free space on the file system of the build"
    return PackageError(f"{archive} cannot be unpacked\n{text}", hint=hint)
