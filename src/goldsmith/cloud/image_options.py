"""What templates say about the image that is made: its name, its copies, who may use it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Final

from pydantic import Field

from goldsmith.core.options import Finding, Options

_NAME: Final = re.compile(r"[A-Za-z0-9()\[\] ./\-'@_]*")
_KEY: Final = re.compile(
    r"(?:arn:(?:aws|aws-cn|aws-us-gov):kms:[a-z0-9-]+:[0-9]{12}:)?"
    r"(?:alias/[A-Za-z0-9/_-]+|(?:key/)?(?:mrk-[0-9a-f]{32}"
    r"|[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}))"
)
RUN_TAG: Final = "goldsmith:run"
"""The tag by which what a build has made is found again."""
_LONGEST_TAG_KEY: Final = 128
_OWN: Final = ("ami_users", "ami_org_arns", "ami_ou_arns", "snapshot_users")


class TagBlock(Options):
    """One tag."""

    key: str = Field("", description="The name of the tag.")
    value: str = Field("", description="Its value.")


class DeregistrationProtection(Options):
    """Whether the image cannot be deregistered by accident."""

    enabled: bool = Field(False, description="Protect it.")
    with_cooldown: bool = Field(
        False, description="Keep it protected for a day after the protection is taken away."
    )


class ImageOptions(Options):
    """Options of the image that comes out, the same for every source that makes one at AWS."""

    ami_name: str = Field("", description="The name of the image; needed.")
    ami_description: str = Field("", description="Its description; a template with {{.SourceAMI}}.")
    ami_virtualization_type: str = Field("", description="hvm or paravirtual.")
    ami_users: tuple[str, ...] = Field((), description="Accounts that may launch it.")
    ami_groups: tuple[str, ...] = Field((), description='Groups that may; only "all" exists.')
    ami_org_arns: tuple[str, ...] = Field((), description="Organizations that may.")
    ami_ou_arns: tuple[str, ...] = Field((), description="Organizational units that may.")
    ami_product_codes: tuple[str, ...] = Field((), description="Product codes of the marketplace.")
    ami_regions: tuple[str, ...] = Field((), description="Regions that it is copied to.")
    skip_region_validation: bool = Field(False, description="Ask for no list of regions.")
    tags: dict[str, str] = Field({}, description="Tags of the image and its snapshots; templates.")
    tag: tuple[TagBlock, ...] = Field((), description="One tag of the image each.")
    ena_support: bool | None = Field(None, description="Enhanced networking (ENA).")
    sriov_support: bool = Field(False, description="Enhanced networking (SR-IOV).")
    force_deregister: bool = Field(
        False, description="Deregister an image of the same name first, as `build -force` does."
    )
    force_delete_snapshot: bool = Field(False, description="Delete its snapshots too.")
    encrypt_boot: bool | None = Field(None, description="Whether copies are encrypted.")
    kms_key_id: str = Field("", description="The key for the image's own region.")
    region_kms_key_ids: dict[str, str] = Field({}, description="The keys of the other regions.")
    skip_save_build_region: bool = Field(
        False, description="Keep the copies alone, and no image in the region of the build."
    )
    snapshot_copy_duration_minutes: int = Field(
        0, ge=0, description="Within how many minutes copies of snapshots are to be complete."
    )
    imds_support: str = Field("", description='"v2.0": machines of it need tokens for metadata.')
    boot_mode: str = Field("", description="legacy-bios, uefi or uefi-preferred.")
    uefi_data: str = Field("", description="The UEFI variable store, in base64.")
    tpm_support: str = Field("", description='"v2.0": machines of it have a TPM.')
    deprecate_at: str = Field("", description="When it counts as deprecated (RFC 3339).")
    deregistration_protection: DeregistrationProtection | None = None
    snapshot_tags: dict[str, str] = Field({}, description="Further tags of the snapshots.")
    snapshot_tag: tuple[TagBlock, ...] = Field((), description="One such tag each.")
    snapshot_users: tuple[str, ...] = Field((), description="Accounts that may use the snapshots.")
    snapshot_groups: tuple[str, ...] = Field((), description="Groups that may.")

    @property
    def all_tags(self) -> dict[str, str]:
        """The tags of both ways to write them."""
        return {**self.tags, **{one.key: one.value for one in self.tag}}

    @property
    def all_snapshot_tags(self) -> dict[str, str]:
        """The same for snapshots."""
        return {**self.snapshot_tags, **{one.key: one.value for one in self.snapshot_tag}}

    @property
    def copies_first(self) -> bool:
        """Whether the registered image is only what the lasting ones are copied from."""
        return self.encrypt_boot is True or self.skip_save_build_region

    def image_findings(self, architecture: str) -> Iterator[Finding]:
        """What is wrong with these options, all at once."""
        yield from self._name_findings()
        yield from self._machine_findings(architecture)
        yield from self._key_findings()
        for name in ("tag", "snapshot_tag"):
            yield from tag_findings(name, getattr(self, name), getattr(self, f"{name}s"))
        if self.deprecate_at and (reason := time_error(self.deprecate_at)):
            yield Finding(f"deprecate_at is not a valid time: {reason}", ("deprecate_at",),
                          'write it as "2030-12-31T00:00:00Z"')  # fmt: skip
        if self.skip_save_build_region and not self.ami_regions:
            yield Finding(
                "skip_save_build_region without ami_regions would keep no image at all",
                ("skip_save_build_region",),
            )

    def _name_findings(self) -> Iterator[Finding]:
        name = self.ami_name
        if not name:
            yield Finding("ami_name must be specified", ("ami_name",))
        elif not 3 <= len(name) <= 128:
            yield Finding("ami_name must be between 3 and 128 characters long", ("ami_name",))
        if not _NAME.fullmatch(name):
            yield Finding(
                "ami_name should only contain letters, digits and ()[] ./-'@_", ("ami_name",),
                "clean_resource_name makes any text a name",
            )  # fmt: skip

    def _machine_findings(self, architecture: str) -> Iterator[Finding]:
        modes = ("legacy-bios", "uefi", "uefi-preferred")
        if self.boot_mode not in ("", *modes):
            yield Finding(
                f'invalid boot mode "{self.boot_mode}", valid values are either \'uefi\', '
                "'legacy-bios' or 'uefi-preferred'", ("boot_mode",),
            )  # fmt: skip
        if self.uefi_data and (
            self.boot_mode == "legacy-bios" or (not self.boot_mode and architecture != "arm64")
        ):
            yield Finding("uefi_data needs the boot_mode uefi or uefi-preferred", ("uefi_data",))
        for name in ("tpm_support", "imds_support"):
            if getattr(self, name) not in ("", "v2.0"):
                yield Finding(f'the only valid {name} value is "v2.0"', (name,))
        if self.ami_virtualization_type not in ("", "hvm", "paravirtual"):
            yield Finding("ami_virtualization_type is hvm or paravirtual",
                          ("ami_virtualization_type",))  # fmt: skip
        for name in ("ena_support", "sriov_support"):
            if self.ami_virtualization_type == "paravirtual" and getattr(self, name):
                yield Finding(f"{name} is for the ami_virtualization_type hvm", (name,))

    def _key_findings(self) -> Iterator[Finding]:
        keys, regions = self.region_kms_key_ids, set(self.ami_regions)
        if self.encrypt_boot is not True:
            for name in ("kms_key_id", "region_kms_key_ids"):
                if getattr(self, name):
                    yield Finding(f"{name} needs encrypt_boot = true", (name,))
        yield from kms_findings("kms_key_id", self.kms_key_id)
        for region, key in keys.items():
            yield from kms_findings("region_kms_key_ids", key, region)
        if keys:
            for region in sorted(regions - set(keys)):
                yield Finding(f"region {region} is in ami_regions but not in region_kms_key_ids",
                              ("region_kms_key_ids",))  # fmt: skip
            for region in sorted(set(keys) - regions):
                yield Finding(f"region {region} is in region_kms_key_ids but not in ami_regions",
                              ("ami_regions",))  # fmt: skip
        shared = [name for name in _OWN if getattr(self, name)]
        if self.encrypt_boot is True and shared:
            what = "snapshot" if shared == ["snapshot_users"] else "AMI"
            if not self.kms_key_id and not keys:
                yield Finding(f"Cannot share {what} encrypted with default KMS key", (shared[0],),
                              "give kms_key_id")  # fmt: skip
            for region, key in keys.items():
                if not key:
                    yield Finding(
                        f"Cannot share {what} encrypted with default KMS key in {region}",
                        ("region_kms_key_ids",),
                    )


def tag_findings(
    name: str, blocks: tuple[TagBlock, ...], tags: Mapping[str, str]
) -> Iterator[Finding]:
    """Tags without a name, or with one that nobody may give; `name` is that of the blocks."""
    for number, one in enumerate(blocks):
        if not one.key:
            yield Finding(f"{name} needs a key", (name, number))
        else:
            yield from _tag_key_findings(one.key, (name, number))
    for key in tags:
        if not key:
            yield Finding(f"{name}s has a tag without a key", (f"{name}s",))
        else:
            yield from _tag_key_findings(key, (f"{name}s", key))


def _tag_key_findings(key: str, where: tuple[str | int, ...]) -> Iterator[Finding]:
    if key == RUN_TAG or key.casefold().startswith("aws:"):
        whose = "goldsmith" if key == RUN_TAG else "AWS"
        yield Finding(f'the tag "{key}" is one that {whose} gives', where, "choose another key")
    elif len(key) > _LONGEST_TAG_KEY:
        yield Finding(f"the key of a tag has {len(key)} characters, and may have "
                      f"{_LONGEST_TAG_KEY}", where)  # fmt: skip


def kms_findings(name: str, key: str, region: str = "") -> Iterator[Finding]:
    """A key that is none."""
    if key and not _KEY.fullmatch(key):
        where = f" of {region}" if region else ""
        yield Finding(
            f'"{key}"{where} is not a valid KMS key', (name, region) if region else (name,),
            "a key id, mrk-…, alias/… or the ARN of one of these",
        )  # fmt: skip


def time_error(text: str) -> str:
    """Why a text is no time of RFC 3339, or ""."""
    if not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", text):
        return f'"{text}" is not written as RFC 3339 wants it'
    try:
        datetime.fromisoformat(text)
    except ValueError as e:
        return str(e)
    return ""


def tag_list(tags: Mapping[str, str]) -> list[dict[str, str]]:
    """Tags in the form of the API."""
    return [{"Key": key, "Value": value} for key, value in tags.items()]
