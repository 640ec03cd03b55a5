"""Images of EC2 as the result of a build: told as by Packer, removed in every region."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from goldsmith.cloud.access_options import AccessOptions
from goldsmith.core.artifact import Artifact
from goldsmith.errors import GoldsmithError
from goldsmith.redact import Redactor

AMIS: Final = "amis"
"""Where `state` holds the images by region."""
_ATLAS: Final = "atlas.artifact.metadata"
_REGISTRY: Final = "par.artifact.metadata"


@dataclass(frozen=True, slots=True, kw_only=True)
class AmiArtifact(Artifact):
    """Images, one in each region; whoever has it may remove them with the build's credentials."""

    access: AccessOptions = field(compare=False, repr=False)

    @property
    def amis(self) -> Mapping[str, str]:
        """The images by region."""
        amis: Mapping[str, str] = self.state[AMIS]
        return amis

    @property
    def held(self) -> frozenset[str]:
        """Its files, and its images."""
        return frozenset((*self.files, *(f"{region}:{one}" for region, one in self.amis.items())))

    def destroy(self) -> None:
        """Deregister the images and delete their snapshots; raises what refusals raise, at the end.

        What is gone already does not matter.
        """
        self._remove(self.amis)
        Artifact.destroy(self)

    def discard(self, kept: Collection[str]) -> None:
        """Remove all that others do not hold too."""
        self._remove({region: one for region, one in self.amis.items()
                      if f"{region}:{one}" not in kept})  # fmt: skip
        Artifact.discard(self, kept)

    def _remove(self, amis: Mapping[str, str]) -> None:
        # Late: a command whose worker has made them needs nothing of it.
        from goldsmith.cloud.images import remove_image
        from goldsmith.cloud.session import Account

        account = Account(self.access, Redactor())
        failures: list[str] = []
        for region, image_id in sorted(amis.items()):
            try:
                remove_image(account, region, image_id)
            except GoldsmithError as e:
                failures.append(f"{image_id} in {region}: {e}")
        if failures:
            raise GoldsmithError(
                "cannot be removed: " + "; ".join(failures),
                hint="deregister them, and delete their snapshots, once that is possible",
            )

    def with_files(self, more: tuple[str, ...]) -> AmiArtifact:
        """The same artifact with further files."""
        return received_amis(Artifact.with_files(self, more).to_wire(), self.access)


def ami_artifact(
    builder_id: str, images: Mapping[str, str], access: AccessOptions,
    run_values: Mapping[str, str],
) -> AmiArtifact:  # fmt: skip
    """The artifact of images by region; `run_values` are what the builder has told of `build.*`."""
    images = dict(sorted(images.items()))
    listed = "\n".join(f"{region}: {image_id}" for region, image_id in images.items())
    source = run_values.get("SourceAMI", "")
    described = [
        {"ProviderName": "aws", "ProviderRegion": region, "ImageID": image_id,
         "SourceImageID": source, "Labels": dict(run_values)}
        for region, image_id in images.items()
    ]  # fmt: skip
    return AmiArtifact(
        builder_id=builder_id, access=access,
        id=",".join(f"{region}:{image_id}" for region, image_id in images.items()),
        string=f"AMIs were created:\n{listed}\n",
        state={
            "generated_data": dict(run_values), AMIS: images, "made_s": int(time.time()),
            _ATLAS: {f"region.{region}": image_id for region, image_id in images.items()},
            _REGISTRY: described,
        },
    )  # fmt: skip


def received_amis(wire: Mapping[str, Any], access: AccessOptions) -> AmiArtifact:
    """An artifact that a worker has made, with the access that its wire form does not hold."""
    return AmiArtifact(**{**wire, "files": tuple(wire["files"])}, access=access)
