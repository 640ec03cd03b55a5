"""Every format by the real qemu-img: the same disk, the same bytes, nothing left by a failure."""

import gzip
import os
import struct
import subprocess
import tempfile
import time
import uuid
from pathlib import Path

import pytest
import zstandard
from private_namespace import run_privately

from goldsmith.disk import formats
from goldsmith.errors import CommandFailed, GoldsmithError, NoSpaceError
from goldsmith.host import parallel, process
from goldsmith.host.digests import file_digest
from goldsmith.host.process import find_tool, run
from goldsmith.host.sparse import create_sparse, hash_sparse, mapped_bytes
from goldsmith.units import MIB

EPOCH_S = 1_700_000_000
OF_QEMU = ("qcow2", "vmdk", "vdi", "vhdx", "vpc")
pytestmark = pytest.mark.skipif(find_tool("qemu-img") is None, reason="needs qemu-utils")


def make_image(path, size=70 * MIB + 512, seed=b"a"):
    """Data at both ends and in the middle, some of it noise; its size is no whole MiB."""
    create_sparse(path, size)
    with open(path, "r+b") as stream:
        for at, data in ((0, seed * 99_999), (31 * MIB, bytes(range(256)) * 20_000)):
            stream.seek(at)
            stream.write(data)
        stream.seek(-512, os.SEEK_END)
        stream.write(b"backup header" * 39)
    return path


def raw_again(path, format, target):
    """The disk in a file, by the format's own reader."""
    if format == "raw.gz":
        target.write_bytes(gzip.decompress(path.read_bytes()))
    elif format == "raw.zst":
        reader = zstandard.ZstdDecompressor().stream_reader(
            path.read_bytes(), read_across_frames=True
        )
        target.write_bytes(reader.read())
    else:
        run(["qemu-img", "convert", "-f", format, "-O", "raw", path, target])
    return target


@pytest.fixture(scope="module")
def everything(tmp_path_factory):
    """An image in all formats, written twice: at other names, and a second later."""
    made = []
    for number in (1, 2):
        directory = tmp_path_factory.mktemp(f"run{number}")
        image = make_image(directory / f"image{number}")
        targets = {n: directory / f".{number}.{n}.partial" for n in formats.FORMATS}
        formats_written = formats.write_all(image, targets, epoch_s=EPOCH_S)
        made.append((formats_written, targets))
        second = int(time.time())
        while number == 1 and int(time.time()) == second:
            time.sleep(0.05)
    return made


@pytest.mark.parametrize("name", formats.FORMATS)
def test_a_format_holds_the_disk_and_is_the_same_every_time(everything, name, tmp_path):
    (one, targets), (two, others) = everything
    assert targets[name].read_bytes() == others[name].read_bytes()
    assert one.files[name] == two.files[name]
    assert one.files[name].sha256 == file_digest(targets[name])
    assert one.files[name].size_bytes == targets[name].stat().st_size
    if name == "raw":
        assert one.files[name].sha256 == one.raw.sha256
        return
    disk = raw_again(targets[name], name, tmp_path / "again")
    if name == "vpc":
        assert disk.stat().st_size == 71 * MIB
        os.truncate(disk, one.raw.size_bytes)
    assert hash_sparse(disk)["sha256"] == one.raw.sha256


@pytest.mark.parametrize("name", ["qcow2", "vmdk", "vdi", "vhdx"])
def test_qemu_img_finds_no_fault(everything, name):
    run(["qemu-img", "check", "-f", name, everything[0][1][name]])


def test_two_images_never_share_an_identifier(everything, tmp_path):
    image = make_image(tmp_path / "other", seed=b"b")
    targets = {name: tmp_path / name for name in ("vmdk", "vdi", "vhdx", "vpc")}
    formats.write_all(image, targets, epoch_s=EPOCH_S)
    for name, (at, count) in {"vdi": (0x188, 32), "vhdx": (64 * 1024 + 16, 32)}.items():
        ours, theirs = (path.read_bytes()[at : at + count]
                        for path in (everything[0][1][name], targets[name]))  # fmt: skip
        assert all(a != b for a, b in ((ours[:16], theirs[:16]), (ours[16:], theirs[16:])))


def test_a_vpc_is_what_azure_takes(everything):
    footer = everything[0][1]["vpc"].read_bytes()[-512:]
    assert footer[:8] == b"conectix"
    assert struct.unpack_from(">Q", footer, 48)[0] == 71 * MIB  # the current size
    assert struct.unpack_from(">I", footer, 60)[0] == 2  # fixed
    assert struct.unpack_from(">I", footer, 24)[0] == EPOCH_S - 946_684_800
    summed = sum(footer[:64]) + sum(footer[68:])
    assert struct.unpack_from(">I", footer, 64)[0] == ~summed & 0xFFFFFFFF
    assert mapped_bytes(everything[0][1]["vpc"]) < 8 * MIB
    assert uuid.UUID(bytes=footer[68:84]).version == 5


