"""Makes an image of EC2 of another one, on any host: read, provision, write what has changed."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from goldsmith.builders.amazon_chroot.running import run_step
from goldsmith.builders.amazon_chroot.steps import CheckRootDeviceStep, SourceImageStep
from goldsmith.builders.amazon_chroot.texts import Texts, run_values, source_data
from goldsmith.builders.amazon_ebsdirect.builder import BUILDER_ID
from goldsmith.builders.amazon_ebsdirect.copying import CopySourceStep
from goldsmith.builders.amazon_ebsdirect.disk import Provisioning
from goldsmith.builders.amazon_ebsdirect.options import AmazonEbsdirectOptions
from goldsmith.cloud.ami_artifact import ami_artifact
from goldsmith.cloud.ebs_direct.digest_index import KnownSnapshot
from goldsmith.cloud.ebs_direct.scrub import ScrubStep
from goldsmith.cloud.ebs_direct.steps import ReadSnapshotStep, WriteSnapshotStep, WrittenSnapshot
from goldsmith.cloud.images import Publishing
from goldsmith.cloud.journal import Ledger
from goldsmith.cloud.polling import Waiting
from goldsmith.cloud.publish import Described, PreValidateStep, publish
from goldsmith.cloud.refusals import AwsError
from goldsmith.cloud.registering import register_request, source_root
from goldsmith.cloud.session import Account
from goldsmith.core.after_error import KEEPING
from goldsmith.core.artifact import Artifact
from goldsmith.core.builder import BuildContext
from goldsmith.errors import GoldsmithError, Interrupted
from goldsmith.host.teardown import Teardown
from goldsmith.units import GIB


def make_image(
    options: AmazonEbsdirectOptions, texts: Texts, builder_type: str, context: BuildContext
) -> Artifact:
    """Run the steps; raises GoldsmithError and leaves nothing on this host or at AWS.

    What cannot be taken back now stays in the journal of the run, for its end and for `clean`.
    """
    context.work.mkdir(mode=0o700)
    account = Account(options, context.emitter.redactor)
    ledger = Ledger(context.run, account, context.name)
    with contextlib.suppress(AwsError):
        # Who may not ask is told so by the first call that matters.
        ledger.owner = account.caller()
    teardown = Teardown()
    waiting = Waiting.of(options.aws_polling, os.environ)
    publishing = Publishing(account, options, waiting, ledger, teardown, force=context.force)
    making = _Making(options, texts, builder_type, context, publishing)
    try:
        with teardown:
            artifact = making.run()
            for label, error in teardown.close():
                context.emitter.warn(f"cleanup failed: {label}: {error}")
    except GoldsmithError:
        for what in making.stays:
            context.emitter.say(f"{what} stays, as -on-error says; remove it when it is not needed "
                                "any more")  # fmt: skip
        raise
    return artifact


@dataclass(slots=True)
class _Making:
    """One build of an image."""

    options: AmazonEbsdirectOptions
    texts: Texts
    builder_type: str
    context: BuildContext
    publishing: Publishing
    stays: list[str] = field(default_factory=list)
    """What is told to stay at AWS, as the user wants no cleanup."""

    def run(self) -> Artifact:
        """The steps in their order."""
        try:
            return self._steps()
        except Interrupted:
            raise
        except GoldsmithError as e:
            failed_provisioner = getattr(e, "keeps", None)
            abort = self.context.on_error in KEEPING
            if failed_provisioner or (failed_provisioner is None and abort):
                self.stays += [made.what for made in self.publishing.kept]
                self.publishing.keep()
            raise

    def _steps(self) -> Artifact:
        options, publishing = self.options, self.publishing
        run = functools.partial(run_step, self.context)
        run(PreValidateStep(publishing))
        source = run(SourceImageStep(publishing, options))
        run(CheckRootDeviceStep(source))
        data = source_data(source, publishing.account.region)
        # A mistake in them shows itself before anything is made.
        described = self._described(data)
        image = self.context.work / "disk.raw"
        readable = source
        if options.copy_source:
            readable = run(CopySourceStep(publishing, source["ImageId"]))
        snapshot_id = str(source_root(readable)["SnapshotId"])
        index = run(ReadSnapshotStep(publishing, snapshot_id, image, options.connections))
        before = KnownSnapshot(snapshot_id, publishing.account.region, index)
        if options.root_volume_size > index.size_gib:
            os.truncate(image, options.root_volume_size * GIB)
        provisioning = Provisioning(options, self.context, self.builder_type, image,
                                    Path(source["ImageId"]), publishing.teardown)  # fmt: skip
        values = provisioning.run(run_values(data))
        written = self._write(image, before)
        request = register_request(options, source, written.snapshot_id, written.size_gib)
        publish(publishing, run, request, described, self.context.commit)
        return ami_artifact(BUILDER_ID, publishing.images, options, values)

    def _described(self, data: Mapping[str, Any]) -> Described:
        texts, options = self.texts, self.options
        return Described(
            texts.render(options.ami_description, data), texts.render_all(options.all_tags, data),
            texts.render_all(options.all_snapshot_tags, data),
        )  # fmt: skip

    def _write(self, image: Path, before: KnownSnapshot) -> WrittenSnapshot:
        options = self.options
        everything = options.blocks == "all"
        contents = run_step(self.context, ScrubStep(image, before.index, everything))
        parent = before if options.use_parent else None
        return run_step(self.context, WriteSnapshotStep(self.publishing, options, contents, parent))
