"""What `source "image"` refuses before anything runs, because a later step would refuse it."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from goldsmith.builders.image.bootstrap_options import Bootstrap
from goldsmith.builders.image.options import Disk, ImageOptions, Partition
from goldsmith.disk.formats import FORMATS
from goldsmith.errors import Severity
from goldsmith.packages import identity
from goldsmith.packages.apt_request import PACKAGE_NAME
from goldsmith.packages.errors import PackageError


def image(**options):
    bootstrap = Bootstrap(suite="stable")
    return ImageOptions(bootstrap=bootstrap, disk=Disk(), **options)


def refusal(make, **options):
    with pytest.raises(ValidationError) as caught:
        make(**options)
    return caught.value.errors()[0]["msg"]


MIRRORS = ("http://x/debian", "file:/srv/mirror", "copy:///srv", "mirror+file:/list",
           "http://user:word@[::1]:80/debian", "")  # fmt: skip


@pytest.mark.parametrize("mirror", MIRRORS)
def test_mirrors(mirror):
    assert Bootstrap(suite="stable", mirror=mirror).mirror == mirror


@pytest.mark.parametrize(
    "mirror",
    ["http://x/\nTrusted: yes", "http://x/ y", "http://x/\t", "/srv/mirror", "x", " http://x/",
     "http://x/\u2028Trusted:yes", "http://x/\x01", "://x"],
)  # fmt: skip
def test_a_mirror_is_one_word_with_a_scheme(mirror):
    said = refusal(Bootstrap, suite="stable", mirror=mirror)
    assert "a mirror is one URI" in said
    assert mirror not in said


@pytest.mark.parametrize("component", ["main\nTrusted: yes", "main contrib", "", "-x", "a#", "a,b"])
def test_components_are_plain_words(component):
    given = ("main", "non-free-firmware", "updates/main")
    assert Bootstrap(suite="stable", components=given).components == given
    said = refusal(Bootstrap, suite="stable", components=("main", component))
    assert "is not the name of an archive component" in said


@pytest.mark.parametrize("package", ["foo-", "x", "foo -y", "-foo", "", "foo="])
def test_packages_are_those_that_the_bootstrap_takes(package):
    for name in ("bash", "nginx/bookworm-backports", "libc6:amd64", "a0=1:2~3", "g++"):
        assert PACKAGE_NAME.fullmatch(name)
        assert Bootstrap(suite="stable", packages=(name,)).packages == (name,)
    assert not PACKAGE_NAME.fullmatch(package)
    assert "not the name of a package" in refusal(Bootstrap, suite="stable", packages=(package,))


@pytest.mark.parametrize("option", ["a b", "a,b", "a#", "a\nb", "\t", "", "a\x01", "a\u2028b"])
def test_mount_options_cannot_leave_their_field_of_fstab(option):
    kept = ("noatime", "commit=30", "x-systemd.automount")
    assert Partition(name="p", type="data", mount_options=kept).mount_options == kept
    said = refusal(Partition, name="p", type="data", mount_options=("ro", option))
    assert "is not one mount option" in said


LONG = "a" * 64


@pytest.mark.parametrize("name", ["a.b-", LONG, f"b.{'a' * 63}", "-a", "a.", ".a", "a..b", "a_b",
                                  "", "a\n", "\u00e4"])  # fmt: skip
def test_host_names(name):
    assert image(hostname="web-1.example").hostname == "web-1.example"
    assert image(hostname=f"b.{'a' * 62}").hostname == f"b.{'a' * 62}"
    assert image(hostname="a" * 63).hostname == "a" * 63
    assert "is not a host name" in refusal(image, hostname=name)


@given(st.text("ab-.0_", min_size=1, max_size=8) | st.integers(60, 66).map("a".__mul__))
def test_host_names_are_those_that_the_tree_takes(name):
    """One rule in two places: what is accepted now is not refused after the bootstrap."""
    written = []

    def write(tree, path, data):
        written.append(data)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(identity, "write_confined", write)
        patch.setattr(identity, "read_confined", lambda tree, path: None)
        try:
            identity.set_hostname(Path("/nowhere"), name)
            taken = True
        except PackageError:
            taken = False
    try:
        image(hostname=name)
        accepted = True
    except ValidationError:
        accepted = False
    assert accepted is taken


@pytest.mark.parametrize("size", ["9" * 5000, "9EiB", "9000000TiB", str(1 << 63)])
def test_sizes_are_those_that_files_can_have(size):
    refusal(Partition, name="p", type="data", size=size)
    refusal(Disk, size=size)
    refusal(Disk, headroom=size)


def test_a_headroom_of_thousands_of_digits_is_refused():
    assert "is not a size" in refusal(Disk, headroom="9" * 5000 + "%")


def test_formats_are_described_each_with_what_it_is_for():
    said = ImageOptions.model_fields["formats"].description
    for name, found in FORMATS.items():
        assert f"{name}: {found.description}" in said


def format_findings(disk=None, **options):
    given = ImageOptions(bootstrap=Bootstrap(suite="stable"), disk=disk or Disk(), **options)
    return [f for f in given.findings() if f.path[0] == "compression" or f.path[-1] == "size"]


def test_compression_is_that_of_qcow2():
    assert image().compression == "zstd"
    assert format_findings(formats=("raw", "qcow2"), compression="zlib") == []
    assert format_findings(formats=("raw", "vmdk")) == []
    (found,) = format_findings(formats=("raw", "vmdk"), compression="zlib")
    assert found.path == ("compression",)
    assert 'add "qcow2" to formats' in found.hint
    assert "'zstd' or 'zlib'" in refusal(image, compression="gzip")


def test_a_vpc_is_no_larger_than_its_format():
    assert format_findings(Disk(size="2040GiB"), formats=("vpc",)) == []
    assert format_findings(Disk(size="2041GiB"), formats=("vhdx",)) == []
    (found,) = format_findings(Disk(size="2041GiB"), formats=("vpc", "vhdx"))
    assert (found.path, found.message) == (("disk", "size"), "a vpc holds at most 1.99 TiB")


@pytest.mark.parametrize(
    ("packages", "firmware", "warned"),
    [
        ((), ("bios",), True), (("ssh", "linux-base", "linux-libc-dev"), ("uefi",), True),
        ((), (), False), (("linux-image-cloud-amd64",), ("bios",), False),
        (("linux-generic",), ("uefi",), False), (("proxmox-kernel-6.8",), ("uefi",), False),
    ],
)  # fmt: skip
def test_an_image_that_is_to_boot_without_a_kernel_is_warned_of(packages, firmware, warned):
    options = ImageOptions(
        bootstrap=Bootstrap(suite="stable", packages=packages), disk=Disk(), firmware=firmware
    )
    found = [f for f in options.findings() if f.severity is Severity.WARNING]
    assert [f.path for f in found] == ([("bootstrap", "packages")] if warned else [])
    assert all("linux-image" in f.hint for f in found)


def test_a_finished_tree_brings_its_kernel_along():
    bootstrap = Bootstrap(method="tar", source="tree.tar")
    options = ImageOptions(bootstrap=bootstrap, disk=Disk(), firmware=("bios",))
    assert [f for f in options.findings() if f.severity is Severity.WARNING] == []
