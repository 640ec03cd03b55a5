"""What a template says of an image, as the things that its plan and its making both need."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import goldsmith
from goldsmith.builders.image.apt_plan import apt_request, finish_plan
from goldsmith.builders.image.options import ImageOptions
from goldsmith.builders.image.output import OutputFiles, Outputs
from goldsmith.builders.image.set_options import ImageSetOptions
from goldsmith.builders.image.set_output import SetOutputs
from goldsmith.builders.image.tree_steps import FinishStep
from goldsmith.core.caching import CachePolicy
from goldsmith.core.results import FileDigests, Results
from goldsmith.disk.identity import DiskIdentity
from goldsmith.host.journal import state_directory
from goldsmith.host.process import find_tool
from goldsmith.layers.keys import canonical
from goldsmith.packages.apt_request import AptRequest
from goldsmith.packages.apt_settings import AptSettings, read_apt_settings, with_proxies
from goldsmith.redact import Redactor


@dataclass(frozen=True, slots=True)
class Recipe:
    """An image's options, and what follows from them."""

    options: ImageOptions
    image_name: str

    @property
    def identity(self) -> DiskIdentity:
        """Where the disk's identifiers come from."""
        return DiskIdentity(self.options.seed or self.image_name)

    @property
    def disk(self) -> str:
        """What the template says of the disk or the set, for keys; "" where elements divide it."""
        disk = self.options.disk or self.options.image_set
        return "" if disk is None else canonical(disk.model_dump(mode="json"))

    def outputs(self, directory: Path) -> OutputFiles:
        """The files that are made, relative to the directory of the template's paths."""
        if self.options.image_set is None:
            return self.image_outputs(directory)
        return self.set_outputs(self.options.image_set, directory)

    def image_outputs(self, directory: Path) -> Outputs:
        """The files of one disk."""
        folder = directory / self.options.output_directory
        return Outputs(folder, self.image_name, self.options.formats, _digests())

    def set_outputs(self, image_set: ImageSetOptions, directory: Path) -> SetOutputs:
        """The files of an image set."""
        folder = directory / self.options.output_directory
        names = tuple(image.file_name(self.image_name, image_set) for image in image_set.image)
        return SetOutputs(folder, image_set.metadata or self.image_name, names, _digests())

    def apt_settings(self, redactor: Redactor) -> AptSettings:
        """What downloads need on this host; its passwords are redacted from here on."""
        settings = read_apt_settings() if find_tool("apt-config") else AptSettings()
        bootstrap = self.options.bootstrap
        settings = with_proxies(settings, bootstrap.proxies, bootstrap.direct_hosts)
        redactor.add(settings.secrets)
        return settings

    def request(
        self, settings: AptSettings, redactor: Redactor, directory: Path
    ) -> AptRequest | None:
        """What the tree is to be made of; None when it is not made by APT."""
        packages = self.options.tree_packages()
        request = apt_request(self.options.bootstrap, packages, settings, directory)
        for source in request.sources if request is not None else ():
            redactor.add(source.passwords())
        return request

    def finish_step(self, directory: Path) -> FinishStep:
        """The last step of the tree."""
        layout = self.options.layout()
        plan = finish_plan(self.options.bootstrap, directory)
        return FinishStep(self.options, layout, self.identity, plan)

    def policy(self, given: CachePolicy) -> CachePolicy:
        """What the command line says of results, made stricter by the template."""
        if self.options.secrets_in_image == "warn":
            return given
        return replace(given, secrets_in_image=self.options.secrets_in_image)

    def result_key(
        self,
        results: Results,
        tree_id: str | None,
        outputs: OutputFiles,
        environment: Mapping[str, str],
        build: str,
        policy: CachePolicy,
    ) -> str | None:
        """What identifies the files; None when the tree cannot be known again."""
        if tree_id is None:
            return None
        return results.key({
            "type": "image/1", "version": goldsmith.__version__, "tree": tree_id,
            # The manifest tells the build's name.
            "build": build,
            "disk": self.disk,
            "firmware": canonical(self.options.firmware), "seed": self.identity.seed,
            # An image that nobody has searched is none that was.
            "secrets": self.policy(policy).secrets_in_image,
            "cmdline": self.options.kernel_cmdline, "compression": self.options.compression,
            "outputs": canonical([str(path) for path in outputs.images.values()]),
            "epoch": environment.get("SOURCE_DATE_EPOCH", ""),
        })  # fmt: skip


def _digests() -> FileDigests:
    return FileDigests(state_directory() / "results")
