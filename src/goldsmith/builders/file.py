"""The `file` source: one file, of a text or a copy, for templates about post-processors."""

from __future__ import annotations

import errno
import itertools
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import BinaryIO, ClassVar, Final

from pydantic import Field, model_validator

from goldsmith.communicators.none import NoCommunicator
from goldsmith.core.artifact import Artifact, ExpectedArtifact
from goldsmith.core.builder import BuildContext
from goldsmith.core.hook import ProvisionHook
from goldsmith.core.options import Finding, Options
from goldsmith.core.plan import BuildPlan, PlanContext, plan_of_uncached
from goldsmith.errors import GoldsmithError, Severity
from goldsmith.host.cancellation import check_cancelled
from goldsmith.host.sparse import full_file_system_named

BUILDER_ID: Final = "packer.file"
_CHUNK_BYTES: Final = 1 << 20


class FileSourceOptions(Options):
    """Options of `source "file"`."""

    go_templates: ClassVar[bool] = True
    nul_allowed: ClassVar[frozenset[str]] = frozenset({"content"})

    target: str = Field(min_length=1, description="The file to make; one that exists is replaced.")
    content: str = Field("", description="The text of the file; it gets mode 0600.")
    source: str = Field("", description="A file of this host to copy, in place of `content`.")

    @model_validator(mode="after")
    def _one_kind(self) -> FileSourceOptions:
        if self.content and self.source:
            raise ValueError("only one of content and source may be given")
        return self


class FileBuilder:
    """Makes one file."""

    type_name: ClassVar[str] = "file"
    options_model: ClassVar[type[Options]] = FileSourceOptions
    needs_worker: ClassVar[bool] = False
    announces: ClassVar[tuple[str, ...]] = ()
    communicates: ClassVar[bool] = False

    def __init__(self, options: Options, name: str) -> None:
        assert isinstance(options, FileSourceOptions)
        self.options = options
        self.name = name

    @property
    def expected(self) -> ExpectedArtifact:
        """No disk image."""
        return ExpectedArtifact()

    def check(self) -> Sequence[Finding]:
        """A warning about a file that will be empty."""
        if self.options.content or self.options.source:
            return []
        message = f"file.{self.name}: neither content nor source is given, so the file is empty"
        return [Finding(message, (), 'Write content = "…" or source = "…".', Severity.WARNING)]

    def preflight(self, directory: Path, *, force: bool) -> None:
        """Nothing is needed; a file in the way is replaced, as Packer does."""

    def claims(self, directory: Path) -> Sequence[Path]:
        """Nothing that another build could not write too, as with Packer."""
        return ()

    def plan(self, context: PlanContext) -> BuildPlan:
        """Everything runs each time."""
        label = f"Writing {self.options.target}"
        return plan_of_uncached(context, label, self.claims(context.directory))

    def build(self, context: BuildContext) -> Artifact:
        """Make the file, then run the provisioners; if one fails the file goes again.

        With -on-error=abort and run-cleanup-provisioner it stays.
        """
        target = self.options.target
        # A link stays one: the file that it leads to is replaced.
        path = Path(os.path.realpath(context.directory / target))
        self._require_source(context.directory)
        with full_file_system_named(path):
            try:
                path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
                self._write(path, context)
            except OSError as e:
                if e.errno in (errno.ENOSPC, errno.EDQUOT):
                    raise
                raise GoldsmithError(f"cannot write {target}: {e.strerror}") from e
        hook = ProvisionHook(
            context, NoCommunicator(), self.type_name, undo=partial(path.unlink, missing_ok=True)
        )
        hook.run({"PackerRunUUID": context.run_uuid})
        return Artifact(
            builder_id=BUILDER_ID, id="File", string=f"Stored file: {target}", files=(target,)
        )

    def _require_source(self, directory: Path) -> None:
        name = self.options.source
        if name and not (directory / name).is_file():
            raise GoldsmithError(f"cannot read the source {name}: there is no such file")

    def _write(self, path: Path, context: BuildContext) -> None:
        """Write under another name and rename: what others see is whole."""
        # Two builds may write one file at once.
        number = next(_numbers)
        temporary = path.with_name(f".{path.name}.{context.run.id}-{number}.partial")
        with context.run.scratch_file(temporary):
            if self.options.source:
                self._copy(temporary, _mode_of(path, 0o666 & ~_umask()), context)
            else:
                with _created(temporary, _mode_of(path, 0o600)) as file:
                    file.write(self.options.content.encode("utf-8", "surrogateescape"))
            os.replace(temporary, path)

    def _copy(self, temporary: Path, mode: int, context: BuildContext) -> None:
        name = self.options.source
        with ExitStack() as stack:
            try:
                origin = stack.enter_context(open(context.directory / name, "rb"))
            except OSError as e:
                raise GoldsmithError(f"cannot read the source {name}: {e.strerror}") from e
            file = stack.enter_context(_created(temporary, mode))
            context.emitter.say(f"Copying {name} to {self.options.target}")
            while piece := origin.read(_CHUNK_BYTES):
                file.write(piece)
                check_cancelled()
            context.emitter.say(f"Copied {file.tell()} bytes")


_numbers = itertools.count()


@contextmanager
def _created(path: Path, mode: int) -> Iterator[BinaryIO]:
    """A new file, on the disk when the block is left."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "wb") as file:
        yield file
        file.flush()
        os.fchmod(fd, mode)
        os.fsync(fd)


def _mode_of(path: Path, otherwise: int) -> int:
    """The mode of the file that is replaced, which stays."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return otherwise
    if not stat.S_ISREG(status.st_mode):
        raise GoldsmithError(f"cannot write {path}: it is not a file")
    return stat.S_IMODE(status.st_mode)


def _umask() -> int:
    """The process's umask; umask(2) can only tell it by changing it, which other threads see."""
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1], 8) for line in lines if line.startswith("Umask:"))
