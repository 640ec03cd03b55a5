"""Bootstrap images: what is written can be imported, and nothing else can."""

import hashlib
import io
import tarfile

import pytest
import yaml

from goldsmith.deploy.bootstrap_image import (
    BootstrapDescription,
    import_bootstrap,
    write_bootstrap,
)
from goldsmith.errors import GoldsmithError

UUID = "8d1b0f4e-2c0e-4d53-9a1f-1f6b2b1a0001"
DESCRIBED = BootstrapDescription(
    UUID, extend_kopts="quiet", os={"name": "Debian"}, repos=({"name": "debian"},),
    all_packages={"bash": "5.2"}, uris={"kernel": "http://publish.test/vmlinuz"},
)  # fmt: skip


@pytest.fixture
def parts(tmp_path):
    """The three files of an image."""
    files = {name: tmp_path / name for name in ("kernel", "initrd", "rootfs")}
    for name, file in files.items():
        file.write_bytes(name.encode() * 1000)
    return files


@pytest.mark.parametrize("container", ["tar.gz", "directory"])
def test_an_image_has_its_files_and_fuel_agents_metadata(parts, tmp_path, container):
    output = write_bootstrap(parts, DESCRIBED, tmp_path / "out", container)
    place = output
    if container == "tar.gz":
        place = tmp_path / "unpacked"
        with tarfile.open(output) as tar:
            assert tar.getnames()[0] == "metadata.yaml"
            assert {(m.uid, m.gid, m.mtime) for m in tar} == {(0, 0, 0)}
            tar.extractall(place)  # noqa: S202 (we made it)
    document = yaml.safe_load((place / "metadata.yaml").read_text())
    assert document["uuid"] == document["label"] == UUID
    assert document["extend_kopts"] == "quiet"
    assert document["all_packages"] == {"bash": "5.2"}
    assert document["os"] == {"name": "Debian"}
    assert document["repos"] == [{"name": "debian"}]
    assert {name: module["file"] for name, module in document["modules"].items()} == {
        "kernel": "vmlinuz", "initrd": "initrd.img", "rootfs": "root.squashfs",
    }  # fmt: skip
    kernel = document["modules"]["kernel"]
    content = (place / "vmlinuz").read_bytes()
    assert content == parts["kernel"].read_bytes()
    assert kernel["raw_md5"] == hashlib.md5(content, usedforsecurity=False).hexdigest()
    assert kernel["raw_sha256"] == hashlib.sha256(content).hexdigest()
    assert kernel["raw_size"] == len(content)
    assert kernel["uri"] == "http://publish.test/vmlinuz"
    assert "uri" not in document["modules"]["initrd"]


def test_the_same_parts_give_the_same_archive(parts, tmp_path):
    first = write_bootstrap(parts, DESCRIBED, tmp_path / "first", "tar.gz")
    second = write_bootstrap(parts, DESCRIBED, tmp_path / "second", "tar.gz")
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize(
    ("name", "container", "message"),
    [
        ("kernel", "tar.gz", "is there already"),
        ("no/such", "tar.gz", "no directory"),
        ("out", "zip", "not a form"),
    ],
)
def test_what_cannot_be_written_is_refused(parts, tmp_path, name, container, message):
    before = sorted(tmp_path.iterdir())
    with pytest.raises(GoldsmithError, match=message):
        write_bootstrap(parts, DESCRIBED, tmp_path / name, container)
    assert sorted(tmp_path.iterdir()) == before


def test_what_was_written_is_imported_once(parts, tmp_path):
    archive = write_bootstrap(parts, DESCRIBED, tmp_path / "out.tar.gz", "tar.gz")
    into = tmp_path / "images"
    into.mkdir()
    place = import_bootstrap(archive, into)
    assert place == into / UUID
    assert sorted(path.name for path in place.iterdir()) == [
        "initrd.img", "metadata.yaml", "root.squashfs", "vmlinuz",
    ]  # fmt: skip
    with pytest.raises(GoldsmithError, match="already"):
        import_bootstrap(archive, into)
    assert [path.name for path in into.iterdir()] == [UUID]


def archive_of(path, *members, document=None):
    """A tar.gz with members (name, and content or what changes its TarInfo) and metadata."""
    with tarfile.open(path, "w:gz") as tar:
        if document is not None:
            members = (("metadata.yaml", yaml.safe_dump(document).encode()), *members)
        for name, content in members:
            member = tarfile.TarInfo(name)
            if callable(content):
                content(member)
                tar.addfile(member)
            else:
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    return path


def link_to_passwd(member):
    member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"


def device(member):
    member.type = tarfile.CHRTYPE


GOOD = {"uuid": UUID, "modules": {"kernel": {"file": "k", "raw_size": 1, "raw_md5": "0" * 32}}}


@pytest.mark.parametrize(
    ("members", "document", "message"),
    [
        ([("../escape", b"x")], GOOD, "plain files only"),
        ([("/etc/escape", b"x")], GOOD, "plain files only"),
        ([("a/b", b"x")], GOOD, "plain files only"),
        ([("k", link_to_passwd)], GOOD, "plain files only"),
        ([("k", device)], GOOD, "plain files only"),
        ([("k", b"x")], GOOD, "damaged"),
        ([], GOOD, "lacks k"),
        ([("k", b"x")], None, r"no metadata\.yaml"),
        ([("k", b"x")], {**GOOD, "uuid": "../../x"}, "no UUID"),
        ([("k", b"x")], {**GOOD, "modules": {"kernel": {"file": "../k"}}}, "no plain file"),
        ([("k", b"x")], [1], "not a mapping"),
        ([("metadata.yaml", b"a: [")], None, "cannot be read"),
    ],
)
def test_a_hostile_or_damaged_archive_leaves_nothing(tmp_path, members, document, message):
    into = tmp_path / "images"
    into.mkdir()
    archive = archive_of(tmp_path / "x.tar.gz", *members, document=document)
    with pytest.raises(GoldsmithError, match=message):
        import_bootstrap(archive, into)
    assert list(into.iterdir()) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["images", "x.tar.gz"]


@pytest.mark.parametrize("kept", [0, 100, -20])
def test_a_cut_archive_is_refused(parts, tmp_path, kept):
    archive = write_bootstrap(parts, DESCRIBED, tmp_path / "out.tar.gz", "tar.gz")
    archive.write_bytes(archive.read_bytes()[:kept])
    into = tmp_path / "images"
    into.mkdir()
    with pytest.raises(GoldsmithError):
        import_bootstrap(archive, into)
    assert list(into.iterdir()) == []


def test_files_that_the_metadata_do_not_name_are_left_out(tmp_path):
    into = tmp_path / "images"
    into.mkdir()
    digest = hashlib.md5(b"x", usedforsecurity=False).hexdigest()
    module = {"file": "k", "raw_size": 1, "raw_md5": digest}
    document = {"uuid": UUID, "modules": {"kernel": module}}
    archive = archive_of(tmp_path / "x", ("k", b"x"), ("other", b"y"), document=document)
    place = import_bootstrap(archive, into)
    assert sorted(path.name for path in place.iterdir()) == ["k", "metadata.yaml"]
