"""The `chroot` source: images of every kind are changed, and the originals stay as they are."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest
from old_images import (
    BOOT_UUID,
    FSTAB,
    MIB,
    ROOT_UUID,
    Changing,
    call,
    digest,
    disk,
    in_esp,
    look,
    made,
    shell,
    unpacked,
)

pytestmark = pytest.mark.root

CHANGES = shell(
    "set -e", "echo new > /old/a", "rm /old/gone", "rm -r /old/directory", "mkdir /old/fresh",
    "echo more >> /old/linked", "ln /old/setuid /old/also-setuid", "ln -s /etc/passwd /old/link",
    "mkfifo /old/fifo", "chmod 0700 /opt", "echo hello > /made",
)  # fmt: skip


@pytest.fixture
def changing(tmp_path: Path, goldsmith: Any) -> Changing:
    return Changing(tmp_path, goldsmith)


@pytest.fixture
def tree(tmp_path: Path, small_tree: Path) -> Path:
    return unpacked(small_tree, tmp_path / "tree")


def seen(top: Path) -> dict[str, Any]:
    """What CHANGES leave, as a mounted image shows it."""
    old = top / "old"
    fifo, setuid = os.lstat(old / "fifo"), os.lstat(old / "setuid")
    return {
        "names": sorted(path.name for path in old.iterdir()),
        "a": (old / "a").read_text(), "made": (top / "made").read_text(),
        "linked": (old / "other-name").read_text(),
        "links": (os.lstat(old / "linked").st_nlink, setuid.st_nlink),
        "same": old.joinpath("linked").samefile(old / "other-name"),
        "mode": (oct(setuid.st_mode), oct((top / "opt").stat().st_mode)),
        "link": os.readlink(old / "link"), "fifo": stat.S_ISFIFO(fifo.st_mode),
    }  # fmt: skip


EXPECTED = {
    "names": ["a", "also-setuid", "fifo", "fresh", "link", "linked", "other-name", "setuid"],
    "a": "new\n", "made": "hello\n", "linked": "two namesmore\n", "links": (2, 2), "same": True,
    "mode": ("0o104711", "0o40700"), "link": "/etc/passwd", "fifo": True,
}  # fmt: skip


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs"])
def test_a_bare_file_system(
    changing: Changing, tree: Path, tmp_path: Path, host_unchanged: None, kind: str
) -> None:
    source = made(tmp_path / f"old.{kind}", kind, 400 if kind == "xfs" else 256, tree)
    before = digest(source), source.stat().st_mtime_ns
    changing.write(source.name, CHANGES)
    text = changing.built()
    assert f"The root is the image ({kind})" in text
    assert (digest(source), source.stat().st_mtime_ns) == before
    assert look(changing.image, seen, kind=kind) == EXPECTED
    assert changing.image.stat().st_size == source.stat().st_size


def esp_files(tmp_path: Path) -> Path:
    """A directory like an ESP."""
    top = tmp_path / "esp-files"
    (top / "EFI/BOOT").mkdir(parents=True)
    (top / "EFI/BOOT/BOOTX64.EFI").write_text("loader")
    (top / "EFI/BOOT/grub.cfg").write_text("old configuration")
    (top / "EFI/old").mkdir()
    (top / "EFI/old/file.txt").write_text("goes away")
    return top


def partitioned(tmp_path: Path, tree: Path, label: str, *, name: str = "old.raw") -> Path:
    """An image with an ESP, /boot and a root, all in the root's fstab."""
    boot = tmp_path / "boot-files"
    boot.mkdir()
    (boot / "vmlinuz").write_text("kernel")
    (boot / "efi").mkdir()
    (tree / "etc/fstab").write_text(FSTAB)
    kinds = {"gpt": ("U", "L", "L"), "dos": ("ef", "83", "83")}[label]
    parts: list[tuple[Path | None, str]] = [
        (made(tmp_path / "esp.vfat", "vfat", 8, esp_files(tmp_path)), kinds[0]),
        (made(tmp_path / "boot.ext2", "ext2", 8, boot, uuid=BOOT_UUID, label="boot"), kinds[1]),
        (made(tmp_path / "root.ext4", "ext4", 64, tree), kinds[2]),
    ]
    return disk(tmp_path / name, parts, label=label)


