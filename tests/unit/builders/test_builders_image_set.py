"""Options of image sets, and those of fuel-agent's defects that show without root."""

import os

import pytest
from pydantic import ValidationError

from goldsmith.builders.image.bootstrap_options import Bootstrap
from goldsmith.builders.image.options import Disk, ImageOptions
from goldsmith.builders.image.set_files import system
from goldsmith.builders.image.set_options import ImageSetOptions, SetImage
from goldsmith.builders.image.set_output import SetOutputs
from goldsmith.core.results import FileDigests
from goldsmith.disk import containers
from goldsmith.disk.model import Headroom
from goldsmith.disk.ways import Way, ways
from goldsmith.packages.apt_settings import AptSettings, with_proxies

ROOT = SetImage(mount="/")
BOOT = SetImage(mount="/boot", filesystem="ext2", container="raw")


def options(*images, **more):
    image_set = ImageSetOptions(image=images or (ROOT, BOOT))
    return ImageOptions(bootstrap=Bootstrap(suite="stable"), image_set=image_set, **more)


def test_a_set_has_no_boot_loader_and_no_formats():
    given = options()
    assert given.firmware == ()
    assert list(given.findings()) == []
    assert given.tree_packages() == ("e2fsprogs",)
    assert given.layout().by_mount().keys() == {"/", "/boot"}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (options(firmware=("uefi",)), "boot loader"),
        (options(formats=("raw",)), "formats"),
        (options(kernel_cmdline="quiet"), "kernel_cmdline"),
        (options(disk=Disk()), "not both"),
        (options(BOOT), "root file system"),
        (options(ROOT, SetImage(mount="/a", filesystem="swap")), "swap"),
        (options(ROOT, SetImage(mount="/a/")), "superfluous slash"),
        (options(ROOT, SetImage(mount="/a-b"), SetImage(mount="/a/b")), "called"),
        (options(SetImage(mount="/", file="image.json")), "called"),
    ],
)
def test_what_does_not_go_together(given, words):
    assert words in " ".join(str(finding.message) for finding in given.findings(image_name="image"))


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".x", "a b"])
def test_file_names_are_plain(name):
    with pytest.raises(ValidationError):
        SetImage(mount="/", file=name)
    with pytest.raises(ValidationError):
        ImageSetOptions(metadata=name)


def test_names_containers_and_headroom_of_the_set_and_of_one():
    image_set = ImageSetOptions(container="gzip", headroom="10%", image=(ROOT, BOOT))
    assert [image.file_name("x", image_set) for image in image_set.image] == [
        "x.img.gz", "x-boot.img",
    ]  # fmt: skip
    assert ROOT.headroom_in(image_set).of(1000) == 100
    assert SetImage(mount="/", headroom="7B").headroom_in(image_set).of(1000) == 7
    assert ImageSetOptions().image == ()
    assert ROOT.headroom_in(ImageSetOptions()).of(1 << 30) == 0


def test_outputs_end_with_the_metadata(tmp_path):
    outputs = SetOutputs(tmp_path, "m", ("a", "b"), FileDigests(tmp_path / "d"))
    names = [path.name for path in outputs.all_files]
    assert names == ["a", "b", "a.bmap", "b.bmap", "m.json", "m.yaml"]
    (tmp_path / "m.yaml").write_text("images: [3]")
    assert outputs.read() is None
    assert outputs.known() == {}


def test_metadata_of_fuel_agent_are_not_ours(tmp_path):
    outputs = SetOutputs(tmp_path, "m", ("a",), FileDigests(tmp_path / "d"))
    (tmp_path / "m.yaml").write_text(
        "images: [{container: gzip, container_name: a, format: ext4}]\nos: {}\n"
    )
    assert outputs.read() is None


def test_b7_b8_no_loop_device_is_attached_for_ext_so_none_can_be_left_or_mistaken():
    for kind in ("ext2", "ext3", "ext4", "btrfs", "squashfs", "erofs", "vfat"):
        layout = SetImage(mount="/", filesystem=kind).to_layout(Headroom())
        assert {choice.way for choice in ways(layout).values()} == {Way.OFFLINE}


@pytest.mark.parametrize("container", ["gzip", "zstd", "none"])
def test_b22_each_byte_is_read_once_for_everything(tmp_path, monkeypatch, container):
    image = tmp_path / "image"
    with image.open("wb") as file:
        for number in range(5):
            file.seek(number * (5 << 20))
            file.write(os.urandom(1 << 20))
        file.truncate(40 << 20)
    read = []
    really = os.preadv

    def preadv(fd, buffers, offset):
        count = really(fd, buffers, offset)
        read.append(count)
        return count

    monkeypatch.setattr(containers.os, "preadv", preadv)
    if container == "none":
        raw = containers.describe(image, with_md5=True)
    else:
        packed = containers.pack(image, tmp_path / "packed", container, with_md5=True)
        raw = packed.raw
        assert packed.md5 is not None
    assert raw.md5 is not None
    assert raw.block_map.mapped_blocks * 4096 == sum(read) == 5 << 20


def test_md5_is_made_only_where_it_is_asked_for(tmp_path):
    image = tmp_path / "image"
    image.write_bytes(b"x" * 5000)
    assert containers.describe(image).md5 is None
    packed = containers.pack(image, tmp_path / "packed", "gzip")
    assert packed.md5 is packed.raw.md5 is None


@pytest.mark.parametrize(
    ("release", "wanted"),
    [
        ({"NAME": "Debian GNU/Linux", "VERSION_ID": "12"}, ("Debian", 12, 0)),
        ({"NAME": "Ubuntu", "VERSION_ID": "16.04"}, ("Ubuntu", 16, 4)),
        ({"NAME": "Debian GNU/Linux"}, ("Debian", None, None)),
        ({"ID": "x", "VERSION_ID": "rolling"}, ("x", None, None)),
        ({}, ("", None, None)),
    ],
)
def test_the_system_in_fuel_agents_form(release, wanted):
    assert tuple(system(release).values()) == wanted


def test_proxies_take_the_place_of_the_hosts():
    host = AptSettings({"Acquire::http::Proxy": "http://old:1", "Acquire::Retries": "3",
                        "Acquire::HTTP::Proxy-Auto-Detect": "/x"})  # fmt: skip
    given = with_proxies(host, {"http": "http://me:p%41ss@new:2"}, ("repo",))
    assert given.options == {
        "Acquire::Retries": "3", "Acquire::http::Proxy": "http://me:p%41ss@new:2",
        "Acquire::http::Proxy::repo": "DIRECT", "Acquire::https::Proxy::repo": "DIRECT",
    }  # fmt: skip
    assert given.secrets == {"p%41ss", "pAss"}
    assert "new:2" not in given.tree_text()
    assert with_proxies(host, {}, ()) == host


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"base": "x"}, "needs a block"),
        ({"base": "x", "mirror": "http://x/"}, "exclude"),
        ({"proxies": {"gopher": "http://x"}}, "gopher"),
        ({"proxies": {"http": 'http://x";'}}, "an address"),
        ({"direct_hosts": ["a b"]}, "the name of a host"),
        ({"base": "x", "repository": [{"name": "x", "uri": "http://x/", "suite": "other"}]},
         'suite "other"'),
    ],
)  # fmt: skip
def test_where_packages_come_from(more, words):
    with pytest.raises(ValidationError) as caught:
        Bootstrap.model_validate({"suite": "stable", **more})
    assert words in caught.value.errors()[0]["msg"]
