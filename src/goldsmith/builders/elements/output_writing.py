"""The files of a build of elements while they are written: beside their names, which come last.

Every file is written as NAME.EXT-new and gets its name when all of them are whole; an older one
stays under a name with the time. Sources: the manual of diskimage-builder, and what version 3.43
does.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from goldsmith.builders.elements import output_names, tree_outputs
from goldsmith.builders.elements.disk_outputs import write_disk_outputs
from goldsmith.builders.elements.oci_archive import ImageConfig
from goldsmith.builders.elements.outputs import WantedOutputs
from goldsmith.builders.elements.tree_outputs import Checksums, Write
from goldsmith.builders.image.output import missing_directories, new_directory
from goldsmith.errors import ResourceBusy
from goldsmith.events import Emitter
from goldsmith.host.journal import RunDirectory
from goldsmith.host.locks import try_lock
from goldsmith.host.sparse import full_file_system_named
from goldsmith.host.teardown import Teardown


@contextmanager
def being_written(
    wanted: WantedOutputs, run: RunDirectory, emitter: Emitter, *, epoch_s: int
) -> Iterator[OutputsBeingWritten]:
    """Take the working names of all files, which are journalled; raises ResourceBusy.

    What has not got its name when the block is left is removed, directories that had to be made for
    it too.
    """
    imports = wanted.imports()
    files = [type for type in (*wanted.tree_types, *wanted.disk_types)
             if type != "docker" or not imports]  # fmt: skip
    with Teardown() as teardown:
        for directory in missing_directories(wanted.path("raw").parent):
            teardown.enter(f"remove {directory}", new_directory(directory, run))
        working = {}
        for type in files:
            path = output_names.working_path(wanted.path(type))
            teardown.enter(f"close {path}", _claimed(path))
            working[type] = teardown.enter(f"remove {path}", run.scratch_file(path))
        locks = teardown.enter("release the disk", ExitStack())
        before = wanted.side_outputs()
        yield OutputsBeingWritten(wanted, working, imports, before, locks, run, emitter, epoch_s)


@contextmanager
def _claimed(path: Path) -> Iterator[None]:
    """Make a file, or empty one that a killed build left, and hold its lock.

    It is journalled later: what another build has locked must not be removed with this one's.
    """
    while True:
        with full_file_system_named(path):
            fd = try_lock(path, mode=0o644)
        if fd is None:
            raise ResourceBusy(f"{path} is being written by another build",
                               hint="wait for it, or choose another name by -o")  # fmt: skip
        # Its owner may have given it its name while we opened it.
        with suppress(FileNotFoundError):
            if os.path.samestat(os.stat(path), os.fstat(fd)):
                break
        os.close(fd)
    try:
        os.ftruncate(fd, 0)
        yield
    finally:
        os.close(fd)


@dataclass(slots=True)
class OutputsBeingWritten:
    """The files of one build under their working names, and what has been done of them."""

    wanted: WantedOutputs
    working: Mapping[str, Path]
    imports: bool
    """Whether the type docker goes to the daemon, and not into a file."""
    side_before: Mapping[Path, tuple[int, int]]
    locks: ExitStack
    run: RunDirectory
    emitter: Emitter
    epoch_s: int
    checksums: Checksums = field(init=False)

    def __post_init__(self) -> None:
        self.checksums = Checksums(self.wanted.checksums)

    def write_tree_outputs(self, tree: Path) -> None:
        """Write everything that is made of the tree, which has nothing mounted but its own parts.

        Raises CommandFailed and NoSpaceError.
        """
        wanted = self.wanted
        with ExitStack() as stack:
            sinks = [
                stack.enter_context(self._archive(type))
                for type in wanted.tree_types
                if type in ("tar", "tgz", "docker")
            ]

            def write(data: bytes) -> None:
                for sink in sinks:
                    sink(data)

            if sinks:
                tree_outputs.write_tree(tree, write, epoch_s=self.epoch_s)
        if "aci" in wanted.tree_types:
            if wanted.aci_manifest is None:
                self.emitter.warn("No ACI_MANIFEST specified. An ACI_MANIFEST must be specified "
                                  "for this image to be usable.")  # fmt: skip
            tree_outputs.write_aci(tree, self.working["aci"], wanted.aci_manifest, self.checksums,
                                   epoch_s=self.epoch_s)  # fmt: skip
        if "squashfs" in wanted.tree_types:
            tree_outputs.write_squashfs(tree, self.working["squashfs"], self.checksums,
                                        epoch_s=self.epoch_s)  # fmt: skip

    def _archive(self, type: str) -> AbstractContextManager[Write]:
        wanted = self.wanted
        if type == "tar":
            return tree_outputs.tar_file(self.working[type], self.checksums)
        if type == "tgz":
            return tree_outputs.tgz_file(self.working[type], wanted.gzip_program, self.checksums)
        if self.imports:
            return tree_outputs.docker_import(
                wanted.docker_target, wanted.docker_environment, self.emitter.say
            )
        self.emitter.say(f"No Docker daemon answers: {wanted.docker_target} becomes an OCI archive")
        config = ImageConfig(wanted.docker_target, wanted.arch, self.epoch_s)
        return tree_outputs.docker_archive(self.working[type], config, self.checksums)

    def write_disk_outputs(self, raw: Path) -> None:
        """Write everything that is made of the disk; of type raw the image itself is taken.

        Raises CommandFailed and NoSpaceError.
        """
        targets = {
            type: (None if type == "raw" else self.wanted.conversion(type), self.working[type])
            for type in self.wanted.disk_types
        }
        if not targets:
            return
        converted = [conversion for conversion, _ in targets.values() if conversion is not None]
        if any(conversion.own_compression is None for conversion in converted):
            self.emitter.say("Converting image using qemu-img convert")
        elif converted:
            self.emitter.say("Converting image to qcow2")
        # The image takes the place of a file that is locked, and so must be, too.
        if "raw" in targets and (fd := try_lock(raw, make=False)) is not None:
            self.locks.callback(os.close, fd)
        write_disk_outputs(
            raw, targets, self.checksums, epoch_s=self.epoch_s, on_percent=self._percent
        )

    def _percent(self, type: str, percent: float) -> None:
        self.emitter.progress(type, round(percent), 100, part=type, unit="%")

    def publish(self) -> tuple[Path, ...]:
        """Give every file its name, older ones out of the way first; returns all that was made.

        Both are journalled: if we are killed between two renames, `clean` completes them.
        """
        wanted = self.wanted
        with ExitStack() as stack:
            pairs, stale = [], []
            for type, path in self.working.items():
                final = wanted.path(type)
                for algorithm, digest in self.checksums.of[path].items():
                    sums = output_names.sums_path(final, algorithm)
                    new = output_names.working_path(sums)
                    line = output_names.checksum_line(digest, wanted.shown(type))
                    stack.enter_context(self.run.scratch_file(new))
                    _write(new, line)
                    pairs.append((new, sums))
                pairs.append((path, final))
                stale += [output_names.sums_path(final, algorithm)
                          for algorithm in output_names.SUMS
                          if algorithm not in wanted.checksums]  # fmt: skip
            if not wanted.overwrite:
                # In a step of its own: completed once more, it would move what is new.
                self._rename(self._older(stack))
            self._rename(pairs)
        for path in stale:
            path.unlink(missing_ok=True)
        for type in self.working:
            self.emitter.say(f"Image file {wanted.shown(type)} created...")
        side = [path for path, status in wanted.side_outputs().items()
                if self.side_before.get(path) != status]  # fmt: skip
        return (*(target for _, target in pairs), *side)

    def _older(self, stack: ExitStack) -> list[tuple[Path, Path]]:
        """The new names of files that are there, and of their checksums, which name them."""
        pairs = []
        for type in self.working:
            final = self.wanted.path(type)
            if not os.path.lexists(final):
                continue
            aside = output_names.dated(final, type, time.time())
            self.emitter.say(f"Old image found. Renaming it to {aside}")
            for algorithm in output_names.SUMS:
                sums = output_names.sums_path(final, algorithm)
                line = output_names.renamed_line(sums, final.name, aside.name)
                if line is not None:
                    new = output_names.working_path(output_names.sums_path(aside, algorithm))
                    stack.enter_context(self.run.scratch_file(new))
                    _write(new, line)
                    pairs.append((new, output_names.sums_path(aside, algorithm)))
                elif os.path.lexists(sums):
                    pairs.append((sums, output_names.sums_path(aside, algorithm)))
            pairs.append((final, aside))
        return pairs

    def _rename(self, pairs: Sequence[tuple[Path, Path]]) -> None:
        if not pairs:
            return
        entry = self.run.record(
            "renames", pairs=[[str(a.absolute()), str(b.absolute())] for a, b in pairs]
        )
        for source, target in pairs:
            os.replace(source, target)
        fd = os.open(pairs[0][1].parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
        self.run.forget(entry)


def _write(path: Path, text: str) -> None:
    with full_file_system_named(path), open(path, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
