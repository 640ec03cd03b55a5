"""What a template says of the change of an image, as its plan and its making both need it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import goldsmith
from goldsmith.builders.chroot.options import ChrootOptions
from goldsmith.builders.image.output import Outputs
from goldsmith.builders.volume_steps.extras import ExtraMount, extra_mounts
from goldsmith.core.results import FileDigests, Results
from goldsmith.host.digests import file_digest
from goldsmith.host.journal import state_directory
from goldsmith.layers.keys import canonical


@dataclass(frozen=True, slots=True)
class ChrootRecipe:
    """The options of a `chroot` source, and what follows from them."""

    options: ChrootOptions
    image_name: str

    @property
    def mounts(self) -> tuple[ExtraMount, ...]:
        """The further mounts that provisioners see."""
        return extra_mounts(self.options.chroot_mounts)

    @property
    def copied_files(self) -> dict[str, Path]:
        """The files of this host that provisioners see, by path."""
        return {name: Path(name) for name in self.options.copy_files}

    @property
    def changes_on_host(self) -> bool:
        """Whether commands on this host may change the image before its tree is looked at."""
        return bool(self.options.pre_mount_commands or self.options.post_mount_commands)

    def source(self, directory: Path) -> Path:
        """The image that is to be changed."""
        return directory / self.options.source

    def source_digest(self, directory: Path) -> str:
        """The SHA-256 of the source, remembered while it stays as it is; raises OSError."""
        # A link is followed here: what it leads to is remembered.
        source = Path(os.path.realpath(self.source(directory)))
        return FileDigests(state_directory() / "results").of(source)

    def outputs(self, directory: Path) -> Outputs:
        """The files that are made, relative to the directory of the template's paths."""
        folder = directory / self.options.output_directory
        digests = FileDigests(state_directory() / "results")
        return Outputs(folder, self.image_name, self.options.formats, digests)

    def root_inputs(self) -> dict[str, str]:
        """What of the options decides which tree the source has."""
        options = self.options
        return {
            "config:root": canonical([options.root_label, options.root_uuid,
                                      options.mount_partition]),
            "config:mount_options": canonical(options.mount_options),
            "config:commands": canonical([options.pre_mount_commands, options.post_mount_commands,
                                          options.command_wrapper]),
            "config:chroot_mounts": canonical([[m.kind, m.path] for m in self.mounts]),
            "config:copy_files": canonical(options.copy_files),
        }  # fmt: skip

    def shown_inputs(self) -> dict[str, str] | None:
        """What of this host provisioners are shown, for their keys; None where nothing can tell.

        Raises OSError for a file that cannot be read.
        """
        if not all(mount.tells_nothing for mount in self.mounts):
            return None
        shown = {f"file:{path}": file_digest(Path(path)) for path in self.options.copy_files}
        if self.mounts:
            shown["config:chroot_mounts"] = canonical([[m.kind, m.path] for m in self.mounts])
        return shown

    def result_key(
        self,
        results: Results,
        tree_id: str | None,
        source_digest: str,
        outputs: Outputs,
        environment: Mapping[str, str],
        build: str,
    ) -> str | None:
        """What identifies the files; None when the tree cannot be known again.

        Nor where commands on this host may have changed what is not in the tree.
        """
        if tree_id is None or self.changes_on_host:
            return None
        return results.key({
            "type": "chroot/1", "version": goldsmith.__version__, "tree": tree_id,
            "source": source_digest, **self.root_inputs(),
            # The manifest tells the build's name.
            "build": build, "firmware": canonical(self.options.firmware),
            "compression": self.options.compression,
            "outputs": canonical([str(path) for path in outputs.images.values()]),
            "epoch": environment.get("SOURCE_DATE_EPOCH", ""),
        })  # fmt: skip
