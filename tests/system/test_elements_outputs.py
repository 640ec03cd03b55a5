"""The outputs of element images, made of a small tree and disk, and read by the usual programs."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import re
import signal
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tiny_elements import PHASES, make_system

from goldsmith.builders.elements.output_writing import OutputsBeingWritten, being_written
from goldsmith.builders.elements.outputs import WantedOutputs
from goldsmith.errors import CommandFailed, ResourceBusy
from goldsmith.events import Emitter, Event, Said
from goldsmith.host.journal import UNDO, find_dead_runs, finish_run, open_run

pytestmark = pytest.mark.usefixtures("host_unchanged")

EPOCH_S = 1_700_000_000
SIZE_BYTES = (3 << 20) + 512
ALL = ("qcow2", "raw", "tar", "tgz", "squashfs", "vhd", "docker", "aci", "vmdk", "vdi")
NAMES = {"squashfs": "squash", "docker": "docker.tar"}


@pytest.fixture(scope="module")
def tree(tmp_path_factory) -> Path:
    """Files of every kind, with a future time, an attribute, and what must not come along."""
    top = tmp_path_factory.mktemp("tree")
    for name in ("etc", "proc/1", "sys/kernel", "srv/sys"):
        (top / name).mkdir(parents=True)
    (top / "etc/hostname").write_text("golden\n")
    (top / "etc/name").symlink_to("./hostname")
    os.link(top / "etc/hostname", top / "etc/twin")
    (top / "proc/1/status").write_text("not for an image")
    (top / "sys/kernel/x").write_text("not for an image")
    (top / "srv/sys/kept").write_bytes(bytes(100_000))
    os.setxattr(top / "etc/hostname", "user.note", b"kept")
    os.utime(top / "etc/hostname", (0, EPOCH_S + 5))
    os.utime(top / "srv/sys/kept", (0, 1_000))
    return top


@pytest.fixture
def raw(tmp_path) -> Path:
    """A disk of odd size, mostly a hole."""
    path = tmp_path / "image0.raw"
    with open(path, "wb") as file:
        file.write(b"boot sector".ljust(512, b"\0"))
        file.seek(2 << 20)
        file.write(hashlib.sha256(b"data").digest() * 4096)
        file.truncate(SIZE_BYTES)
    return path


class Building:
    """Makes the outputs of one build, as the builder does, and keeps what was said."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.said: list[str] = []

    def wanted(self, *types: str, name: str = "image", **more: object) -> WantedOutputs:
        more.setdefault("docker_target", "example/golden:v1")
        more.setdefault("environment", {"DOCKER_HOST": "unix:///nowhere/docker.sock"})
        return WantedOutputs(name=name, types=types, directory=self.directory, **more)

    @contextmanager
    def writing(self, wanted: WantedOutputs) -> Iterator[OutputsBeingWritten]:
        def sink(event: Event) -> None:
            if isinstance(event, Said):
                self.said.append(event.text)

        with (
            open_run(self.directory / "state", "test") as run,
            being_written(wanted, run, Emitter("test", sink), epoch_s=EPOCH_S) as outputs,
        ):
            yield outputs

    def make(self, wanted: WantedOutputs, tree: Path, raw: Path) -> tuple[Path, ...]:
        assert wanted.findings() == []
        with self.writing(wanted) as outputs:
            outputs.write_tree_outputs(tree)
            outputs.write_disk_outputs(raw)
            return outputs.publish()

    def files(self) -> set[str]:
        return {path.name for path in self.directory.iterdir() if path.is_file()} - {"image0.raw"}


@pytest.fixture
def building(tmp_path) -> Building:
    return Building(tmp_path)


def output(*argv: str | Path, **more: object) -> str:
    return subprocess.run(argv, check=True, capture_output=True, text=True, **more).stdout


def info(path: Path) -> dict:
    return json.loads(output("qemu-img", "info", "--output=json", path))


