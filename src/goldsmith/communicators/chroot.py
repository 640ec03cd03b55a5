"""Reaches a tree through the namespaces of the running step.

Commands enter the namespaces and change root; the shell that reads them is the tree's own. Files
are written by this process through /proc/PID/root, so that they land where the step's programs see
them (in its /run, too); every path is resolved inside the tree, links included.
"""

from __future__ import annotations

import os
import shutil
import socket
import stat
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Final

from goldsmith.core.tree_entrance import TreeAccess
from goldsmith.errors import GoldsmithError
from goldsmith.host import chroot, mounts, process
from goldsmith.host.confined import confined
from goldsmith.host.namespaces import StepNamespace

COMMAND_FILE: Final = f"{chroot.RUN_FILES}/.command"


@dataclass(frozen=True, slots=True)
class ChrootCommunicator:
    """A communicator for a mounted tree and the namespaces of one step."""

    namespace: StepNamespace
    tree: Path
    environment: Mapping[str, str]
    in_tree: ClassVar[bool] = True

    def _argv(self, argv: Sequence[str]) -> list[str]:
        return self.namespace.entering(chroot.chroot_argv(self.tree, argv))

    def _place(self, path: str) -> Path:
        return confined(self.namespace.host_path(self.tree), path, follow_last=True)

    def run(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        input: bytes | None = None,
        on_line: process.LineSink | None = None,
    ) -> process.Completed:
        """Run a program of the tree; raises CommandFailed for a status other than 0."""
        environment = {**chroot.CLEAN_ENVIRONMENT, **self.environment, **(env or {})}
        return process.run(self._argv(argv), env=environment, input=input, on_line=on_line)

    def start(
        self,
        command: str,
        *,
        on_line: process.LineSink,
        env: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
    ) -> int:
        """Run a shell line in the tree and return its exit status.

        The line goes as a file that only root can read: arguments are short, and on every list of
        processes, while values of variables may be long, and secret.
        """
        environment = {**chroot.CLEAN_ENVIRONMENT, **self.environment, **(env or {})}
        self.upload(command.encode("utf-8", "surrogateescape"), COMMAND_FILE, mode=0o600)
        done = process.run(
            self._argv(["/bin/sh", COMMAND_FILE]),
            env=environment, check=False, on_line=on_line, timeout_s=timeout_s,
        )  # fmt: skip
        return done.status if done.status >= 0 else 128 - done.status

    def exchange(self, command: str, *, stdin: int, stdout: int, stderr: int) -> int:
        """Run a shell line with these descriptors as its streams; see `start`."""
        environment = {**chroot.CLEAN_ENVIRONMENT, **self.environment}
        # Several may run at once, so each has a file of its own.
        name = f"{COMMAND_FILE}-{os.urandom(4).hex()}"
        self.upload(command.encode("utf-8", "surrogateescape"), name, mode=0o600)
        try:
            done = process.run(
                self._argv(["/bin/sh", name]), env=environment, check=False,
                stdin_from=stdin, stdout_to=stdout, stderr_to=stderr,
            )  # fmt: skip
        finally:
            self.remove(name)
        return done.status if done.status >= 0 else 128 - done.status

    def is_directory(self, path: str) -> bool:
        """Whether a directory is there."""
        return self._place(path).is_dir()

    def upload(self, content: bytes | Path, destination: str, *, mode: int | None = None) -> None:
        """Write a file into the tree, owned by root."""
        target = self._place(destination)
        if not target.parent.is_dir():
            raise GoldsmithError(
                f"cannot write {destination}: there is no directory {os.path.dirname(destination)}",
                hint="make it in a shell provisioner before this one",
            )
        if target.is_dir():
            raise GoldsmithError(f"cannot write {destination}: it is a directory")
        _write(content, target, mode)

    def upload_directory(self, source: Path, destination: str) -> None:
        """Copy the content of a directory into the tree: modes and links stay, root owns it."""

        def place(path: str) -> Path:
            # A link of the tree where the source has a directory leads elsewhere in the tree.
            return self._place(os.path.join(destination, path))

        _copy_content(source, place, destination)

    def download(self, source: str, destination: Path) -> None:
        """Copy a file out of the tree."""
        origin = self._place(source)
        if not origin.is_file():
            raise GoldsmithError(f"cannot download {source}: there is no such file in the tree")
        _write(origin, destination, None)

    def download_directory(self, source: str, destination: Path) -> None:
        """Copy the content of a directory out of the tree; links stay links, and are not followed.

        A link that an earlier download has left where this one has a directory is replaced.
        """
        top = self._place(source)
        if not top.is_dir():
            raise GoldsmithError(f"cannot download {source}: no such directory in the tree")
        destination.mkdir(parents=True, exist_ok=True)

        def place(path: str) -> Path:
            target = destination
            for part in Path(path).parts:
                if target != destination and target.is_symlink():
                    target.unlink()
                    target.mkdir()
                target = target / part
            if target != destination and target.is_symlink():
                target.unlink()
            return target

        _copy_content(top, place, str(destination))

    def remove(self, path: str) -> None:
        """Remove a file of the tree; the last link of the path is not followed."""
        parent = self._place(os.path.dirname(path))
        (parent / os.path.basename(path)).unlink(missing_ok=True)


