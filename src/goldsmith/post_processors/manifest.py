"""The `manifest` post-processor: a JSON file in which every build leaves a note of its artifact."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Final

from pydantic import Field

from goldsmith.core.artifact import Artifact, ExpectedArtifact
from goldsmith.core.options import Finding, Options
from goldsmith.core.post_processor import PostProcessContext, PostProcessed
from goldsmith.core.post_results import REUSED
from goldsmith.errors import GoldsmithError, ResourceBusy
from goldsmith.host.cancellation import pause
from goldsmith.host.locks import try_lock
from goldsmith.host.sparse import full_file_system_named
from goldsmith.layers.keys import StepKey

LOCK_TIMEOUT_S: Final = 30.0
_LOCK_POLL_S: Final = 0.05
# Go's encoder writes these so that the text can stand in HTML.
_GO_ESCAPES: Final = str.maketrans(
    {c: f"\\u{ord(c):04x}" for c in ("<", ">", "&", "\u2028", "\u2029")}
)


class ManifestOptions(Options):
    """Options of the `manifest` post-processor."""

    go_templates: ClassVar[bool] = True

    output: str = Field("packer-manifest.json", min_length=1, description="The manifest.")
    strip_path: bool = Field(False, description="Name files without their directories.")
    strip_time: bool = Field(False, description="Leave out when the build was made.")
    custom_data: dict[str, str] | None = Field(
        None, description="Anything else that is to stand in the entry."
    )


class Manifest:
    """Adds an entry for the artifact to a JSON manifest; -force begins a new one."""

    type_name: ClassVar[str] = "manifest"
    options_model: ClassVar[type[Options]] = ManifestOptions

    def __init__(self, options: Options) -> None:
        assert isinstance(options, ManifestOptions)
        self.options = options

    def check(self, directory: Path) -> Sequence[Finding]:
        """Nothing depends on the host."""
        return []

    def preflight(self, given: ExpectedArtifact) -> ExpectedArtifact:
        """No tool is needed; the artifact is handed on."""
        return given

    def key(self, artifact: Artifact, context: PostProcessContext) -> StepKey | None:
        """It always looks: the file may have been written by others."""
        return None

    def post_process(self, artifact: Artifact, context: PostProcessContext) -> PostProcessed:
        """Add the entry, under a lock: builds of other commands may write here too.

        For an artifact of goldsmith's own of which nothing was made anew, nothing is added again.
        """
        target = context.directory / self.options.output
        entry = context.emitter.redactor.values(self._entry(artifact, context))
        with full_file_system_named(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            with locked_manifest(target):
                builds, last_run = read_manifest(target)
                if artifact.state.get(REUSED) and any(_same(entry, known) for known in builds):
                    return PostProcessed(artifact, keep=True, force_keep=True)
                if context.force and last_run != context.run_uuid:
                    builds = []
                document = {"builds": [*builds, entry], "last_run_uuid": context.run_uuid}
                _write(target, go_json(document), context)
        return PostProcessed(artifact, keep=True, force_keep=True)

    def _entry(self, artifact: Artifact, context: PostProcessContext) -> dict[str, Any]:
        options = self.options
        custom = options.custom_data
        return {
            "name": context.build_name,
            "builder_type": context.builder_type,
            **({} if options.strip_time else {"build_time": int(time.time())}),
            "files": [self._file(name, context.directory) for name in artifact.files] or None,
            "artifact_id": artifact.id,
            "packer_run_uuid": context.run_uuid,
            "custom_data": None if custom is None else dict(sorted(custom.items())),
        }

    def _file(self, name: str, directory: Path) -> dict[str, Any]:
        try:
            size_bytes = (directory / name).stat().st_size
        except OSError as e:
            raise GoldsmithError(f"cannot put {name} into the manifest: {e.strerror}") from e
        return {"name": Path(name).name if self.options.strip_path else name, "size": size_bytes}


def _same(entry: Mapping[str, Any], known: object) -> bool:
    """Whether two entries tell of the same artifact, made in whatever run."""
    of_a_run = ("build_time", "packer_run_uuid")
    return isinstance(known, dict) and all(
        entry.get(name) == known.get(name) for name in {*entry, *known} - {*of_a_run}
    )


def go_json(document: object) -> str:
    """The document as Go's MarshalIndent writes it."""
    return json.dumps(document, indent=2, ensure_ascii=False).translate(_GO_ESCAPES)


def read_manifest(path: Path) -> tuple[list[Any], str]:
    """The entries of a manifest and the run that wrote it last; none where there is no file."""
    try:
        text = path.read_text("utf-8", "surrogateescape")
    except FileNotFoundError:
        return [], ""
    try:
        document = json.loads(text)
        builds = document.get("builds") or []
        if not isinstance(builds, list):
            raise TypeError("its builds are no list")
        return builds, str(document.get("last_run_uuid", ""))
    except (ValueError, AttributeError, TypeError) as e:
        raise GoldsmithError(
            f"{path} is not a manifest: {e}", hint="move it away, or choose another output"
        ) from e


@contextmanager
def locked_manifest(path: Path) -> Iterator[None]:
    """Hold the lock of a manifest, `PATH.lock`; raises ResourceBusy when it stays taken."""
    lock = path.with_name(f"{path.name}.lock")
    deadline_s = time.monotonic() + LOCK_TIMEOUT_S
    while (fd := _taken(lock)) is None:
        if time.monotonic() > deadline_s:
            raise ResourceBusy(
                f"{path} is being written by another build", hint=f"lock file: {lock}"
            )
        pause(_LOCK_POLL_S)
    try:
        yield
    finally:
        # Whoever waits for this very file sees that it has gone, and makes a new one.
        lock.unlink(missing_ok=True)
        os.close(fd)


def _taken(lock: Path) -> int | None:
    """The lock's descriptor; None when another has it, or has just removed the file."""
    fd = try_lock(lock)
    if fd is None:
        return None
    try:
        if os.path.samestat(os.fstat(fd), os.stat(lock)):
            return fd
    except FileNotFoundError:
        pass
    os.close(fd)
    return None


def _write(target: Path, text: str, context: PostProcessContext) -> None:
    temporary = target.with_name(f".{target.name}.{context.scratch.name}.partial")
    with context.scratch_file(temporary):
        with open(temporary, "w", encoding="utf-8", errors="surrogateescape") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