BOOT_CHANGES = shell(
    "set -e", "test -e /boot/vmlinuz", "echo newer > /boot/vmlinuz",
    "grep -q old /boot/efi/EFI/BOOT/grub.cfg",
    "printf 'new configuration' > /boot/efi/EFI/BOOT/grub.cfg", "rm -r /boot/efi/EFI/old",
    "mkdir -p /boot/efi/EFI/golden/deep", "printf fresh > '/boot/efi/EFI/golden/deep/a file.efi'",
    "ln /made /boot/other-file-system || cp /made /boot/other-file-system",
)  # fmt: skip


@pytest.mark.parametrize("label", ["gpt", "dos"])
def test_partitions_and_an_esp(
    changing: Changing, tree: Path, tmp_path: Path, host_unchanged: None, label: str
) -> None:
    source = partitioned(tmp_path, tree, label)
    before = digest(source)
    changing.write(source.name, CHANGES + BOOT_CHANGES, formats='["raw", "qcow2", "raw.zst"]',
                   more='  post-processor "checksum" {\n    checksum_types = ["sha256"]\n  }\n'
                   '  post-processor "compress" {\n    output = "new.tar.gz"\n  }\n')  # fmt: skip
    text = changing.built()
    assert digest(source) == before
    assert "/srv of the image (/dev/disk/by-label/nowhere) is not mounted" in text
    assert text.count("is not mounted: ") == 1
    assert look(changing.image, seen, offset=17 * MIB) == EXPECTED
    shown = look(changing.image, lambda top: (
        (top / "vmlinuz").read_text(), (top / "other-file-system").read_text()
    ), offset=9 * MIB, kind="ext2")  # fmt: skip
    assert shown == ("newer\n", "hello\n")
    assert in_esp(changing.image, MIB) == {
        "EFI/BOOT/BOOTX64.EFI": "loader", "EFI/BOOT/grub.cfg": "new configuration",
        "EFI/golden/deep/a file.efi": "fresh",
    }  # fmt: skip
    # What lies below a mount point on the root is not touched.
    assert look(changing.image, lambda top: os.listdir(top / "boot"), offset=17 * MIB) == ["efi"]
    call("e2fsck", "-fn", f"{changing.image}?offset={17 * MIB}")
    manifest = json.loads((tmp_path / "output/new.manifest.json").read_text())
    assert [p["mount"] for p in manifest["disk"]["partitions"]] == [None, None, "/"]
    assert manifest["files"]["new.raw"]["sha256"] == digest(changing.image)
    assert (tmp_path / "new.tar.gz").exists()
    assert call("qemu-img", "compare", changing.image, tmp_path / "output/new.qcow2")


@pytest.mark.parametrize("kind", ["qcow2", "vmdk", "vdi", "vhdx", "vpc"])
def test_every_format_can_be_changed(
    changing: Changing, tree: Path, tmp_path: Path, kind: str
) -> None:
    raw = made(tmp_path / "old.raw", "ext4", 64, tree)
    source = tmp_path / f"old.{kind}"
    call("qemu-img", "convert", "-f", "raw", "-O", kind, raw, source)
    before = digest(source)
    changing.write(source.name, CHANGES)
    changing.built()
    assert digest(source) == before
    assert look(changing.image, seen) == EXPECTED


def steps_of(changing: Changing) -> dict[str, str]:
    """What `plan` says of every step."""
    result = changing.run("plan", "-json")
    assert result.status == 0, result
    (build,) = json.loads(result.stdout)["builds"]
    return {step["name"]: step["state"] for step in build["steps"]}