def test_every_type_holds_the_tree_or_the_disk(building, tree, raw, tmp_path):
    disk = raw.read_bytes()
    made = building.make(building.wanted(*ALL, checksums=("md5", "sha256")), tree, raw)
    files = {f"image.{NAMES.get(kind, kind)}" for kind in ALL}
    assert building.files() == {name + end for name in files for end in ("", ".md5", ".sha256")}
    assert {path.name for path in made} == building.files()
    for program in ("md5sum", "sha256sum"):
        for name in files:
            output(program, "--check", "--strict", f"{name}.{program[:-3]}", cwd=tmp_path)
    assert (tmp_path / "image.raw").read_bytes() == disk
    assert not raw.exists()
    for kind, format in (("qcow2", "qcow2"), ("vhd", "vpc"), ("vmdk", "vmdk"), ("vdi", "vdi")):
        path = tmp_path / f"image.{kind}"
        argv = ["qemu-img", "compare", "-f", format, "-F", "raw", path, tmp_path / "image.raw"]
        assert subprocess.run(argv, capture_output=True, check=False).returncode == 0, kind
    qcow2 = info(tmp_path / "image.qcow2")
    assert qcow2["format-specific"]["data"]["compression-type"] == "zstd"
    for kind, plain in (("tar", bytes), ("tgz", gzip.decompress)):
        with tarfile.open(
            fileobj=io.BytesIO(plain((tmp_path / f"image.{kind}").read_bytes()))
        ) as t:
            check_members(t, "./")
    for line in ("Converting image using qemu-img convert", "Image file image.qcow2 created..."):
        assert line in building.said


def check_members(archive: tarfile.TarFile, prefix: str) -> None:
    members = {member.name: member for member in archive}
    shown = {name.removeprefix(prefix[:-1]).removeprefix("/") for name in members}
    assert shown == {"", "etc", "etc/hostname", "etc/name", "etc/twin", "srv", "srv/sys",
                     "srv/sys/kept"}  # fmt: skip
    note = members[f"{prefix}etc/hostname"]
    assert note.pax_headers["SCHILY.xattr.user.note"] == "kept"
    assert not {"atime", "ctime"} & set(note.pax_headers)
    assert (note.mtime, members[f"{prefix}srv/sys/kept"].mtime) == (EPOCH_S, 1_000)
    assert members[f"{prefix}etc/twin"].linkname == f"{prefix}etc/hostname"
    assert members[f"{prefix}etc/name"].linkname == "./hostname"
    assert {member.uname for member in members.values()} == {""}


def test_an_app_container_image_has_its_tree_in_rootfs_and_its_manifest(building, tree, raw):
    (building.directory / "m.json").write_text('{"acKind": "ImageManifest"}')
    wanted = building.wanted("aci", environment={"ACI_MANIFEST": "m.json"})
    building.make(wanted, tree, raw)
    with tarfile.open(building.directory / "image.aci") as archive:
        manifest = archive.getmember("manifest")
        content = archive.extractfile(manifest)
        assert content is not None
        assert json.load(content) == {"acKind": "ImageManifest"}
        assert (manifest.mode, manifest.mtime) == (0o644, EPOCH_S)
        archive.members.remove(manifest)
        check_members(archive, "rootfs/")
    assert not any("ACI_MANIFEST" in line for line in building.said)
    building.make(building.wanted("aci", overwrite=True), tree, raw)
    assert any("No ACI_MANIFEST specified" in line for line in building.said)


def test_a_squashfs_is_the_tree_with_empty_places_for_the_kernel(building, tree, raw, tmp_path):
    building.make(building.wanted("squashfs"), tree, raw)
    listed = output("unsquashfs", "-l", "-d", "", tmp_path / "image.squash").split()
    assert set(listed) >= {"/proc", "/sys", "/etc/hostname", "/srv/sys/kept"}
    assert not {"/proc/1", "/sys/kernel"} & set(listed)
    assert "Compression xz" in output("unsquashfs", "-s", tmp_path / "image.squash")


