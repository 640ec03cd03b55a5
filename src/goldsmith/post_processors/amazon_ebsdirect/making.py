"""Makes an image of EC2 of a disk image: unpack, compare, write, register."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from goldsmith.cloud.ami_artifact import ami_artifact
from goldsmith.cloud.device_options import DeviceMapping
from goldsmith.cloud.ebs_direct.contents import read_contents
from goldsmith.cloud.ebs_direct.digest_index import (
    DigestIndexError,
    KnownSnapshot,
    read_index,
    write_index,
)
from goldsmith.cloud.ebs_direct.steps import WriteSnapshotStep, WrittenSnapshot
from goldsmith.cloud.images import Publishing
from goldsmith.cloud.journal import Ledger
from goldsmith.cloud.polling import Waiting
from goldsmith.cloud.publish import Described, PreValidateStep, publish
from goldsmith.cloud.refusals import AwsError
from goldsmith.cloud.registering import register_request
from goldsmith.cloud.session import Account
from goldsmith.core.artifact import Artifact
from goldsmith.core.post_processor import PostProcessContext
from goldsmith.core.step import Step, StepContext
from goldsmith.errors import (
    GoldsmithError,
    Interrupted,
    NoSpaceError,
    OutputInTheWay,
    StepFailed,
)
from goldsmith.host.cancellation import check_cancelled
from goldsmith.host.journal import state_directory
from goldsmith.host.sparse import full_file_system_named
from goldsmith.host.teardown import Teardown
from goldsmith.post_processors.amazon_ebsdirect.image_source import UnpackStep, find_image
from goldsmith.post_processors.amazon_ebsdirect.options import ROOT_DEVICE, AmazonEbsdirectOptions

_BOOT_MODES: Final = {
    frozenset({"bios"}): "legacy-bios", frozenset({"uefi"}): "uefi",
    frozenset({"bios", "uefi"}): "uefi-preferred",
}  # fmt: skip
_ENDING: Final = ".ebs-blocks.gz"
R = TypeVar("R")


def make_image(
    options: AmazonEbsdirectOptions, artifact: Artifact, context: PostProcessContext,
    builder_id: str,
) -> Artifact:  # fmt: skip
    """Run the steps; raises GoldsmithError and leaves nothing on this host or at AWS.

    What cannot be taken back now stays in the journal of the run, for its end and for `clean`.
    """
    assert context.run is not None, "only a plan has no run"
    kind, image = find_image(artifact, context.directory)
    index_file = context.directory / (options.index_file or f"{image}{_ENDING}")
    before = _index_before(options, index_file, context)
    account = Account(options, context.emitter.redactor, context.emitter.say)
    ledger = Ledger(context.run, account, context.build_name)
    with contextlib.suppress(AwsError):
        # Who may not ask is told so by the first call that matters.
        ledger.owner = account.caller()
    teardown = Teardown()
    waiting = Waiting.of(options.aws_polling, os.environ)
    publishing = Publishing(account, options, waiting, ledger, teardown, force=context.force)
    making = _Making(options, context, publishing)
    with teardown:
        written = making.run(artifact, kind, image, before)
        for label, error in teardown.close():
            context.emitter.warn(f"cleanup failed: {label}: {error}")
    made = ami_artifact(builder_id, publishing.images, options, artifact.run_values or {})
    if options.copies_first:
        # The snapshot that was written is gone: there is no parent for the next one.
        return made
    known = KnownSnapshot(written.snapshot_id, account.region, written.index)
    try:
        _keep_index(known, index_file, context)
    except (OSError, NoSpaceError) as e:
        # The image stands, and nobody would hear of it.
        context.emitter.warn(f"{index_file} cannot be written, so that the next build sends more "
                             f"than it has to: {e}")  # fmt: skip
        return made
    return made.with_files((str(index_file),))


def _index_before(
    options: AmazonEbsdirectOptions, file: Path, context: PostProcessContext
) -> KnownSnapshot | None:
    """What an earlier build has kept; raises OutputInTheWay for a file that is something else."""
    if not os.path.lexists(file):
        return None
    try:
        found = read_index(file)
    except (DigestIndexError, OSError) as e:
        if not context.force:
            raise OutputInTheWay([str(file)]) from e
        return None
    return found if options.use_parent else None


def _keep_index(known: KnownSnapshot, file: Path, context: PostProcessContext) -> None:
    temporary = file.with_name(f".{file.name}.{context.scratch.name}.partial")
    with full_file_system_named(file):
        file.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        with context.scratch_file(temporary):
            write_index(known, temporary)
            os.replace(temporary, file)


@dataclass(slots=True)
class _Making:
    """One image that is uploaded."""

    options: AmazonEbsdirectOptions
    context: PostProcessContext
    publishing: Publishing

    def run(
        self, artifact: Artifact, kind: str, image: Path, before: KnownSnapshot | None
    ) -> WrittenSnapshot:
        """The steps in their order."""
        options, publishing = self.options, self.publishing
        self._step(PreValidateStep(publishing))
        raw = self._step(UnpackStep(kind, image, self.context.scratch / "disk.raw"))
        self.context.emitter.say(f"Looking at the blocks of {image.name}...")
        contents = read_contents(
            raw, size_gib=options.root_volume_size, everything=options.blocks == "all"
        )
        state = state_directory()
        written = self._step(WriteSnapshotStep(publishing, options, contents, before, state))
        described = Described(options.ami_description, options.all_tags,
                              options.all_snapshot_tags)  # fmt: skip
        request = self._request(written, frozenset(artifact.expected.firmware))
        publish(publishing, self._step, request, described, lambda: None)
        return written

    def _request(self, written: WrittenSnapshot, firmware: frozenset[str]) -> dict[str, Any]:
        """The parameters of RegisterImage: what the template leaves open suits a new machine."""
        options = self.options
        root = options.root_device_name or ROOT_DEVICE
        mapping = DeviceMapping.model_validate({"device_name": root, "delete_on_termination": True})
        given = {
            "root_device_name": root,
            "root_volume_type": options.root_volume_type or "gp3",
            "ami_virtualization_type": "hvm",
            "ena_support": True if options.ena_support is None else options.ena_support,
            "boot_mode": options.boot_mode or _BOOT_MODES.get(firmware, ""),
            "ami_block_device_mappings": options.ami_block_device_mappings or (mapping,),
        }
        size = max(written.size_gib, options.root_volume_size)
        return register_request(
            options.model_copy(update=given), None, written.snapshot_id, size
        )  # fmt: skip

    def _step(self, step: Step[R], *, told: bool = True) -> R:
        """Run a step within the one of the post-processor; raises StepFailed."""
        check_cancelled()
        context = self.context
        inner = StepContext(emitter=context.emitter, scratch=context.scratch, epoch_s=0)
        if told:
            context.emitter.say(f"{step.label}...")
        try:
            return step.run(inner)
        except Interrupted:
            raise
        except GoldsmithError as e:
            raise StepFailed(step.label, e) from e