def test_provisioners_are_cached_steps(changing: Changing, tree: Path, tmp_path: Path) -> None:
    source = made(tmp_path / "old.raw", "ext4", 64, tree)
    changing.write(source.name, CHANGES + shell("echo two > /two"))
    assert set(steps_of(changing).values()) == {"miss"}
    first = changing.built()
    assert "Provisioning with shell" in first
    assert set(steps_of(changing).values()) == {"hit"}
    stamp = changing.image.stat().st_mtime_ns
    changing.built()
    assert changing.image.stat().st_mtime_ns == stamp
    changing.write(source.name, CHANGES + shell("echo three > /two"))
    assert steps_of(changing) == {"source": "hit", "provisioner-1": "hit",
                                  "provisioner-2": "miss", "image": "miss"}  # fmt: skip
    changing.built()
    assert look(changing.image, lambda top: (top / "two").read_text()) == "three\n"
    assert look(changing.image, seen) == EXPECTED
    with source.open("r+b") as file:  # the boot sector, which no file system looks at
        file.write(b"other")
    assert steps_of(changing)["source"] == "miss"
    changing.built()
    assert changing.image.read_bytes()[:5] == b"other"


def test_commands_mounts_and_files_of_this_host(
    changing: Changing, tree: Path, tmp_path: Path, host_unchanged: None
) -> None:
    source = made(tmp_path / "old.raw", "ext4", 64, tree)
    host = tmp_path / "host"
    host.mkdir()
    (host / "file").write_text("of the host")
    copied = tmp_path / "copied.conf"
    copied.write_text("copied")
    (tree / "unused").write_text("")
    log = tmp_path / "log"
    changing.write(
        source.name,
        shell("cat /mnt/shared/file > /seen", f"cat {copied} >> /seen", "test -w /mnt/memory",
              "touch /mnt/memory/x"),
        options=f"""
  pre_mount_commands  = ["tune2fs -L renamed {{{{.Device}}}}"]
  post_mount_commands = ["mkdir -p {{{{.MountPath}}}}{tmp_path}", "echo $HOME > {log}"]
  command_wrapper     = "WRAPPED=yes; {{{{.Command}}}}; echo $WRAPPED >> {log}"
  chroot_mounts       = [
    ["proc", "proc", "/proc"],
    ["bind", "{host}", "/mnt/shared"],
    ["tmpfs", "tmpfs", "/mnt/memory"],
  ]
  copy_files    = ["{copied}"]
  root_label    = "renamed"
  mount_options = ["noatime"]
""",
    )  # fmt: skip
    text = changing.built()
    for said in ("Executing command: WRAPPED=yes; tune2fs -L renamed /dev/loop",
                 "Mounting: /mnt/shared", "Copying files from host to chroot"):  # fmt: skip
        assert said in text
    assert log.read_text().splitlines()[-1] == "yes"
    shown = look(changing.image, lambda top: (
        (top / "seen").read_text(), os.listdir(top / "mnt"),
        (top / str(copied).lstrip("/")).exists(), (top / str(tmp_path).lstrip("/")).is_dir(),
    ))  # fmt: skip
    assert shown == ("of the hostcopied", [], False, True)
    assert "LABEL=renamed" in call("blkid", "-p", "-o", "export", changing.image)
    assert "LABEL=system" in call("blkid", "-p", "-o", "export", source)
    assert (host / "file").read_text() == "of the host"
    # What a directory of this host holds is in no key.
    assert steps_of(changing)["provisioner-1"] == "always"


