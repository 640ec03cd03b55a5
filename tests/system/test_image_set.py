"""`image_set` of the image source: one shrunk file system per mount point, in every container."""

from __future__ import annotations

import hashlib
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from private_namespace import run_privately

from goldsmith.disk.block_map import check_image, parse_bmap
from goldsmith.disk.image_set import read_image_set

pytestmark = pytest.mark.root

ALL_KINDS = """\
    image "/" {
      label = "root"
    }
    image "/boot" {
      filesystem = "ext2"
      container  = "raw"
    }
    image "/srv" {
      filesystem = "btrfs"
    }
    image "/opt" {
      filesystem = "xfs"
      container  = "gzip"
    }
    image "/usr/share" {
      filesystem = "squashfs"
      container  = "raw"
    }
"""
TWO = """\
    container = "gzip"
    image "/" {
    }
    image "/boot" {
      filesystem = "ext2"
    }
"""
SCRIPT = (
    '"mkdir -p /boot /usr/share", "echo k > /boot/kernel", "echo s > /srv/s", "echo o > /opt/o"'
)


class Project:
    """A template of a set, built in a directory of its own."""

    def __init__(self, path: Path, tree: Path, goldsmith: Any) -> None:
        path.mkdir()
        self.path, self._tree, self._goldsmith = path, tree, goldsmith
        self.output = path / "out put|a\\b"

    def write(self, images: str, script: str = SCRIPT, more: str = "") -> None:
        (self.path / "t.pkr.hcl").write_text(
            f'source "image" "small" {{\n  bootstrap {{\n    method = "tar"\n'
            f'    source = "{self._tree}"\n  }}\n  image_set {{\n{images}  }}\n'
            f'  output_directory = "out put|a\\\\b"\n{more}}}\n'
            f'build {{\n  sources = ["source.image.small"]\n  provisioner "shell" {{\n'
            f"    inline  = [{script}]\n    network = false\n  }}\n}}\n"
        )

    def run(self, *flags: str) -> Any:
        return self._goldsmith(
            "build", *flags, "t.pkr.hcl", cwd=self.path,
            env={"GOLDSMITH_CACHE_DIR": str(self.path / "state"),
                 "SOURCE_DATE_EPOCH": "1700000000"},
        )  # fmt: skip

    def built(self, *flags: str) -> str:
        result = self.run(*flags)
        assert result.status == 0, result
        return str(result.stdout)

    def raw(self, image: Any, folder: Path) -> Path:
        """The image out of its container."""
        packed = self.output / image["container_name"]
        if image["container"] == "raw":
            return packed
        raw = folder / f"{image['mount'].strip('/') or 'root'}.img"
        tool = {"gzip": "gzip", "zstd": "zstd"}[image["container"]]
        with raw.open("wb") as file:
            subprocess.run([tool, "-dc", packed], stdout=file, check=True)
        return raw

    def metadata(self) -> Any:
        return yaml.safe_load((self.output / "small.yaml").read_text())


@pytest.fixture
def project(tmp_path: Path, small_tree: Path, goldsmith: Any) -> Project:
    return Project(tmp_path / "project", small_tree, goldsmith)


def digest(path: Path, algorithm: str) -> str:
    return hashlib.new(algorithm, path.read_bytes(), usedforsecurity=False).hexdigest()


def mounted(image: Path, type: str) -> dict[str, str]:
    """The small files of a file system, mounted read-only where nobody else sees it."""

    def body() -> dict[str, str]:
        place = image.parent / "mounted"
        place.mkdir(exist_ok=True)
        options = "ro,loop,norecovery" if type == "xfs" else "ro,loop"
        subprocess.run(["mount", "-t", type, "-o", options, image, place], check=True)
        try:
            return {p.name: p.read_text() for p in place.iterdir()
                    if p.is_file() and p.stat().st_size < 100}  # fmt: skip
        finally:
            subprocess.run(["umount", place], check=True)

    found = run_privately(body)
    assert isinstance(found, dict)
    return found