def test_without_a_daemon_the_container_is_an_archive(building, tree, raw, tmp_path):
    building.make(building.wanted("docker", arch="armhf"), tree, raw)
    assert building.files() == {"image.docker.tar"}
    with tarfile.open(tmp_path / "image.docker.tar") as archive:
        files = {m.name: archive.extractfile(m).read() for m in archive if m.isfile()}
    for name, content in files.items():
        if name.startswith("blobs/"):
            assert name == f"blobs/sha256/{hashlib.sha256(content).hexdigest()}"
    assert json.loads(files["oci-layout"]) == {"imageLayoutVersion": "1.0.0"}
    (entry,) = json.loads(files["index.json"])["manifests"]

    def blob(descriptor: dict) -> bytes:
        content = files[f"blobs/{descriptor['digest'].replace(':', '/')}"]
        assert len(content) == descriptor["size"]
        return content

    manifest = json.loads(blob(entry))
    config = json.loads(blob(manifest["config"]))
    (layer,) = manifest["layers"]
    plain = gzip.decompress(blob(layer))
    assert config["rootfs"]["diff_ids"] == [f"sha256:{hashlib.sha256(plain).hexdigest()}"]
    assert (config["architecture"], config["variant"], config["os"]) == ("arm", "v7", "linux")
    assert config["created"] == "2023-11-14T22:13:20Z"
    with tarfile.open(fileobj=io.BytesIO(plain)) as archive:
        check_members(archive, "./")
    (docker,) = json.loads(files["manifest.json"])
    assert docker["RepoTags"] == ["example/golden:v1"]
    assert files[docker["Layers"][0]] == blob(layer)
    assert json.loads(files[docker["Config"]]) == config
    # Another program than Python's reads it, too.
    assert "blobs/sha256/" in output("tar", "-tf", tmp_path / "image.docker.tar")


def test_a_daemon_gets_the_tree_and_no_file_is_left(building, tree, raw, tmp_path, monkeypatch):
    """No daemon runs where tests run: a program stands in that keeps what `docker` is handed."""
    programs = tmp_path / "bin"
    programs.mkdir()
    stand_in = programs / "docker"
    stand_in.write_text(
        "#!/bin/sh\nset -eu\n"
        f'case "$1" in version) echo 27;; '
        f'import) test "$2" = -; cat >{tmp_path}/bin/got; echo "sha256:id of $3";; esac\n'
    )
    stand_in.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    building.make(building.wanted("docker"), tree, raw)
    assert building.files() == set()
    assert "sha256:id of example/golden:v1" in building.said
    with tarfile.open(programs / "got") as archive:
        check_members(archive, "./")
    stand_in.write_text('#!/bin/sh\ntest "$1" = version && exit\necho refused >&2\nexit 4\n')
    with pytest.raises(CommandFailed, match="refused"):
        building.make(building.wanted("docker"), tree, raw)


def test_equal_inputs_are_equal_bytes(building, tree, raw, tmp_path):
    kinds = tuple(kind for kind in ALL if kind != "raw")
    building.make(building.wanted(*kinds, name="a"), tree, raw)
    building.make(building.wanted(*kinds, name="b"), tree, raw)
    for kind in kinds:
        ending = NAMES.get(kind, kind)
        assert (tmp_path / f"a.{ending}").read_bytes() == (tmp_path / f"b.{ending}").read_bytes()


@pytest.mark.parametrize(
    ("more", "compression", "version"),
    [
        ({"qemu_img_options": "compression_type=zlib"}, "zlib", "1.1"),
        ({"qemu_img_options": "compression_type=zlib,compat=1.1"}, "zlib", "1.1"),
        ({"qemu_img_options": "compat=0.10"}, "zlib", "0.10"),
        ({"qemu_img_options": "lazy_refcounts=on"}, "zstd", "1.1"),
        ({"compress": False}, "zlib", "1.1"),
    ],
)
def test_options_reach_qcow2(building, tree, raw, more, compression, version):
    building.make(building.wanted("qcow2", **more), tree, raw)
    found = info(building.directory / "image.qcow2")
    data = found["format-specific"]["data"]
    assert (data.get("compression-type", "zlib"), data["compat"]) == (compression, version)
    checked = json.loads(
        output("qemu-img", "check", "--output=json", building.directory / "image.qcow2")
    )
    assert bool(checked.get("compressed-clusters")) == more.get("compress", True)