def test_options_that_make_no_sense(changing: Changing, tree: Path, tmp_path: Path) -> None:
    source = made(tmp_path / "old.raw", "ext4", 64, tree)
    for options, words in (
        ('chroot_mounts = [["bind", "/x"]]', "each mount is three texts"),
        ('mount_partition = 1\n  root_label = "x"', "exclude each other"),
        ('command_wrapper = "sudo"', "would not run the command"),
        ('command_wrapper = "{{.Command"', "command_wrapper"),
        ('pre_mount_commands = ["{{.Nope}}"]', "Nope"),
        ('copy_files = ["etc/hosts"]', "not an absolute path"),
        ('image_name = "../x"', "not a plain file name"),
        ('mount_opts = ["x"]', "mount_options"),
    ):
        changing.write(source.name, options=options)
        result = changing.run("validate")
        assert result.status == 1, options
        assert words in result.stdout + result.stderr
    changing.write(source.name, formats='["qcow3"]')
    result = changing.run("validate")
    assert 'did you mean "qcow2"' in result.stdout + result.stderr
    changing.write("none.raw")
    assert changing.run("validate").status == 0
    assert "there is no image" in changing.failed()
    changing.write(source.name, options="mount_partition = 7")
    assert "no partition 7: it has 0" in changing.failed()
    changing.write(source.name, options=f'root_uuid = "{BOOT_UUID}"')
    text = changing.failed()
    assert f"UUID {BOOT_UUID}" in text
    assert f"the image is ext4, UUID {ROOT_UUID}" in text
    changing.write(source.name, options='output_directory = "."\n  image_name = "old"')
    assert "is the source, and would be written over" in changing.failed()
    changing.write(source.name, options='copy_files = ["/nowhere/at/all"]')
    assert "copy_files: /nowhere/at/all: No such file" in changing.failed()


def test_no_root_and_several_roots(changing: Changing, tree: Path, tmp_path: Path) -> None:
    one = made(tmp_path / "one.ext4", "ext4", 64, tree, label="one")
    two = made(tmp_path / "two.ext4", "ext4", 64, tree, uuid=BOOT_UUID, label="two")
    source = disk(tmp_path / "two.raw", [(one, "L"), (two, "L")])
    changing.write(source.name, CHANGES)
    text = changing.failed()
    assert "several systems: partition 1, partition 2" in text
    assert "name the root by mount_partition, root_label or root_uuid" in text
    changing.write(source.name, CHANGES, options='root_label = "two"')
    changing.built()
    assert look(changing.image, seen, offset=65 * MIB) == EXPECTED
    assert look(changing.image, lambda top: (top / "old/a").read_text(), offset=MIB) == "old a"
    empty = disk(tmp_path / "empty.raw", [(None, "L"), (None, "S")])
    changing.write(empty.name)
    text = changing.run("build", "-force").stdout
    assert "has no root file system that can be read" in text
    assert "partition 1 is unknown" in text


def test_a_failed_provisioner_can_be_looked_at(
    changing: Changing, tree: Path, tmp_path: Path, host_unchanged: None
) -> None:
    source = made(tmp_path / "old.raw", "ext4", 64, tree)
    changing.write(
        source.name, shell("echo half > /half", "exit 3"),
        more='  error-cleanup-provisioner "shell" {\n    inline = ["echo cleaning up"]\n  }\n',
    )  # fmt: skip
    text = changing.failed()
    assert "cleaning up" in text
    assert "goldsmith shell -only=chroot.new -at=provisioner-1 t.pkr.hcl" in text
    assert "cleaning up" not in changing.failed("-on-error=abort")
    shown = changing.run("shell", "-at=provisioner-1", after=("--", "cat", "/half"))
    assert "half" in shown.stdout, shown


def test_services_are_forbidden(changing: Changing, tree: Path, tmp_path: Path) -> None:
    (tree / "usr/sbin/invoke-rc.d").write_text("")
    os.utime(tree / "usr/sbin", ns=(5, 5))
    source = made(tmp_path / "old.raw", "ext4", 64, tree)
    changing.write(source.name, shell("set +e", "/usr/sbin/policy-rc.d x start", "echo $? > /said"))
    changing.built()
    shown = look(changing.image, lambda top: (
        (top / "said").read_text(), os.listdir(top / "usr/sbin"),
        (top / "usr/sbin").stat().st_mtime,
    ))  # fmt: skip
    assert shown == ("101\n", ["invoke-rc.d"], 0)


def test_an_image_that_is_full(changing: Changing, tree: Path, tmp_path: Path) -> None:
    source = made(tmp_path / "old.raw", "ext4", 64, tree)
    changing.write(source.name, shell("head -c 90000000 /dev/zero | tr '\\\\000' x > /large"))
    text = changing.failed()
    assert "/large cannot be written to the new image: No space left on device" in text
