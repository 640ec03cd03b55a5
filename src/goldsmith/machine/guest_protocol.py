"""What host and guest say to each other: the step's archive, the result's, the control port.

A step goes in as a tar archive on a disk. While it runs, three ports of the guest speak: one with
what its commands write on standard output, one for standard error, and the control port, on which
the guest's init tells by lines what it does:

    begin N          command N starts
    end N STATUS     it has ended, with the status as a shell gives it (128 + signal)
    results STATUS   the result's archive was written, with tar's status
    done             everything is flushed, unmounted and stopped: nothing will change any more

After its last byte each output port ends with a line that the host has chosen (`OutputPort`), so
that output which is still on its way is waited for.
"""

from __future__ import annotations

import codecs
import io
import os
import re
import secrets
import tarfile
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from goldsmith.errors import CommandFailed, GoldsmithError
from goldsmith.host.sparse import full_file_system_named
from goldsmith.units import MIB, format_size

STEP_DIRECTORY: Final = "run/goldsmith/step"
"""Where the guest unpacks what is not a file of the caller's; relative to its root."""

DISK_LIMIT: Final = 20
SECTOR_BYTES: Final = 512
SMALLEST_MEMORY_BYTES: Final = 192 * MIB
"""With less the initramfs does not fit into the half of it that the root may take."""

LARGEST_CLOCK_S: Final = 253402300799
"""The end of the year 9999, which the machine's clock shows in four digits."""

WORD_LIMIT_BYTES: Final = (128 << 10) - 1
"""MAX_ARG_STRLEN of linux/binfmts.h, with the NUL."""
WORDS_LIMIT_BYTES: Final = 1 << 20
LINE_LIMIT: Final = 64 << 10
TAIL_LINES: Final = 40

_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

LineSink = Callable[[str, str], None]
"""Called with the stream ("stdout" or "stderr") and a line without its newline."""


class GuestError(GoldsmithError):
    """The guest cannot be made, or did not get to the end of its step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestDisk:
    """A disk image or block device of the host that the guest works on.

    The format is given and never guessed: a guest could write another one's header into it.
    """

    path: Path
    format: Literal["raw", "qcow2"] = "raw"
    read_only: bool = False
    block_bytes: int = SECTOR_BYTES
    """The size of its sectors: 512 or 4096."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestStep:
    """Commands to run as root in a guest, one after the other until one fails.

    A command is an argument list; its program is looked up on PATH, never in a shell. Disk N is
    /dev/disk/N and has the kernel's name in order (/dev/vda, /dev/vdb, ...), so its partitions are
    /dev/vda1 and so on; kernel modules load when they are needed. `files` are put at their paths
    before the first command, with mode 0644 or the mode of the file of the host; they lie in the
    guest's memory, whose half they may fill; a large archive is better attached as a disk, from
    which tar reads it. `results` are
    files to bring back, links followed. Mounts, arrays and volumes that are left at the end are
    unmounted and stopped. The guest's clock begins at `clock_s` (seconds since 1970), or it is this
    host's. With `network` the guest reaches what the host reaches, over IPv4 with
    addresses of its own, and the host itself as 10.0.2.2. With `shares`, which turns the words of a
    program into those that run it in a mount namespace of this host, the guest can mount the files
    of that namespace: type virtiofs, source "host". Raises GuestError for what cannot be.
    """

    commands: Sequence[Sequence[str]]
    timeout_s: float
    files: Mapping[str, bytes | Path] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    disks: Sequence[GuestDisk] = ()
    results: Sequence[str] = ()
    results_limit_bytes: int = 256 * MIB
    network: bool = False
    memory_bytes: int = 512 * MIB
    clock_s: int | None = None
    shares: Callable[[Sequence[str]], list[str]] | None = None

    def __post_init__(self) -> None:
        for command in self.commands:
            _check_words(self._words(command))
            if not command or not command[0]:
                raise GuestError("a command of the guest has no program")
        for name in self.environment:
            if not _VARIABLE.fullmatch(name):
                raise GuestError(f"{name!r} is not the name of an environment variable")
        for path in (*self.files, *self.results):
            _check_path(path)
        if len(self.disks) > DISK_LIMIT:
            raise GuestError(f"a guest takes at most {DISK_LIMIT} disks, not {len(self.disks)}")
        if self.clock_s is not None and not 0 <= self.clock_s <= LARGEST_CLOCK_S:
            raise GuestError(f"a guest's clock cannot begin at {self.clock_s} seconds since 1970")
        if self.timeout_s <= 0 or self.memory_bytes < SMALLEST_MEMORY_BYTES:
            raise GuestError(
                f"a guest needs time and at least {format_size(SMALLEST_MEMORY_BYTES)} of memory"
            )

    def words(self, number: int) -> bytes:
        """What init reads for a command: variables, an empty word, the arguments, NUL-ended."""
        return b"".join(os.fsencode(word) + b"\0" for word in self._words(self.commands[number]))

    def _words(self, command: Sequence[str]) -> list[str]:
        return [*(f"{name}={value}" for name, value in self.environment.items()), "", *command]