def _copy_content(source: Path, place: Callable[[str], Path], shown: str) -> None:
    """Copy what is in a directory to where `place` says for each path below it.

    Raises GoldsmithError that names what could not be copied.
    """
    try:
        place(".").mkdir(parents=True, exist_ok=True)
        for directory, names, files in os.walk(source):
            below = os.path.relpath(directory, source)
            for name in sorted(names + files):
                relative = os.path.normpath(os.path.join(below, name))
                _copy_entry(Path(directory, name), place, relative)
    except OSError as e:
        what = f" ({e.filename})" if e.filename else ""
        raise GoldsmithError(f"cannot copy {source} to {shown}: {e.strerror}{what}") from e


def _copy_entry(origin: Path, place: Callable[[str], Path], relative: str) -> None:
    status = os.lstat(origin)
    mode = stat.S_IMODE(status.st_mode)
    if stat.S_ISLNK(status.st_mode):
        target = place(os.path.dirname(relative)) / os.path.basename(relative)
        target.unlink(missing_ok=True)
        os.symlink(os.readlink(origin), target)
    elif stat.S_ISDIR(status.st_mode):
        target = place(relative)
        target.mkdir(exist_ok=True)
        target.chmod(mode)
    elif stat.S_ISREG(status.st_mode):
        _write(origin, place(relative), mode)
    else:
        raise GoldsmithError(f"{origin} is neither a file, a directory nor a link")


def _write(content: bytes | Path, target: Path, mode: int | None) -> None:
    """Write a file in place of what is there; a link at the end of the path is replaced."""
    if target.is_symlink():
        target.unlink()
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        with os.fdopen(os.open(target, flags, 0o600), "wb") as out:
            if isinstance(content, bytes):
                out.write(content)
                kept = 0o644
            else:
                with content.open("rb") as origin:
                    shutil.copyfileobj(origin, out, 1 << 20)
                    kept = stat.S_IMODE(os.fstat(origin.fileno()).st_mode)
            os.fchmod(out.fileno(), kept if mode is None else mode)
    except OSError as e:
        raise GoldsmithError(f"cannot copy to {target}: {e.strerror}") from e


@dataclass(frozen=True, slots=True)
class ChrootEntrance:
    """Makes trees enterable by chroot (see `core.tree_entrance.TreeEntrance`).

    `private_files` are shown in the tree, by path, to steps that have a network.
    """

    private_files: Mapping[str, Path] = field(default_factory=dict)

    def set_up(self, tree: Path, *, network: bool, enters: bool) -> dict[str, Any]:
        """Mount what programs in the tree expect; where nothing enters it, only a new /proc."""
        if enters:
            return chroot.mount_api(tree, network=network, private_files=self.private_files)
        # Scripts of packages would write the build host's name into the tree.
        socket.sethostname(chroot.DEFAULT_HOST_NAME)
        mounts.mount("proc", "/proc", "proc")
        return {}

    def tear_down(self, tree: Path, report: Mapping[str, Any]) -> None:
        """Take away what the mounts left in the tree."""
        chroot.remove_placeholders(report)

    def access(
        self, namespace: StepNamespace, tree: Path, environment: Mapping[str, str]
    ) -> TreeAccess:
        """A communicator, and the ways to run programs of the tree, and of the host on it."""
        communicator = ChrootCommunicator(namespace, tree, environment)
        return TreeAccess(communicator, communicator.run, namespace.run, namespace.entering)