def test_a_vmdk_does_not_name_the_temporary_file(everything):
    descriptor = everything[0][1]["vmdk"].read_bytes()[:4096]
    assert b'SPARSE "disk.vmdk"' in descriptor
    assert b'createType="streamOptimized"' in descriptor
    assert b"partial" not in descriptor


def test_one_core_is_enough(tmp_path, monkeypatch):
    monkeypatch.setattr(parallel, "cores", lambda: 1)
    image = make_image(tmp_path / "image")
    targets = {name: tmp_path / name for name in ("vdi", "qcow2", "raw.gz")}
    written = formats.write_all(image, targets, epoch_s=EPOCH_S)
    assert list(written.files) == ["vdi", "qcow2", "raw.gz"]


def test_clusters_of_qcow2_are_compressed_as_asked(tmp_path):
    image = make_image(tmp_path / "image")
    for compression in formats.COMPRESSIONS:
        target = tmp_path / compression
        formats.convert(image, target, "qcow2", compression=compression)
        said = run(["qemu-img", "info", "--output=json", target], capture=True).text
        assert f'"compression-type": "{compression}"' in said


def test_a_single_conversion_gives_the_same_bytes_as_all_at_once(everything, tmp_path):
    image = make_image(tmp_path / "image")
    for name in ("vdi", "raw.zst"):
        seen = []
        formats.convert(
            image, tmp_path / name, name, epoch_s=EPOCH_S, on_percent=seen.append
        )  # fmt: skip
        assert file_digest(tmp_path / name) == everything[0][0].files[name].sha256
        assert seen[-1] == 100
        assert seen == sorted(seen)


@pytest.mark.root
@pytest.mark.parametrize("small_mib", [1, 7])
def test_a_full_disk_ends_all_and_leaves_nothing(tmp_path, small_mib):
    image = create_noise(tmp_path / "image", 12 * MIB)
    small = tmp_path / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={small_mib}M", "tmpfs", small]

    def fill():
        subprocess.run(mount, check=True)
        for names in (("qcow2", "raw.gz"), ("vhdx", "vdi"), ("vpc",), ("raw.zst",), ("vmdk",)):
            with pytest.raises(NoSpaceError, match=rf"the file system at {small} is full"):
                formats.write_all(image, {name: small / name for name in names}, epoch_s=0)
            assert list(small.iterdir()) == []
        assert image.exists()

    run_privately(fill)


def create_noise(path, size):
    """A file that nothing compresses."""
    path.write_bytes(os.urandom(size))
    return path


@pytest.fixture
def failing_qemu_img(tmp_path, monkeypatch):
    """A qemu-img that fails for vdi once another conversion runs; that one waits for ever."""
    tools = tmp_path / "tools"
    tools.mkdir()
    script = tools / "qemu-img"
    script.write_text(
        "#!/bin/sh\n"
        "for last; do :; done\n"
        'case "$*" in\n'
        f"*vdi*) while [ ! -e {tmp_path}/waits ]; do sleep 0.02; done;\n"
        '  echo half > "$last"; echo "qemu-img: it broke" >&2; exit 1;;\n'
        f'*) echo half > "$last"; touch {tmp_path}/waits; exec sleep 1000;;\n'
        "esac\n"
    )
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")


@pytest.mark.skipif(parallel.cores() < 2, reason="needs two conversions at once")
def test_the_first_error_ends_a_conversion_that_still_runs(tmp_path, failing_qemu_img):
    image = make_image(tmp_path / "image", 2 * MIB)
    groups = []

    class Seen:
        def started(self, pgid):
            groups.append(pgid)

        def ended(self, pgid):
            groups.remove(pgid)

    forget = process.observe_groups(Seen())
    try:
        with pytest.raises(CommandFailed, match="it broke"):
            formats.write_all(image, {name: tmp_path / name for name in ("vmdk", "vdi")}, epoch_s=0)
    finally:
        forget()
    assert groups == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["image", "tools", "waits"]


def test_a_corrupt_tool_output_is_not_believed(tmp_path, monkeypatch):
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "qemu-img").write_text(
        '#!/bin/sh\nfor last; do :; done\n[ "$1" != convert ] || head -c 600 /dev/zero >"$last"'
    )
    (tools / "qemu-img").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    image = make_image(tmp_path / "image", 2 * MIB)
    for name in ("vmdk", "vdi", "vhdx", "vpc"):
        with pytest.raises(GoldsmithError, match="qemu-img wrote a "):
            formats.convert(image, tmp_path / name, name)
        assert not (tmp_path / name).exists()


def test_temporary_files_do_not_stay(everything):
    assert not list(Path(tempfile.gettempdir()).glob("goldsmith-*"))