def test_a_vhd_is_dynamic_of_the_exact_size_and_takes_no_options_of_others(building, tree, raw):
    wanted = building.wanted("qcow2", "vhd", qemu_img_options="compat=1.1")
    building.make(wanted, tree, raw)
    data = (building.directory / "image.vhd").read_bytes()
    footer = data[-512:]
    assert data[:512] == footer
    assert footer[:8] == b"conectix"
    assert int.from_bytes(footer[60:64], "big") == 3
    assert int.from_bytes(footer[48:56], "big") == SIZE_BYTES
    assert int.from_bytes(footer[24:28], "big") == EPOCH_S - 946_684_800
    plain = footer[:64] + bytes(4) + footer[68:]
    assert int.from_bytes(footer[64:68], "big") == ~sum(plain) & 0xFFFFFFFF


def test_the_gzip_of_the_user_is_taken(building, tree, raw, tmp_path):
    program = tmp_path / "own gzip"
    own = tmp_path / "own-gzip"
    own.write_text(f'#!/bin/sh\necho "$@" >"{program}"\nexec gzip "$2"\n')
    own.chmod(0o755)
    wanted = building.wanted(
        "tgz", checksums=("sha256",), environment={"DIB_GZIP_BIN": f"{own} --quiet"}
    )
    building.make(wanted, tree, raw)
    assert program.read_text() == "--quiet -9\n"
    output("sha256sum", "--check", "image.tgz.sha256", cwd=tmp_path)
    with tarfile.open(tmp_path / "image.tgz") as archive:
        check_members(archive, "./")


def test_an_older_output_keeps_its_content_and_its_checksums(building, tree, raw, tmp_path):
    for text in ("first", "second"):
        raw.write_bytes(text.encode().ljust(512))
        building.make(building.wanted("raw", checksums=("md5", "sha256")), tree, raw)
    (older,) = [name for name in building.files() if re.fullmatch(r"image-\S+\.raw", name)]
    assert re.fullmatch(r"image-\d{4}\.\d\d\.\d\d-\d\d\.\d\d\.\d\d\.raw", older)
    assert building.files() == {
        name + end for name in ("image.raw", older) for end in ("", ".md5", ".sha256")
    }
    assert (tmp_path / older).read_bytes().startswith(b"first")
    digest = hashlib.md5((tmp_path / older).read_bytes(), usedforsecurity=False).hexdigest()
    assert (tmp_path / f"{older}.md5").read_text() == f"{digest}  {older}\n"
    output("sha256sum", "--check", f"{older}.sha256", cwd=tmp_path)
    assert f"Old image found. Renaming it to {tmp_path / older}" in building.said
    # Once more within the same second, and then in its place.
    for text in ("third", "fourth"):
        raw.write_bytes(text.encode().ljust(512))
        building.make(building.wanted("raw", overwrite=text == "fourth"), tree, raw)
    assert sorted((tmp_path / name).read_bytes().split()[0] for name in building.files()
                  if name.endswith(".raw")) == [b"first", b"fourth", b"second"]  # fmt: skip
    assert not (tmp_path / "image.raw.md5").exists()


def test_names_may_be_paths_and_hold_anything(building, tree, raw, tmp_path):
    name = "out/deep er/-gold: back\\slash.v1"
    building.make(building.wanted("qcow2", "raw", name=name, checksums=("md5",)), tree, raw)
    assert (tmp_path / f"{name}.raw").stat().st_size == SIZE_BYTES
    assert (tmp_path / f"{name}.qcow2.md5").read_text().startswith("\\")
    for kind in ("raw", "qcow2"):
        output("md5sum", "--check", f"{name}.{kind}.md5", cwd=tmp_path)


def test_side_files_of_this_build_are_outputs_too(building, tree, raw, tmp_path):
    (tmp_path / "image.initrd").write_text("of an earlier build")
    with building.writing(building.wanted("tar", makes_disk=False)) as outputs:
        (tmp_path / "image.d/dib-manifests").mkdir(parents=True)
        (tmp_path / "image.d/dib-manifests/dib_arguments").write_text("vm")
        (tmp_path / "image.vmlinuz").write_text("kernel")
        (tmp_path / "image-boot.iso").write_text("of the kernel")
        outputs.write_tree_outputs(tree)
        outputs.write_disk_outputs(raw)
        made = outputs.publish()
    assert {str(path.relative_to(tmp_path)) for path in made} == {
        "image.tar", "image.vmlinuz", "image-boot.iso", "image.d/dib-manifests/dib_arguments",
    }  # fmt: skip