def _check_words(words: Sequence[str]) -> None:
    sizes = [len(os.fsencode(word)) for word in words]
    if any("\0" in word for word in words):
        raise GuestError("a command of the guest has a NUL character")
    if max(sizes) > WORD_LIMIT_BYTES or sum(sizes) + len(sizes) > WORDS_LIMIT_BYTES:
        raise GuestError(
            "a command of the guest is longer than its kernel allows",
            hint="give what is long as a file",
        )


def _check_path(path: str) -> None:
    parts = path.split("/")
    if parts[0] or len(parts) < 2 or {"", ".", ".."} & set(parts[1:]) or "\0" in path:
        raise GuestError(f"{path!r} is not an absolute, plain path in the guest")


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestResult:
    """How a step went: the status of its last command, which was the failed one if it is not 0.

    `results` has the content of each file asked for; after a failure, of those that were there.
    """

    status: int
    failed_command: int | None
    results: Mapping[str, bytes]
    duration_s: float
    tail: tuple[str, ...] = ()

    def require_success(self, step: GuestStep) -> GuestResult:
        """This result; raises CommandFailed with the command and the last lines if it failed."""
        if self.failed_command is not None:
            argv = step.commands[self.failed_command]
            # A shell's status of a program that a signal ended, as Python has it.
            status = 128 - self.status if self.status > 128 else self.status
            raise CommandFailed(argv, status, tail=self.tail, duration_s=self.duration_s)
        return self


def write_step(step: GuestStep, path: Path, marker: str) -> None:
    """Write the archive that tells a guest what to do; raises GuestError for a file not there."""
    with full_file_system_named(path), tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as tar:
        _add(tar, f"{STEP_DIRECTORY}/marker", marker.encode())
        for number in range(len(step.commands)):
            _add(tar, f"{STEP_DIRECTORY}/argv/{number}", step.words(number))
        if step.results:
            names = b"".join(os.fsencode(name.lstrip("/")) + b"\0" for name in step.results)
            _add(tar, f"{STEP_DIRECTORY}/results", names)
        if step.network:
            _add(tar, f"{STEP_DIRECTORY}/network", b"")
        for name, content in step.files.items():
            _add(tar, name.lstrip("/"), content)


def _add(tar: tarfile.TarFile, name: str, content: bytes | Path) -> None:
    member = tarfile.TarInfo(name)
    member.mode = 0o644
    if isinstance(content, bytes):
        member.size = len(content)
        tar.addfile(member, io.BytesIO(content))
        return
    try:
        with open(content, "rb") as stream:
            status = os.fstat(stream.fileno())
            member.size, member.mode = status.st_size, status.st_mode & 0o777
            tar.addfile(member, stream)
    except OSError as e:
        if e.filename is None:  # the archive's own trouble
            raise
        raise GuestError(f"{content} cannot be given to the guest: {e.strerror}") from e