CHECKS = {
    "ext4": ["e2fsck", "-fn"], "ext2": ["e2fsck", "-fn"], "xfs": ["xfs_repair", "-n"],
    "btrfs": ["btrfs", "check", "--readonly"], "squashfs": ["unsquashfs", "-s"],
}  # fmt: skip


def test_b4_b6_b10_every_kind_in_every_container(project: Project, tmp_path: Path) -> None:
    """The output directory has a blank, a bar and a backslash in its name."""
    project.write(ALL_KINDS)
    text = project.built()
    assert "Image set 'small'" in text
    images = {image["mount"]: image for image in project.metadata()["images"]}
    assert [(i["format"], i["container"], i["container_name"]) for i in images.values()] == [
        ("ext4", "zstd", "small.img.zst"), ("ext2", "raw", "small-boot.img"),
        ("btrfs", "zstd", "small-srv.img.zst"), ("xfs", "gzip", "small-opt.img.gz"),
        ("squashfs", "raw", "small-usr-share.img"),
    ]  # fmt: skip
    for image in images.values():
        packed, raw = project.output / image["container_name"], project.raw(image, tmp_path)
        assert digest(packed, "md5") == image["container_md5"]
        assert digest(packed, "sha256") == image["container_sha256"]
        assert packed.stat().st_size == image["container_size"]
        assert digest(raw, "md5") == image["raw_md5"]
        assert digest(raw, "sha256") == image["raw_sha256"]
        assert raw.stat().st_size == image["raw_size"]
        block_map = project.output / image["block_map"]
        assert digest(block_map, "sha256") == image["block_map_sha256"]
        check_image(raw, parse_bmap(block_map.read_bytes()))
        assert parse_bmap(block_map.read_bytes()).contents_sha256 == image["contents_sha256"]
        done = subprocess.run([*CHECKS[image["format"]], raw], capture_output=True, text=True,
                              check=False)  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        if image["format"] != "squashfs":
            uuid = subprocess.run(["blkid", "-p", "-o", "value", "-s", "UUID", raw], check=True,
                                  capture_output=True, text=True).stdout.strip()  # fmt: skip
            assert uuid == image["uuid"]
    assert mounted(project.raw(images["/boot"], tmp_path), "ext2") == {"kernel": "k\n"}
    assert mounted(project.raw(images["/srv"], tmp_path), "btrfs") == {"s": "s\n"}
    assert mounted(project.raw(images["/opt"], tmp_path), "xfs") == {"o": "o\n"}
    root = project.raw(images["/"], tmp_path)
    assert listed(root, "/boot") == listed(root, "/opt") == set()
    fstab = subprocess.run(["debugfs", "-R", "cat /etc/fstab", root], check=True, text=True,
                           capture_output=True).stdout  # fmt: skip
    for mount in ("/", "/boot", "/srv", "/opt"):
        assert f"UUID={images[mount]['uuid']} {mount} " in fstab
    check_thin(root, parse_bmap((project.output / "small.img.zst.bmap").read_bytes()).mapped_blocks)


def check_thin(root: Path, mapped_blocks: int) -> None:
    """B20: hardly a free block is in the image. B21: it is hardly larger than it must be."""
    facts = subprocess.run(["dumpe2fs", "-h", root], check=True, text=True,
                           capture_output=True).stdout  # fmt: skip
    numbers = dict(line.split(":", 1) for line in facts.splitlines() if ":" in line)
    blocks, free = int(numbers["Block count"]), int(numbers["Free blocks"])
    assert mapped_blocks <= blocks - free
    assert free < 100
    assert int(numbers["Inodes per group"]) == 8192, "it is to be grown"


def listed(image: Path, folder: str) -> set[str]:
    done = subprocess.run(["debugfs", "-R", f"ls -p {folder}", image], check=True, text=True,
                          capture_output=True)  # fmt: skip
    names = {line.split("/")[5] for line in done.stdout.splitlines() if line.count("/") > 5}
    return names - {".", ".."}


