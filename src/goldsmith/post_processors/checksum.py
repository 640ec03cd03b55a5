"""The `checksum` post-processor: digests of an artifact's files, in files of their own."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from pydantic import Field, field_validator

from goldsmith.core.artifact import Artifact, ExpectedArtifact
from goldsmith.core.options import Finding, Options
from goldsmith.core.post_processor import PostProcessContext, PostProcessed
from goldsmith.errors import GoldsmithError, OutputInTheWay
from goldsmith.gotemplate.errors import GoTemplateError
from goldsmith.gotemplate.template import Template
from goldsmith.host.digests import ALGORITHMS
from goldsmith.host.sparse import full_file_system_named, hash_sparse
from goldsmith.layers.keys import StepKey, canonical

_LINE = re.compile(rb"[0-9a-f]{8,128}\t[^\t]+")
DEFAULT_OUTPUT = "packer_{{.BuildName}}_{{.BuilderType}}_{{.ChecksumType}}.checksum"
BUILDER_ID = "packer.post-processor.checksum"
_appending = threading.Lock()


class ChecksumOptions(Options):
    """Options of the `checksum` post-processor."""

    go_templates: ClassVar[bool] = True
    verbatim: ClassVar[frozenset[str]] = frozenset({"output"})

    checksum_types: tuple[str, ...] = Field(
        ("md5",), description="md5, sha1, sha224, sha256, sha384, sha512; several at once."
    )
    output: str = Field(
        DEFAULT_OUTPUT,
        description="The file of digests; {{.BuildName}}, {{.BuilderType}}, {{.ChecksumType}}.",
    )

    @field_validator("checksum_types")
    @classmethod
    def _are_known(cls, given: tuple[str, ...]) -> tuple[str, ...]:
        for name in given:
            if name not in ALGORITHMS:
                known = ", ".join(ALGORITHMS)
                raise ValueError(f"unrecognized checksum type: {name}; one of {known}")
        return given

    @field_validator("output")
    @classmethod
    def _renders(cls, given: str) -> str:
        try:
            _render(given, "name", "type", "sha256")
        except GoTemplateError as e:
            raise ValueError(str(e)) from e
        return given


def _render(output: str, build_name: str, builder_type: str, checksum_type: str) -> str:
    data = {"BuildName": build_name, "BuilderType": builder_type, "ChecksumType": checksum_type}
    return Template.parse(output, {}).render(data)


class Checksum:
    """Writes `HEX<TAB>NAME` for every file; one pass over each, whatever the number of types."""

    type_name: ClassVar[str] = "checksum"
    options_model: ClassVar[type[Options]] = ChecksumOptions

    def __init__(self, options: Options) -> None:
        assert isinstance(options, ChecksumOptions)
        self.options = options

    def check(self, directory: Path) -> Sequence[Finding]:
        """Nothing depends on the host."""
        return []

    def preflight(self, given: ExpectedArtifact) -> ExpectedArtifact:
        """No tool is needed; images keep what they are."""
        return given

    def key(self, artifact: Artifact, context: PostProcessContext) -> StepKey | None:
        """The algorithms and the names of the files of digests."""
        names = [
            _render(self.options.output, context.build_name, context.builder_type, kind)
            for kind in self.options.checksum_types
        ]
        return StepKey({"type": "checksum/1", "types": canonical(self.options.checksum_types),
                        "outputs": canonical(names)})  # fmt: skip

    def post_process(self, artifact: Artifact, context: PostProcessContext) -> PostProcessed:
        """Write the files and add them to the artifact, which always stays.

        For an artifact of a source of goldsmith's own a file of digests is replaced whole; for any
        other one lines are appended, as Packer does.
        """
        types = self.options.checksum_types
        lines: dict[str, list[str]] = {}
        for given in artifact.paths():
            path = context.directory / given
            if not path.is_file():
                raise GoldsmithError(f"cannot hash {path}: there is no such file")
            digests = hash_sparse(path, types)
            for name in types:
                shown = _render(self.options.output, context.build_name, context.builder_type, name)
                lines.setdefault(shown, []).append(f"{digests[name]}\t{path.name}\n")
        for shown in lines:
            _refuse(context.directory / shown, artifact, context)
        fresh = tuple(shown for shown in lines if not (context.directory / shown).exists())
        for shown, content in lines.items():
            target = context.directory / shown
            self._write(target, "".join(content), context, append=not artifact.native)
        made = (
            artifact.with_files(tuple(str(context.directory / shown) for shown in lines))
            if artifact.native
            else _with_sums(artifact, fresh)
        )
        return PostProcessed(made, keep=True, force_keep=True)

    def _write(self, target: Path, text: str, context: PostProcessContext, *, append: bool) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f".{target.name}.{context.scratch.name}.partial")
        # Another build of this command may append to the same file.
        with _appending, context.scratch_file(temporary), full_file_system_named(target):
            before = target.read_text() if append and target.exists() else ""
            with open(temporary, "w") as file:
                file.write(before + text)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, target)


def _refuse(target: Path, artifact: Artifact, context: PostProcessContext) -> None:
    """Raise an error rather than write digests over a file that is something else.

    For foreign artifacts whatever is there gets further lines, as with Packer.
    """
    if target.absolute() in {(context.directory / path).absolute() for path in artifact.paths()}:
        raise GoldsmithError(
            f"checksum would write over {target}, which it is to hash",
            hint="name another output",
        )
    if not artifact.native or context.force or not os.path.lexists(target):
        return
    if not target.is_file() or not all(map(_LINE.fullmatch, target.read_bytes().splitlines())):
        raise OutputInTheWay([str(target)])


def _with_sums(artifact: Artifact, fresh: tuple[str, ...]) -> Artifact:
    """Packer's artifact: the files that were given, and those that did not exist before."""
    files = artifact.with_files(fresh).files
    return Artifact(builder_id=BUILDER_ID, id="", files=files,
                    string=f"Created artifact from files: {', '.join(files)}")  # fmt: skip
