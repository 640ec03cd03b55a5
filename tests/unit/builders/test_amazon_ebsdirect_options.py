"""What is wrong with the options of amazon-ebsdirect, all at once and without any network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from goldsmith.builders.amazon_ebsdirect.builder import AmazonEbsdirectBuilder
from goldsmith.builders.amazon_ebsdirect.options import AmazonEbsdirectOptions
from goldsmith.core.artifact import Artifact, ExpectedArtifact
from goldsmith.errors import GoldsmithError, Severity
from goldsmith.post_processors.amazon_ebsdirect import AmazonEbsdirect
from goldsmith.post_processors.amazon_ebsdirect.image_source import find_image
from goldsmith.post_processors.amazon_ebsdirect.options import (
    AmazonEbsdirectOptions as UploadOptions,
)

GOOD = {"ami_name": "web-1", "source_ami": "ami-1", "region": "us-east-1"}
KEY = "arn:aws:kms:us-east-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab"
UPLOAD = {"ami_name": "web-1", "region": "us-east-1"}


def errors(**given: Any) -> list[str]:
    made = AmazonEbsdirectBuilder(AmazonEbsdirectOptions.model_validate(given), "web")
    return [one.message for one in made.check() if one.severity is Severity.ERROR]


def upload_errors(**given: Any) -> list[str]:
    found = AmazonEbsdirect(UploadOptions.model_validate(given)).check(Path())
    return [one.message for one in found if one.severity is Severity.ERROR]


def test_good_ones() -> None:
    assert errors(**GOOD) == [] == upload_errors(**UPLOAD)
    encrypted = {"snapshot_encrypted": True, "snapshot_kms_key_arn": KEY}
    assert errors(**GOOD, **encrypted, tags={"Base": "{{.SourceAMI}}"}) == []
    mapped = {"ami_block_device_mappings": [{"device_name": "/dev/sda1"}],
              "root_device_name": "/dev/sda1"}  # fmt: skip
    assert errors(**GOOD, **mapped) == [] == upload_errors(**UPLOAD, **mapped)


SHARED = [
    ({"ami_name": ""}, "ami_name must be specified"),
    ({"snapshot_kms_key_arn": KEY}, "needs snapshot_encrypted"),
    ({"snapshot_encrypted": True, "snapshot_kms_key_arn": "alias/x"}, "not the ARN of a key"),
    ({"snapshot_encrypted": True, "snapshot_kms_key_arn": KEY.replace("us-east-1", "eu-west-1")},
     "not one of us-east-1"),
    ({"custom_endpoint_ebs": "ebs.example"}, "custom_endpoint_ebs is no URL"),
    ({"custom_endpoint_ec2": "ec2.example"}, "custom_endpoint_ec2 is no URL"),
    ({"access_key": "AKIA"}, "access_key is given without secret_key"),
    ({"ami_architecture": "vax"}, "ami_architecture is one of"),
    ({"deprecate_at": "soon"}, "deprecate_at is not a valid time"),
    ({"root_device_name": "/dev/x", "ami_block_device_mappings": [{"device_name": "/dev/y"}]},
     "no device of ami_block_device_mappings is /dev/x"),
    ({"ami_block_device_mappings": [{"device_name": "/dev/y"}]}, "root_device_name must be"),
]  # fmt: skip


@pytest.mark.parametrize(("given", "message"), SHARED)
def test_bad_ones_of_both(given: dict[str, Any], message: str) -> None:
    assert any(message in one for one in errors(**{**GOOD, **given}))
    assert any(message in one for one in upload_errors(**{**UPLOAD, **given}))


@pytest.mark.parametrize(
    ("given", "message"),
    [({"source_ami": ""}, "source_ami or source_ami_filter is required."),
     ({"source_ami": "", "source_ami_filter": {}}, "source_ami or source_ami_filter is required."),
     ({"root_label": "a", "mount_partition": 1}, "exclude each other"),
     ({"root_device_name": "/dev/x"}, "ami_block_device_mappings must be"),
     ({"tags": {"a": "{{.Nope}}"}}, "tags a"), ({"ami_description": "{{"}, "ami_description")],
)  # fmt: skip
def test_bad_ones_of_the_source(given: dict[str, Any], message: str) -> None:
    assert any(message in one for one in errors(**{**GOOD, **given}))


def test_all_at_once() -> None:
    found = errors(access_key="x", blocks="needed", snapshot_kms_key_arn="y", root_label="a",
                   root_uuid="b")  # fmt: skip
    assert len(found) == 6


def test_paravirtual_images_are_not_uploaded() -> None:
    (found,) = upload_errors(**UPLOAD, ami_virtualization_type="paravirtual")
    assert "hvm" in found


def test_an_artifact_without_an_image_is_refused_early() -> None:
    made = AmazonEbsdirect(UploadOptions.model_validate(UPLOAD))
    with pytest.raises(GoldsmithError, match="no image"):
        made.preflight(ExpectedArtifact(("raw.xz",)))
    assert made.preflight(ExpectedArtifact(("raw", "qcow2"))) == ExpectedArtifact()


def artifact(*files: str, **images: str) -> Artifact:
    return Artifact(builder_id="x", id="x", string="x", files=files, state={"images": images})


def test_which_image_is_taken() -> None:
    top = Path("/top")
    assert find_image(artifact("a.qcow2", qcow2="a.qcow2"), top) == ("qcow2", top / "a.qcow2")
    both = artifact("a.qcow2", "a.raw", qcow2="a.qcow2", raw="a.raw")
    assert find_image(both, top) == ("raw", top / "a.raw")
    assert find_image(artifact("readme", "a.img.zst"), top) == ("raw.zst", top / "a.img.zst")
    with pytest.raises(GoldsmithError, match="no image of a disk among readme"):
        find_image(artifact("readme"), top)
    with pytest.raises(GoldsmithError, match="both images"):
        find_image(artifact("a.raw", "b.img"), top)
