"""Makes an image of EC2 of another one, on any host: read, provision, write what has changed."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from goldsmith.builders.amazon.making import Making
from goldsmith.builders.amazon.texts import run_values, source_data
from goldsmith.builders.amazon_ebsdirect.builder import BUILDER_ID
from goldsmith.builders.amazon_ebsdirect.copying import CopySourceStep
from goldsmith.builders.amazon_ebsdirect.disk import attached_disk
from goldsmith.builders.amazon_ebsdirect.options import AmazonEbsdirectOptions
from goldsmith.cloud.ebs_direct.digest_index import KnownSnapshot
from goldsmith.cloud.ebs_direct.scrub import ScrubStep
from goldsmith.cloud.ebs_direct.steps import ReadSnapshotStep, WriteSnapshotStep, WrittenSnapshot
from goldsmith.cloud.publish import PreValidateStep
from goldsmith.cloud.refusals import AwsError
from goldsmith.cloud.registering import Image, source_root
from goldsmith.core.artifact import Artifact
from goldsmith.units import GIB


@dataclass(slots=True)
class EbsdirectMaking(Making[AmazonEbsdirectOptions]):
    """One build of an image on a copy of the source's blocks."""

    builder_id: ClassVar[str] = BUILDER_ID

    def steps(self) -> Artifact:
        """The steps in their order."""
        options, publishing = self.options, self.publishing
        with contextlib.suppress(AwsError):
            # Who may not ask is told so by the first call that matters.
            publishing.ledger.owner = publishing.account.caller()
        self.step(PreValidateStep(publishing))
        source = self.source()
        data = source_data(source, publishing.account.region)
        described = self.described(data)
        image = self.context.work / "disk.raw"
        before = self._read(source, image)
        if options.root_volume_size > before.index.size_gib:
            os.truncate(image, options.root_volume_size * GIB)
        disk = attached_disk(options, self.context, self.state, self.teardown, image,
                             Path(source["ImageId"]))  # fmt: skip
        values = self.provision(disk, run_values(data))
        written = self._write(image, before)
        return self.published(written.snapshot_id, written.size_gib, described, values)

    def _read(self, source: Image, image: Path) -> KnownSnapshot:
        """Make the image of the root's snapshot, or of a copy of it."""
        options, publishing = self.options, self.publishing
        readable = source
        if options.copy_source:
            readable = self.step(CopySourceStep(publishing, source["ImageId"]))
        snapshot_id = str(source_root(readable)["SnapshotId"])
        reading = ReadSnapshotStep(publishing, snapshot_id, image, options.connections)
        return KnownSnapshot(snapshot_id, publishing.account.region, self.step(reading))

    def _write(self, image: Path, before: KnownSnapshot) -> WrittenSnapshot:
        options = self.options
        contents = self.step(ScrubStep(image, before.index, options.blocks == "all"))
        parent = before if options.use_parent else None
        # A copy of the source is gone when this build ends, however it ends.
        resumes = parent is None or not options.copy_source
        return self.step(WriteSnapshotStep(
            self.publishing, options, contents, parent, self.context.state, resumes
        ))  # fmt: skip