def test_without_a_disk_only_the_tree_comes_out(building, tree, raw):
    building.make(building.wanted("qcow2", "raw", "tgz", makes_disk=False), tree, raw)
    assert building.files() == {"image.tgz"}
    assert raw.exists()


@pytest.mark.parametrize(
    ("types", "more", "said"),
    [
        (("qcow3",), {}, r"-t qcow3: qemu-img cannot make it: .*Unknown file format 'qcow3'"),
        (("bochs",), {}, r"-t bochs: .*does not support image creation"),
        (("../x",), {}, r"-t \.\./x: there is no such type"),
        (("qcow2",), {"qemu_img_options": "bogus=1"}, r"-t qcow2: .*bogus"),
        (("qcow2",), {"qemu_img_options": "help"}, r"-t qcow2: .*no file"),
        (("vmdk",), {"qemu_img_options": "subformat=monolithicFlat"}, r"-t vmdk: .*more than one"),
        (("docker",), {"docker_target": ""}, r"-t docker: please set --docker-target"),
        (("docker",), {"docker_target": "A b"}, r"-t docker: --docker-target A b"),
        (("tgz",), {"environment": {"DIB_GZIP_BIN": "no-gzip -1"}}, r"-t tgz: no-gzip is not inst"),
        (("aci",), {"environment": {"ACI_MANIFEST": "no-file"}}, r"-t aci: ACI_MANIFEST: there"),
        (("raw",), {"name": "file/image"}, r"-o file/image: \S+/file is not a directory"),
        (("raw",), {"name": "out/"}, r"-o out/: it names no file"),
        (("tar",), {"name": "in-the-way"}, r"-t tar: \S+/in-the-way.tar is in the way"),
    ],
)
def test_what_cannot_be_made_is_found_before_the_build(building, types, more, said):
    (building.directory / "file").write_text("")
    (building.directory / "in-the-way.tar").mkdir()
    before = building.files()
    (finding,) = building.wanted(*types, **more).findings()
    assert re.match(said, finding.text), finding
    assert building.files() == before


