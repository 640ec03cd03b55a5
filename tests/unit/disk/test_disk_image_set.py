"""Metadata of image sets: what is written is read, fuel-agent's own too, bad is told."""

import dataclasses
import json

import pytest
import yaml

from goldsmith.disk.image_set import (
    ImageSet,
    ImageSetError,
    InstalledPackage,
    SetImage,
    read_image_set,
    render_json,
    render_yaml,
    to_document,
)

MD5, SHA256 = "0123456789abcdef" * 2, "0123456789abcdef" * 4
ROOT = SetImage(
    "env_1.img.gz", "gzip", "ext4", 4096, MD5, SHA256, 100, MD5, SHA256, "/", "u-u", "root",
    "env_1.img.gz.bmap", SHA256, SHA256,
)  # fmt: skip
BOOT = SetImage("env_1-boot.img", "raw", "ext2", 4096, MD5, SHA256, 4096, MD5, SHA256, "/boot")
WHOLE = ImageSet(
    (ROOT, BOOT), {"name": "Debian", "major": 12, "minor": 0}, ("less",),
    ({"type": "deb", "name": "debian", "uri": "u", "suite": "s", "section": "main",
      "priority": None, "meta": None},),
    goldsmith_version="1", name="env_1", architecture="x86_64", epoch_s=1, inputs_sha256=SHA256,
    inputs={"packages": SHA256}, os_release={"ID": "debian"},
    installed_packages=(InstalledPackage("less", "1", "amd64"),),
)  # fmt: skip

FUEL_AGENTS_OWN = f"""\
images:
- {{container: gzip, container_md5: {MD5}, container_name: env_1.img.gz, container_size: 9,
   format: ext4, raw_md5: {MD5}, raw_name: null, raw_size: 4096}}
os: {{major: 14, minor: 4, name: Ubuntu}}
packages: [acl]
repos: []
"""
KEYS_OF_FUEL_AGENT = {
    "raw_md5", "raw_size", "raw_name", "container_name", "container_md5", "container_size",
    "container", "format",
}  # fmt: skip


@pytest.mark.parametrize("render", [render_json, render_yaml])
def test_what_is_written_is_read(render):
    assert read_image_set(render(to_document(WHOLE))) == WHOLE


def test_the_fields_of_fuel_agent_are_there():
    document = yaml.safe_load(render_yaml(to_document(WHOLE)))
    assert set(document) >= {"os", "packages", "repos", "images"}
    for image in document["images"]:
        assert set(image) >= KEYS_OF_FUEL_AGENT
    assert set(document["repos"][0]) == {"type", "name", "uri", "suite", "section", "priority",
                                         "meta"}  # fmt: skip
    assert json.loads(render_json(to_document(WHOLE))) == document


def test_metadata_of_fuel_agent_itself():
    found = read_image_set(FUEL_AGENTS_OWN)
    (image,) = found.images
    assert found.schema_version == 0
    assert (image.raw_size_bytes, image.raw_md5, image.container) == (4096, MD5, "gzip")
    assert image.mount is image.raw_sha256 is image.block_map_name is None
    assert found.by_container_name("env_1.img.gz") == image
    assert found.by_container_name("other") is None
    assert found.by_mount() == {}


def changed(**fields):
    document = to_document(WHOLE)
    document["images"][0] |= fields
    return render_json(document)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[]", "not a map"),
        ("", "not a map"),
        ("images: 3", "images: it is not a list"),
        ("images: []", "there are none"),
        ("a: [", "neither YAML nor JSON"),
        ('{"images": [3]}', r"images\[0\]: it is not a map"),
        ("goldsmith_image_set: 99", "version 99"),
        (changed(container="lz4"), "'lz4' is none of raw, gzip, zstd"),
        (changed(container_name="../../etc/passwd"), "not a plain file name"),
        (changed(container_name=".."), "not a plain file name"),
        (changed(container_name=None), "it is missing"),
        (changed(block_map="/etc/passwd"), "not a plain file name"),
        (changed(raw_size=-1), "not a whole number"),
        (changed(raw_size=True), "not a whole number"),
        (changed(raw_size="1"), "not a whole number"),
        (changed(raw_md5="x" * 32), "not a digest of md5"),
        (changed(raw_sha256=MD5), "not a digest of sha256"),
        (changed(mount="boot"), "not absolute"),
        (changed(mount="/boot"), "more than once"),
        (changed(container_name="env_1-boot.img"), "more than once"),
        ("&a [*a, *a]", "not a map"),
    ],
)
def test_bad_metadata(text, words):
    with pytest.raises(ImageSetError, match=words) as caught:
        read_image_set(text, "env_1.yaml")
    assert "env_1.yaml" in str(caught.value)


def test_every_finding_is_told():
    with pytest.raises(ImageSetError) as caught:
        read_image_set(changed(raw_md5="1", container="x", raw_size=-2))
    assert len(str(caught.value).splitlines()) == 3


def test_digests_are_compared_in_lower_case():
    assert read_image_set(changed(raw_md5=MD5.upper())).images[0].raw_md5 == MD5


def test_unknown_fields_are_left_alone():
    document = {**to_document(WHOLE), "later": {"a": 1}}
    assert read_image_set(render_yaml(document)) == WHOLE
    assert dataclasses.asdict(WHOLE)["name"] == "env_1"
