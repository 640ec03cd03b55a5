"""What a template can say in `source "amazon-chroot"`; the manual is made from this model."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from typing import ClassVar, Final

from pydantic import Field

from goldsmith.builders.amazon.options import AmazonOptions
from goldsmith.builders.amazon.texts import Texts
from goldsmith.builders.volume_steps.options import PLAIN_WRAPPER
from goldsmith.cloud.image_options import TagBlock, kms_findings, tag_findings
from goldsmith.core.options import Finding
from goldsmith.errors import GoldsmithError, Severity

RESOLVER: Final = "/etc/resolv.conf"


class AmazonChrootOptions(AmazonOptions):
    """Options of the `amazon-chroot` source."""

    verbatim: ClassVar[frozenset[str]] = AmazonOptions.verbatim | {
        "root_volume_tags", "root_volume_tag", "mount_path",
    }  # fmt: skip

    from_scratch: bool = Field(
        False, description="Start from an empty volume that pre_mount_commands fill."
    )
    root_volume_encrypt_boot: bool | None = Field(None, description="By default as the source's.")
    root_volume_kms_key_id: str = Field("", description="The key of the encrypted volume.")
    root_volume_tags: dict[str, str] = Field({}, description="Tags of the working volume.")
    root_volume_tag: tuple[TagBlock, ...] = Field((), description="One such tag each.")
    device_path: str = Field(
        "", description="The device name to attach the volume as; by default the first free one."
    )
    nvme_device_path: str = Field(
        "",
        description="The node by which the volume is seen, to which the partition's number is "
        "appended; by default it is found by the volume's id.",
    )
    mount_partition: str = Field(
        "1", description='The number of the root\'s partition, "0" for the whole volume.'
    )
    mount_path: str = Field(
        "",
        description="Where the root is mounted while the build runs, seen by this build alone; "
        "{{.Device}} is the device's name. By default in the directory of the run.",
    )
    mount_command: str = Field("mount", description="The program that mounts, with arguments.")
    unmount_command: str = Field("umount", description="The program that unmounts.")
    copy_files: tuple[str, ...] = Field(
        (RESOLVER,),
        description="Files of this host that provisioners see at the same path; the image keeps "
        "its own. From scratch there are none by default.",
    )

    @property
    def shown_files(self) -> tuple[str, ...]:
        """The files that provisioners see; the resolver's is shown to all that have a network."""
        if self.from_scratch and "copy_files" not in self.model_fields_set:
            return ()
        return tuple(path for path in self.copy_files if path != RESOLVER)

    @property
    def all_volume_tags(self) -> dict[str, str]:
        """The tags of the working volume, of both ways to write them."""
        return {**self.root_volume_tags, **{one.key: one.value for one in self.root_volume_tag}}

    @property
    def has_source(self) -> bool:
        """Not from scratch."""
        return not self.from_scratch

    @property
    def delayed_tags(self) -> Mapping[str, Mapping[str, str]]:
        """Those of the working volume too."""
        return {**super().delayed_tags, "root_volume_tags": self.all_volume_tags}

    def findings(self, texts: Texts) -> Iterator[Finding]:
        """What is wrong with options that belong together, all of it."""
        yield from super().findings(texts)
        yield from self._scratch_findings()
        yield from self._volume_findings()
        yield from self._mount_findings()
        yield from tag_findings("root_volume_tag", self.root_volume_tag, self.root_volume_tags)
        try:
            texts.render(self.mount_path, {"Device": "x"})
        except GoldsmithError as e:
            yield Finding(f"mount_path: {e}", ("mount_path",))

    def _scratch_findings(self) -> Iterator[Finding]:
        if not self.from_scratch:
            return
        if self.names_source:
            yield Finding("source_ami is unused when from_scratch is true", ("source_ami",), "",
                          Severity.WARNING)  # fmt: skip
        if self.root_volume_size == 0:
            yield Finding("root_volume_size is required with from_scratch.", ("root_volume_size",))
        for name in ("pre_mount_commands", "ami_virtualization_type", "root_device_name",
                     "ami_block_device_mappings"):  # fmt: skip
            if not getattr(self, name):
                yield Finding(f"{name} is required with from_scratch.", (name,))
        if self.root_volume_type == "io1":
            yield Finding("root_volume_type io1 cannot be made from scratch: it has no iops",
                          ("root_volume_type",))  # fmt: skip

    def mapping_findings(self) -> Iterator[Finding]:
        """From scratch they are needed, and otherwise replace the source's."""
        if self.from_scratch:
            return
        yield from super().mapping_findings()
        if not self.ami_block_device_mappings:
            return
        yield Finding(
            "ami_block_device_mappings from source image will be completely overwritten",
            ("ami_block_device_mappings",), "", Severity.WARNING,
        )  # fmt: skip
        if not self.root_volume_size:
            yield Finding("If ami_block_device_mappings is specified, root_volume_size must be "
                          "specified", ("root_volume_size",))  # fmt: skip

    def _volume_findings(self) -> Iterator[Finding]:
        if self.root_volume_kms_key_id:
            if self.root_volume_encrypt_boot is False:
                yield Finding("root_volume_kms_key_id needs root_volume_encrypt_boot",
                              ("root_volume_kms_key_id",))  # fmt: skip
            yield from kms_findings("root_volume_kms_key_id", self.root_volume_kms_key_id)

    def _mount_findings(self) -> Iterator[Finding]:
        if not self.mount_partition.isdecimal():
            yield Finding(f'mount_partition is a number, not "{self.mount_partition}"',
                          ("mount_partition",))  # fmt: skip
        for name, usual in (("mount_command", "mount"), ("unmount_command", "umount")):
            given = str(getattr(self, name))
            try:
                words = shlex.split(given)
            except ValueError as e:
                yield Finding(f"{name} cannot be read: {e}", (name,))
                continue
            if not words:
                yield Finding(f"{name} is empty", (name,))
            if given != usual and self.command_wrapper != PLAIN_WRAPPER:
                yield Finding(f"{name} and command_wrapper exclude each other", (name,),
                              "say in the command itself what wraps it")  # fmt: skip