def test_b18_the_same_bytes_from_scratch_and_nothing_twice(
    tmp_path: Path, small_tree: Path, goldsmith: Any
) -> None:
    projects = [Project(tmp_path / name, small_tree, goldsmith) for name in ("one", "two")]
    for project in projects:
        project.write(TWO)
        project.built()
    one, two = ({p.name: p.read_bytes() for p in project.output.iterdir()} for project in projects)
    assert one == two
    again = projects[0].built()
    assert "Making the set" not in again
    document = json.loads((projects[0].output / "small.json").read_text())
    assert read_image_set(yaml.safe_dump(document)).inputs_sha256 == document["inputs_sha256"]


def test_headroom_and_names(project: Project, tmp_path: Path) -> None:
    images = TWO.replace('    image "/" {\n', '    metadata = "meta"\n    headroom = "8MiB"\n'
                         '    image "/" {\n      file = "root.gz"\n')  # fmt: skip
    project.write(images)
    project.built()
    names = {path.name for path in project.output.iterdir()}
    assert {"root.gz", "root.gz.bmap", "meta.json", "meta.yaml", "small-boot.img.gz"} <= names
    document = yaml.safe_load((project.output / "meta.yaml").read_text())
    raw = project.raw(document["images"][0], tmp_path)
    facts = subprocess.run(["dumpe2fs", "-h", raw], check=True, text=True,
                           capture_output=True).stdout  # fmt: skip
    free = next(line for line in facts.splitlines() if line.startswith("Free blocks:"))
    assert 8 << 20 <= int(free.split()[-1]) * 4096 < 10 << 20
    # Another name is another set: the old files of ours go.
    project.write(images.replace("root.gz", "other.gz"))
    project.built()
    assert not (project.output / "root.gz").exists()
    assert (project.output / "other.gz.bmap").exists()


def test_b11_b12_what_a_step_leaves_running_is_ended_and_hides_no_error(project: Project) -> None:
    """A process with its directory deep in the tree, which fuel-agent could neither see nor end."""
    project.write(TWO, '"mkdir -p /srv/a/b /boot; cd /srv/a/b; nohup sleep 1000 >/dev/null 2>&1 &"')
    project.built()
    project.write(TWO, '"cd /srv; nohup sleep 1000 >/dev/null 2>&1 & echo why >&2; exit 7"')
    result = project.run()
    assert result.status == 1
    assert "exit status: 7" in result.stdout
    assert not list(project.path.rglob("*.partial"))


def test_files_of_others_are_refused(project: Project) -> None:
    project.output.mkdir()
    (project.output / "small-boot.img.gz").write_text("mine")
    project.write(TWO)
    result = project.run()
    assert result.status == 1
    assert "small-boot.img.gz" in result.stdout
    assert (project.output / "small-boot.img.gz").read_text() == "mine"
    project.built("-force")


@pytest.mark.parametrize(
    ("images", "more", "told"),
    [
        (TWO, '  formats = ["raw"]\n', "an image set has no formats"),
        (TWO, '  firmware = ["bios"]\n', "bare file systems have no boot loader"),
        (TWO, "  disk {\n  }\n", "not both"),
        ('    image "/boot" {\n    }\n', "", "no image of the root file system"),
        (TWO + '    image "/boot" {\n    }\n', "", 'more than one image of "/boot"'),
        (TWO + '    image "/a" {\n      file = "small.img.gz"\n    }\n', "", "called"),
        (TWO + '    image "a" {\n    }\n', "", "not absolute"),
        (TWO + '    image "/a" {\n      filesystem = "ext5"\n    }\n', "", "ext5"),
        (TWO + '    image "/a" {\n      headroom = "much"\n    }\n', "", "headroom"),
    ],
)
def test_what_cannot_be(project: Project, images: str, more: str, told: str) -> None:
    project.write(images, more=more)
    result = project.run()
    assert result.status == 1
    assert told in result.stdout + result.stderr
    assert "Traceback" not in result.stdout + result.stderr
