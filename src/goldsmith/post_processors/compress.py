"""The `compress` post-processor: an artifact's files in one archive or compressed file."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, ClassVar, Final

from pydantic import Field, field_validator

from goldsmith.core.artifact import Artifact, ExpectedArtifact
from goldsmith.core.caching import config_inputs
from goldsmith.core.options import Finding, Options
from goldsmith.core.post_processor import PostProcessContext, PostProcessed
from goldsmith.disk import compressors
from goldsmith.disk.compressors import DEFAULT_LEVEL, Compressor, Plain
from goldsmith.errors import GoldsmithError
from goldsmith.gotemplate.errors import GoTemplateError
from goldsmith.gotemplate.template import Template
from goldsmith.host.cancellation import check_cancelled
from goldsmith.host.parallel import cores
from goldsmith.host.process import get_tool
from goldsmith.host.sparse import full_file_system_named
from goldsmith.layers.keys import StepKey
from goldsmith.post_processors.archives import Member, members, write_tar, write_zip

BUILDER_ID: Final = "packer.post-processor.compress"
DEFAULT_OUTPUT: Final = "packer_{{.BuildName}}_{{.BuilderType}}"
_BEST_LEVEL: Final = 9
_NAMES: Final = {"gz": "pgzip", "zst": "zstd"}
"""What messages call a compression; others go by their ending."""
_ALL_CORES: Final = ("gz", "bgzf", "zst")

Compression = Callable[[BinaryIO, int], Compressor]
_COMPRESSIONS: Final[dict[str, Compression]] = {
    "gz": compressors.Gzip, "bgzf": compressors.Bgzf, "xz": compressors.xz,
    "bzip2": compressors.bzip2, "lz4": compressors.lz4, "zst": compressors.zstd,
}  # fmt: skip
ENDINGS: Final = ("tar", "zip", *_COMPRESSIONS)


class CompressOptions(Options):
    """Options of the `compress` post-processor."""

    go_templates: ClassVar[bool] = True
    verbatim: ClassVar[frozenset[str]] = frozenset({"output"})

    output: str = Field(
        DEFAULT_OUTPUT,
        min_length=1,
        description="The file to make: .zip, .tar, .gz, .xz, .bzip2, .zst, .lz4, .bgzf, or .tar.gz "
        "and so on; any other name is a .tar.gz. {{.BuildName}}, {{.BuilderType}}.",
    )
    format: str = Field("", description="The ending that counts, in place of that of `output`.")
    compression_level: int = Field(
        DEFAULT_LEVEL, description="1 (quick) to 9 (small); by default what suits the kind."
    )

    @field_validator("output")
    @classmethod
    def _renders(cls, given: str) -> str:
        try:
            _render(given, "name", "type")
        except GoTemplateError as e:
            raise ValueError(str(e)) from e
        return given

    @field_validator("compression_level")
    @classmethod
    def _in_range(cls, given: int) -> int:
        return DEFAULT_LEVEL if given <= 0 else min(given, _BEST_LEVEL)


def _render(output: str, build_name: str, builder_type: str) -> str:
    data = {"BuildName": build_name, "BuilderType": builder_type}
    return Template.parse(output, {}).render(data)


@dataclass(frozen=True, slots=True)
class Shape:
    """What a name asks for: an archive ("tar", "zip" or "") in a compression ("gz", …, or "")."""

    archive: str
    compression: str
    known: bool = True

    @classmethod
    def of(cls, name: str) -> Shape:
        """By the last two endings, as Packer reads them; what it does not know is a .tar.gz."""
        *_, second, last = ["", "", *Path(name).name.split(".")[1:]]
        if last in ("tar", "zip"):
            return cls(last, "")
        if last in _COMPRESSIONS:
            return cls("tar" if second == "tar" else "", last)
        return cls("tar", "gz", known=not last)


class Compress:
    """Packs an artifact's files; they go afterwards unless `keep_input_artifact` is set."""

    type_name: ClassVar[str] = "compress"
    options_model: ClassVar[type[Options]] = CompressOptions

    def __init__(self, options: Options) -> None:
        assert isinstance(options, CompressOptions)
        self.options = options

    def check(self, directory: Path) -> Sequence[Finding]:
        """Nothing depends on the host's files."""
        return []

    def preflight(self, given: ExpectedArtifact) -> ExpectedArtifact:
        """Raise MissingToolError for a kind that a program makes; an archive is no image."""
        if self._shape(self.options.output).compression == "lz4":
            get_tool("lz4")
        return ExpectedArtifact()

    def _shape(self, output: str) -> Shape:
        return Shape.of(f"{output}.{self.options.format}" if self.options.format else output)

    def key(self, artifact: Artifact, context: PostProcessContext) -> StepKey | None:
        """The options, and the name of the archive."""
        output = _render(self.options.output, context.build_name, context.builder_type)
        return StepKey({"type": "compress/1", "output": output,
                        **config_inputs(self.options.model_dump(exclude={"output"}))})  # fmt: skip

    def post_process(self, artifact: Artifact, context: PostProcessContext) -> PostProcessed:
        """Write the file under another name and rename it; raises GoldsmithError."""
        output = _render(self.options.output, context.build_name, context.builder_type)
        shape = self._shape(output)
        files = members(artifact.files, context.directory)
        if not files:
            raise GoldsmithError("the artifact has no files that could be compressed")
        if not shape.archive and len(files) > 1:
            raise GoldsmithError(
                f"{output} holds one file only, and the artifact has {len(files)}: "
                + ", ".join(artifact.files),
                hint="put an archive around them: .tar." + shape.compression,
            )
        self._announce(shape, output, context)
        target = context.directory / output
        temporary = target.with_name(f".{target.name}.{context.scratch.name}.partial")
        with full_file_system_named(target):
            target.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            with context.scratch_file(temporary):
                with open(temporary, "wb") as stream:
                    self._pack(files, stream, shape, context)
                    stream.flush()
                    os.fsync(stream.fileno())
                os.replace(temporary, target)
        context.emitter.say(f"Archive {output} completed")
        made = Artifact(builder_id=BUILDER_ID, id="", string=f"compressed artifacts in: {output}",
                        files=(output,), native=artifact.native)  # fmt: skip
        return PostProcessed(made)

    def _announce(self, shape: Shape, output: str, context: PostProcessContext) -> None:
        """Packer's lines."""
        emitter = context.emitter
        name = _NAMES.get(shape.compression, shape.compression)
        if not shape.known:
            emitter.warn(f"{output} ends in nothing that is known ({', '.join(ENDINGS)}): "
                         "it will be a gzipped tar archive")  # fmt: skip
        if name:
            count = cores() if shape.compression in _ALL_CORES else 1
            plural = "" if count == 1 else "s"
            emitter.say(f"Using {name} compression with {count} core{plural} for {output}")
        verb = {"tar": "Tarring", "zip": "Zipping"}.get(shape.archive, "Archiving")
        how = "" if shape.archive == "zip" else f" with {name or 'no compression'}"
        emitter.say(f"{verb} {output}{how}")

    def _pack(
        self, files: Sequence[Member], stream: BinaryIO, shape: Shape, context: PostProcessContext
    ) -> None:
        total = sum(member.path.stat().st_size for member in files)
        done = 0

        def on_bytes(count: int) -> None:
            nonlocal done
            done += count
            check_cancelled()
            context.emitter.progress("compress", done, total, unit="bytes")

        level = self.options.compression_level
        if shape.archive == "zip":
            write_zip(files, stream, None if level == DEFAULT_LEVEL else level, on_bytes)
            return
        make = _COMPRESSIONS[shape.compression] if shape.compression else _plain
        with make(stream, level) as compressor:
            if shape.archive:
                write_tar(files, compressor.write, on_bytes)
                return
            for piece in files[0].pieces(on_bytes):
                compressor.write(piece)


def _plain(target: BinaryIO, level: int) -> Compressor:
    return Plain(target)