def read_results(archive: Path, names: Iterable[str]) -> dict[str, bytes]:
    """The files of a result's archive that were asked for, as far as they are in it.

    Raises GuestError for an archive that is damaged and for results that are no files.
    """
    wanted = {name.lstrip("/"): name for name in names}
    found: dict[str, bytes] = {}
    try:
        # A disk that nothing was written to reads as zeros, which is an empty archive.
        with tarfile.open(archive, "r:", ignore_zeros=False) as tar:
            for member in tar:
                name = wanted.get(member.name.removeprefix("./"))
                if name is None:
                    continue
                stream = tar.extractfile(member)
                if stream is None:
                    raise GuestError(f"{name} is no file in the guest: it cannot be brought back")
                found[name] = stream.read()
    except tarfile.TarError as e:
        raise GuestError(f"the guest's results cannot be read: {e}") from e
    return found


def new_marker() -> str:
    """A line that no command writes by chance."""
    return f"goldsmith-{secrets.token_hex(16)}"


class OutputPort:
    """Cuts what comes over an output port into lines until the marker: then it is `complete`."""

    def __init__(self, stream: str, marker: str, sink: Callable[[str, str], None]) -> None:
        self.complete = False
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._stream, self._marker, self._sink = stream, marker, sink
        self._rest = ""

    def feed(self, data: bytes) -> None:
        """Take the next bytes; what follows the marker is dropped."""
        if self.complete:
            return
        *lines, self._rest = (self._rest + self._decoder.decode(data)).split("\n")
        for line in lines:
            if line.endswith(self._marker):
                self.complete = True
                # The last line of the commands may lack its newline.
                self._rest = line.removesuffix(self._marker)
                break
            self._tell(line)
        else:
            if len(self._rest) > LINE_LIMIT:
                # Never within the marker, which comes in one piece after a whole read at most.
                cut = len(self._rest) - len(self._marker)
                self._tell(self._rest[:cut])
                self._rest = self._rest[cut:]
        if self.complete and self._rest:
            self._tell(self._rest)

    def close(self) -> None:
        """No more bytes will come: hand out the line that has no end."""
        if not self.complete and self._rest:
            self._tell(self._rest)
            self._rest = ""

    def _tell(self, line: str) -> None:
        # A terminal would show what follows the last carriage return only.
        self._sink(self._stream, line.rstrip().rsplit("\r", 1)[-1])


class ControlPort:
    """Follows what init says: which command runs, how it ended, whether all is done."""

    def __init__(self) -> None:
        self.running: int | None = None
        self.ended: dict[int, int] = {}
        self.results_status: int | None = None
        self.done = False
        self._rest = b""

    def feed(self, data: bytes) -> None:
        """Take the next bytes; raises GuestError for a line that is none of the protocol."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            words = line.decode(errors="replace").split(" ")
            match words:
                case ["begin", number] if number.isdecimal():
                    self.running = int(number)
                case ["end", number, status] if number.isdecimal() and status.isdecimal():
                    self.ended[int(number)] = int(status)
                    self.running = None
                case ["results", status] if status.isdecimal():
                    self.results_status = int(status)
                case ["done"]:
                    self.done = True
                case _:
                    raise GuestError(f"the guest said {' '.join(words)!r}, which means nothing")

    @property
    def failed(self) -> tuple[int, int] | None:
        """The command that failed and its status."""
        return next(((n, status) for n, status in self.ended.items() if status != 0), None)


@dataclass(slots=True)
class Tail:
    """Keeps the last lines and hands all of them on."""

    on_line: LineSink | None = None
    lines: deque[str] = field(default_factory=lambda: deque(maxlen=TAIL_LINES))

    def __call__(self, stream: str, line: str) -> None:
        """Take a line."""
        self.lines.append(line)
        if self.on_line is not None:
            self.on_line(stream, line)
