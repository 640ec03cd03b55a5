"""How large a disk is, how its root is made, and whose description it follows, beside upstream.

Its script is run from where it has a tree to where it has a size; `du` says what the test says.
"""

import os
import random
import subprocess
import sys

import pytest

from goldsmith.builders.elements.disk_size import wanted_size
from goldsmith.builders.elements.disk_wishes import BARE_FILE_SYSTEM, choose_config, read_wishes
from goldsmith.disk.usage import TreeUsage
from goldsmith.elements import catalog

LIB = catalog.upstream_package() / "lib"
EFI = catalog.Element("block-device-efi", LIB.with_name("elements") / "block-device-efi")
KIB = 1 << 10


def upstream(taken_kib, given, elements):
    """The size in KiB, and the words for mkfs of the root."""
    lines = (LIB / "disk-image-create").read_text().splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("du_output="))
    end = next(i for i, line in enumerate(lines) if line.startswith("export TMP_IMAGE_DIR"))
    script = [
        "set -eE", "xtrace=", f"sudo() {{ printf '8\\tone\\n{taken_kib}\\ttotal\\n'; }}",
        *lines[start:end], 'echo "$DIB_IMAGE_SIZE"; echo "$MKFS_OPTS"',
    ]  # fmt: skip
    told = subprocess.run(
        ["/bin/bash", "-c", "\n".join(script)], capture_output=True, text=True, check=True,
        env={"PATH": os.environ["PATH"], "IMAGE_ELEMENT": " ".join(one.name for one in elements),
             "DIB_ROOT_FSTYPE": given.get("FS_TYPE", "ext4"), "TMP_BUILD_DIR": given["TMPDIR"],
             **given},
    )  # fmt: skip
    size, words = told.stdout.splitlines()[-2:]
    return int(size), words.split()


GIVEN = (
    {}, {"DIB_IMAGE_SIZE": "1"}, {"DIB_IMAGE_SIZE": "0.5"}, {"DIB_IMAGE_SIZE": "1.23456"},
    {"DIB_IMAGE_EXTRA_SIZE": "100"}, {"DIB_IMAGE_EXTRA_SIZE": "0.7"}, {"DIB_JOURNAL_SIZE": "8"},
    {"FS_TYPE": "xfs"}, {"FS_TYPE": "xfs", "MKFS_OPTS": "-i size=512"}, {"FS_TYPE": "ext3"},
    {"MAX_ONLINE_RESIZE": "1000", "MKFS_OPTS": "-m 2"}, {"DIB_RELEASE": "trusty"},
    {"DIB_IMAGE_SIZE": "3", "DIB_IMAGE_EXTRA_SIZE": "9", "DIB_JOURNAL_SIZE": "128"},
)  # fmt: skip
TREES_KIB = (
    42760,
    43012,
    60000,
    1_004_300,
    4,
    *random.Random(1).choices(range(4, 1 << 22, 4), k=4),
)


@pytest.mark.parametrize("given", GIVEN, ids=lambda given: ",".join(given) or "none")
def test_sizes_and_words_are_those_that_upstream_computes(given, tmp_path):
    wishes = read_wishes(given, [])
    for taken_kib in TREES_KIB:
        usage = {"/": TreeUsage(data_blocks=taken_kib // 4)}
        size_kib, words = upstream(taken_kib, {**given, "TMPDIR": str(tmp_path)}, [])
        assert wanted_size(wishes, usage) == size_kib * KIB
        assert list(wishes.root.options) == words


def test_the_esp_is_added_unless_a_size_is_given(tmp_path):
    """Upstream adds it to that, too."""
    usage = {"/": TreeUsage(data_blocks=15000)}
    given = {"TMPDIR": str(tmp_path)}
    assert wanted_size(read_wishes({}, [EFI]), usage) == upstream(60000, given, [EFI])[0] * KIB
    given["DIB_IMAGE_SIZE"] = "2"
    theirs = upstream(60000, given, [EFI])[0] * KIB
    assert wanted_size(read_wishes(given, [EFI]), usage) == 2 << 30 == theirs - (525 << 20)


def test_the_sizes_that_were_seen():
    for given, taken_kib, seen in (
        ({}, 43012, 140_574_720), ({"DIB_IMAGE_SIZE": "1"}, 43012, 1_073_741_824),
        ({"DIB_IMAGE_SIZE": "0.5"}, 43012, 536_870_912), ({}, 1_004_300, 1_781_137_408),
    ):  # fmt: skip
        usage = {"/": TreeUsage(data_blocks=taken_kib // 4)}
        assert wanted_size(read_wishes(given, []), usage) == seen


@pytest.mark.parametrize("arch", ["amd64", "arm64", "aarch64", "ppc64el", "ppc64le", "s390x"])
@pytest.mark.parametrize("files", [(), ("default",), ("ppc64el", "default"), ("arm64",)])
def test_the_description_is_the_one_that_upstream_takes(files, arch, tmp_path):
    place = tmp_path / "one"
    place.mkdir()
    for name in files:
        (place / f"block-device-{name}.yaml").write_text(f"# {name}\n")
    script = (f"source {LIB}/common-functions; source {LIB}/img-functions; "
              f"get_image_element_array() {{ echo '[one]={place}'; }}; "
              f"block_device_create_config_file {tmp_path}/chosen >&2")  # fmt: skip
    subprocess.run(
        ["/bin/bash", "-ec", script], check=True, capture_output=True,
        env={"PATH": os.environ["PATH"], "ARCH": arch, "_LIB": str(LIB),
             "DIB_PYTHON_EXEC": sys.executable},
    )  # fmt: skip
    theirs = (tmp_path / "chosen").read_text()
    mine = choose_config({}, [catalog.Element("one", place)], arch).text
    if theirs.startswith("#"):
        assert mine == theirs
    else:
        assert mine == BARE_FILE_SYSTEM