def test_missing_tools_are_found_before_the_build(building, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("goldsmith.host.process.SYSTEM_PATH", str(tmp_path))
    found = building.wanted("vhd", "squashfs", "docker", "raw", "tar", "qcow2").findings()
    assert [one.text.partition(" is not")[0] for one in found] == [
        "-t vhd: qemu-img", "-t squashfs: mksquashfs", "-t docker: tar", "-t tar: tar",
    ]  # fmt: skip
    assert found[0].text.endswith("(apt-get install qemu-utils)")
    assert [one.path for one in found] == [("types", number) for number in (0, 1, 2, 4)]


def test_a_failure_leaves_nothing_and_the_older_output_alone(building, tree, raw, tmp_path):
    (tmp_path / "image.qcow2").write_text("older")
    (tmp_path / "image.tar").write_text("older")
    with (
        pytest.raises(CommandFailed, match="bogus"),
        building.writing(building.wanted("tar", "qcow2", qemu_img_options="bogus=1")) as outputs,
    ):
        outputs.write_tree_outputs(tree)
        outputs.write_disk_outputs(raw)
    assert building.files() == {"image.qcow2", "image.tar"}
    with (
        pytest.raises(CommandFailed, match="tar"),
        building.writing(building.wanted("tgz", name="out/image")) as outputs,
    ):
        outputs.write_tree_outputs(tmp_path / "no tree")
    assert building.files() == {"image.qcow2", "image.tar"}
    assert not (tmp_path / "out").exists()


def test_two_builds_of_one_name_do_not_mix(building, tree, raw, tmp_path):
    (tmp_path / "image.raw-new").write_text("left by a build that was killed")
    with building.writing(building.wanted("raw")) as outputs:
        with (
            pytest.raises(ResourceBusy, match=r"image\.raw-new is being written"),
            Building(tmp_path).writing(building.wanted("raw")),
        ):
            pass
        outputs.write_disk_outputs(raw)
        with (
            pytest.raises(ResourceBusy),
            Building(tmp_path).writing(building.wanted("raw")),
        ):
            pass
        outputs.publish()
    assert (tmp_path / "image.raw").stat().st_size == SIZE_BYTES
    with building.writing(building.wanted("raw")):
        pass
    assert building.files() == {"image.raw"}


@pytest.mark.parametrize("renames", range(6))
def test_a_kill_between_two_names_loses_nothing(building, tree, raw, tmp_path, renames):
    for kind in ("raw", "tar"):
        (tmp_path / f"image.{kind}").write_text("older")
    wanted = building.wanted("raw", "tar", checksums=("md5",))
    pid = os.fork()
    if pid == 0:
        _publish_and_die(building, wanted, tree, raw, renames)
    assert os.WTERMSIG(os.waitpid(pid, 0)[1]) == signal.SIGKILL
    (dead,) = find_dead_runs(tmp_path / "state")
    assert finish_run(dead, UNDO) == []
    older = [name for name in building.files() if (tmp_path / name).read_bytes() == b"older"]
    assert len(older) == 2
    assert not [name for name in building.files() if name.endswith("-new")]
    # Two files to move away, four to name: once a file has its new name, all of them get theirs.
    if renames >= 2:
        for kind in ("raw", "tar"):
            output("md5sum", "--check", f"image.{kind}.md5", cwd=tmp_path)


@pytest.mark.root
def test_a_command_line_makes_every_type_or_refuses_at_once(goldsmith, small_tree, tmp_path):
    make_system(tmp_path / "elements", small_tree)
    env = {"ELEMENTS_PATH": str(tmp_path / "elements"), "HOME": str(tmp_path),
           "DOCKER_HOST": "unix:///nowhere/docker.sock"}  # fmt: skip
    words = ("disk-image-create", "-n", "-o", "out/x", "--docker-target", "tiny:1", "tiny-os")
    refused = goldsmith(*words, "-t", "raw,qcow3,vmdk", "--qemu-img-options", "bogus=1", env=env)
    assert refused.status == 1
    assert "-t qcow3: qemu-img cannot make it" in refused.stdout
    assert "-t vmdk: qemu-img cannot make it" in refused.stdout
    assert not (tmp_path / "out").exists()
    types = "squashfs,raw,vhd,docker,tgz,aci,vdi"
    told = goldsmith(*words, "-t", types, "--checksum", env=env, check=True)
    out = tmp_path / "out"
    for name in ("x.squash", "x.raw", "x.vhd", "x.docker.tar", "x.tgz", "x.aci", "x.vdi"):
        assert f"Image file out/{name} created..." in told.stdout
        output("sha256sum", "--check", f"out/{name}.sha256", cwd=tmp_path)
    with tarfile.open(out / "x.tgz") as archive:
        names = archive.getnames()
        phases = archive.extractfile("./phases")
        assert phases is not None
        assert phases.read().decode().splitlines() == list(PHASES)
    assert not [name for name in names if name.startswith(("./proc", "./sys"))]
    # Of the host's devices, and what the build itself needs, nothing comes along.
    for name in ("./dev/null", "./tmp/in_target.d", "./lost+found"):
        assert name not in names
    listed = output("unsquashfs", "-l", "-d", "", out / "x.squash").split()
    assert "/phases" in listed
    assert not {"/dev/null", "/lost+found"} & set(listed)


def _publish_and_die(
    building: Building, wanted: WantedOutputs, tree: Path, raw: Path, renames: int
) -> None:
    """Publish and be killed before so many renames; does not return."""
    replace, done = os.replace, []

    def dying(source: Path, target: Path) -> None:
        if len(done) == renames:
            os.kill(os.getpid(), signal.SIGKILL)
        replace(source, target)
        done.append(target)

    try:
        with building.writing(wanted) as outputs:
            outputs.write_tree_outputs(tree)
            outputs.write_disk_outputs(raw)
            os.replace = dying
            outputs.publish()
    finally:
        os._exit(1)
