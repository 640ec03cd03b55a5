"""The files that a build of elements is to leave: their names, and whether they can be made.

Sources: the manual of diskimage-builder, and what version 3.43 does.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

from goldsmith.builders.elements import output_names
from goldsmith.builders.elements.disk_outputs import Conversion
from goldsmith.builders.elements.oci_archive import REFERENCE
from goldsmith.core.options import did_you_mean
from goldsmith.errors import CommandTimedOut, MissingToolError
from goldsmith.host import mounts
from goldsmith.host.process import find_tool, get_tool, run, tool_environment

TREE_TYPES: Final = ("tar", "tgz", "squashfs", "docker", "aci")
"""What is made of the tree; every other type is made of the disk."""

_DISK_TYPES: Final = ("qcow2", "raw", "vhd", "luks", "parallels", "qcow", "qed", "vdi", "vhdx",
                      "vmdk", "vpc")  # fmt: skip
"""What every qemu-img writes: of other words it is asked."""
_NO_TYPE: Final = "there is no such type of image."
_OF_THE_KERNEL: Final = frozenset({
    "binfmt_misc", "bpf", "cgroup", "cgroup2", "configfs", "debugfs", "devpts", "efivarfs",
    "mqueue", "proc", "pstore", "securityfs", "sysfs", "tracefs",
})  # fmt: skip
_MOST_NAME_BYTES: Final = 255
"""NAME_MAX of Linux: limits.h."""
_WORD: Final = re.compile(r"[a-z0-9][a-z0-9_-]*")
_DOCKER_ANSWERS_S: Final = 30.0
_DOCKER_VARIABLES: Final = ("DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_CONFIG", "DOCKER_CERT_PATH",
                            "DOCKER_TLS_VERIFY", "DOCKER_API_VERSION")  # fmt: skip


class OutputFinding(NamedTuple):
    """What is wrong with an option of the outputs, in words."""

    path: tuple[str | int, ...]
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedOutputs:
    """What is to come out of a build, as the words of disk-image-create say it."""

    name: str
    """As -o has it: a path without the ending, from `directory` on."""
    types: tuple[str, ...] = ("qcow2",)
    checksums: tuple[str, ...] = ()
    compress: bool = True
    qemu_img_options: str = ""
    docker_target: str = ""
    overwrite: bool = False
    makes_disk: bool = True
    """Off for ramdisks and with the element no-final-image: outputs of the tree are made alone."""
    arch: str = "amd64"
    directory: Path = field(default_factory=Path)
    environment: Mapping[str, str] = field(default_factory=dict)
    """The caller's: DIB_GZIP_BIN, ACI_MANIFEST, and where Docker's daemon is."""

    @property
    def tree_types(self) -> tuple[str, ...]:
        """The types that are made of the finished tree."""
        return tuple(type for type in self.types if type in TREE_TYPES)

    @property
    def disk_types(self) -> tuple[str, ...]:
        """The types that are made of the disk, the disk itself as the last one."""
        found = [type for type in self.types if type not in TREE_TYPES] if self.makes_disk else []
        return tuple(sorted(found, key=lambda type: type == "raw"))

    def path(self, type: str) -> Path:
        """Where the file of a type goes."""
        return self._beside(output_names.extension(type))

    def shown(self, type: str) -> str:
        """The name of a type's file in messages and files of checksums: as -o has it."""
        return f"{self.name}.{output_names.extension(type)}"

    def _beside(self, ending: str) -> Path:
        return self.directory / f"{self.name}.{ending}"

    @property
    def gzip_program(self) -> tuple[str, ...]:
        """What DIB_GZIP_BIN names with its arguments, unless it is gzip itself."""
        words = tuple(self.environment.get("DIB_GZIP_BIN", "").split())
        return () if words == ("gzip",) else words

    @property
    def aci_manifest(self) -> Path | None:
        """The manifest of an App Container Image."""
        given = self.environment.get("ACI_MANIFEST")
        return self.directory / given if given else None

    @property
    def docker_environment(self) -> dict[str, str]:
        """What Docker's program is told of its daemon."""
        found = {name: self.environment[name] for name in _DOCKER_VARIABLES
                 if name in self.environment}  # fmt: skip
        return tool_environment(**found)

    def imports(self) -> bool:
        """Whether type docker is wanted, and goes to a Docker daemon, which answers."""
        if "docker" not in self.types or find_tool("docker") is None:
            return False
        try:
            asked = run(["docker", "version", "--format", "{{.Server.Version}}"], check=False,
                        env=self.docker_environment, timeout_s=_DOCKER_ANSWERS_S)  # fmt: skip
        except CommandTimedOut:
            return False
        return asked.status == 0

    def findings(self, *, on_host: bool = True) -> list[OutputFinding]:
        """Everything that would make a type fail: unknown words, missing tools, places.

        Not `on_host`: only what no host would do, without asking for tools or permissions.
        """
        found = [OutputFinding(("image_name",), text) for text in self._findings_of_name(on_host)]
        for number, type in enumerate(self.types):
            told, at = f"-t {type}: ", ("types", number)
            if not _WORD.fullmatch(type):
                found.append(OutputFinding(at, f"{told}{_NO_TYPE}"))
                continue
            for option, text in self._findings_of(type, on_host):
                found.append(OutputFinding(at if option == "types" else (option,), told + text))
        return found

    def _findings_of_name(self, on_host: bool) -> Iterator[str]:
        if not Path(self.name).name or self.name.endswith("/"):
            yield f"-o {self.name}: it names no file"
            return
        if any(len(os.fsencode(part)) > _MOST_NAME_BYTES for part in self._written_names()):
            yield f"-o {self.name}: a file's name has {_MOST_NAME_BYTES} bytes at most"
            return
        directory = self.path("raw").parent
        while not os.path.lexists(directory):
            directory = directory.parent
        if not directory.is_dir():
            yield f"-o {self.name}: {directory} is not a directory"
        elif mounts.file_system_at(directory) in _OF_THE_KERNEL:
            yield f"-o {self.name}: {directory} is the kernel's, and no place for files"
        elif on_host and not os.access(directory, os.W_OK | os.X_OK):
            yield f"-o {self.name}: nothing can be written to {directory}"

    def _written_names(self) -> Iterator[str]:
        """The names of all directories and files that a build would make."""
        yield from Path(self.name).parent.parts
        for path in map(self.path, self.types):
            sums = (output_names.sums_path(path, algorithm) for algorithm in self.checksums)
            yield from (output_names.working_path(made).name for made in (path, *sums))

    def _findings_of(self, type: str, on_host: bool) -> Iterator[tuple[str, str]]:
        """What is wrong with a type, each with the option that it is about."""
        path = self.path(type)
        if on_host and os.path.lexists(path) and not path.is_file():
            yield "image_name", f"{path} is in the way and is no file"
        try:
            for tool in self._tools(type):
                get_tool(tool)
        except MissingToolError as e:
            if on_host:
                yield "types", f"{e} ({e.hint})"
            elif type not in (*TREE_TYPES, *_DISK_TYPES):
                yield "types", _NO_TYPE + did_you_mean(type, (*TREE_TYPES, *_DISK_TYPES))
            return
        if type == "docker":
            if not self.docker_target:
                yield "docker_target", "please set --docker-target REPOSITORY:TAG"
            elif not REFERENCE.fullmatch(self.docker_target):
                text = f"--docker-target {self.docker_target}: Docker calls no image like that"
                yield "docker_target", text
        elif type == "aci" and self.aci_manifest is not None and not self.aci_manifest.is_file():
            yield "environment", f"ACI_MANIFEST: there is no file {self.aci_manifest}"
        elif type not in (*TREE_TYPES, "raw"):
            yield from self._findings_of_qemu_img(type, on_host)

    def _findings_of_qemu_img(self, type: str, on_host: bool) -> Iterator[tuple[str, str]]:
        is_known = type in _DISK_TYPES
        if is_known and not self.qemu_img_options and not on_host:
            return
        finding = self.conversion(type).finding()
        if finding and is_known and self.qemu_img_options:
            text = f"--qemu-img-options {self.qemu_img_options}: "
            yield "qemu_img_options", f"qemu-img cannot make it: {text}{finding}"
        elif finding:
            meant = "" if is_known else did_you_mean(type, (*TREE_TYPES, *_DISK_TYPES))
            yield (
                "types",
                f"qemu-img cannot make it: {finding}.{meant}"
                if meant
                else (f"qemu-img cannot make it: {finding}"),
            )

    def _tools(self, type: str) -> tuple[str, ...]:
        if type == "squashfs":
            return ("mksquashfs",)
        if type in TREE_TYPES:
            return ("tar", *(self.gzip_program[:1] if type == "tgz" else ()))
        if type == "raw" or self.conversion(type).own_compression is not None:
            return ()
        return ("qemu-img",)

    def conversion(self, type: str) -> Conversion:
        """How qemu-img makes a type."""
        return Conversion.of(type, self.qemu_img_options, compress=self.compress)

    def side_outputs(self) -> dict[Path, tuple[int, int]]:
        """What elements put beside the image, with what changes when it is written anew."""
        found = [self.directory / f"{self.name}{end}" for end in output_names.SIDE_FILES]
        found += sorted(path for path in self._beside("d").rglob("*") if path.is_file())
        statuses = {path: path.stat() for path in found if path.is_file()}
        return {path: (s.st_ino, s.st_mtime_ns) for path, s in statuses.items()}
