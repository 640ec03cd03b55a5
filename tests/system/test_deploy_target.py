"""A target on a loop device becomes a machine: files in their places, fstab, GRUB, config drive."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from grub_packages import add_grub, fetch_grub
from private_namespace import run_privately

from goldsmith.deploy.config_drive import LABEL, place_config_drive
from goldsmith.deploy.nested_files import move_files
from goldsmith.deploy.node_facts import read_facts
from goldsmith.deploy.scheme import (
    ConfigDriveData,
    Deployment,
    Interface,
    Scheme,
    TargetDisk,
    TargetFilesystem,
    TargetPartition,
)
from goldsmith.deploy.target import finish_target
from goldsmith.deploy.target_mounts import mount_bind, mount_target, umount_target
from goldsmith.errors import GoldsmithError
from goldsmith.host.loop import attached
from goldsmith.host.mounts import list_mounts

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("host_unchanged")]

MIB = 1 << 20
SIZES_MIB = {"bios-boot": 1, "esp": 40, "root": 128, "var": 24, "config": 4}
CAPABILITY = bytes.fromhex("0100000200040000000000000000000000000000")
"""cap_net_bind_service, permitted and effective; linux/capability.h, revision 2."""
DATA = ConfigDriveData("node-1", "node-1.test", ssh_auth_keys=("ssh-ed25519 AAAA",))


def partitions(device):
    """The partitions of the disk, one after the other from 1 MiB on."""
    begin = MIB
    for number, (name, size) in enumerate(SIZES_MIB.items(), 1):
        kind = name if name in ("bios-boot", "esp", "root") else "data"
        yield TargetPartition(device, number, begin, size * MIB, kind, label=name,
                              config_drive=name == "config")  # fmt: skip
        begin += size * MIB


def scheme_of(device):
    disk = TargetDisk(device, partitions=tuple(partitions(device)), boot_loader=True)
    node = {p.label: p.node for p in disk.partitions}
    return Scheme(
        disks=(disk,),
        filesystems=(
            TargetFilesystem(node["var"], "/var"),
            TargetFilesystem(node["esp"], "/boot/efi", "vfat"),
            TargetFilesystem(node["root"], "/"),
        ),
    )


def attach(image, body):
    """Run `body` with the scheme of an attached image, in a namespace of its own."""

    def attached_body():
        with attached(image) as loop:
            loop.add_partitions()
            return body(scheme_of(str(loop.path)))

    return run_privately(attached_body)


@pytest.fixture
def image(tmp_path):
    """A disk with a table and nothing else."""
    path = tmp_path / "disk.raw"
    with path.open("wb") as file:
        file.truncate((sum(SIZES_MIB.values()) + 2) * MIB)
    guids = {"bios-boot": "21686148-6449-6E6F-744E-656564454649", "esp": "U"}
    lines = [
        f"start={p.begin_bytes // MIB}MiB, size={p.size_bytes // MIB}MiB, "
        f"type={guids.get(p.label, 'L')}"
        for p in partitions("/dev/x")
    ]
    script = "\n".join(["label: gpt", *lines]) + "\n"
    subprocess.run(["sfdisk", "-q", path], input=script, text=True, check=True)
    return path


@pytest.fixture
def tree(tmp_path):
    """A small tree as an image has it, with a file below /var that is linked, and an ACL."""
    tree = tmp_path / "tree"
    for name in ("boot", "etc/default", "usr/lib", "var/lib/data", "var/log", "sys"):
        (tree / name).mkdir(parents=True)
    (tree / "etc/mtab").symlink_to("../proc/self/mounts")
    (tree / "etc/os-release").write_text('NAME="Small System"\n')
    (tree / "etc/default/grub").write_text('GRUB_CMDLINE_LINUX="quirk=1"\n')
    (tree / "boot/vmlinuz-6.1").write_text("kernel")
    (tree / "boot/initrd.img-6.1").write_text("initramfs")
    data = tree / "var/lib/data/file"
    data.write_text("content")
    # A change of the owner takes the mode's bits and the capability away.
    os.chown(data, 12, 34)
    data.chmod(0o4750)
    os.setxattr(data, "security.capability", CAPABILITY)
    os.setxattr(data, "user.note", b"kept")
    os.link(data, tree / "var/lib/linked")
    (tree / "var/log/link").symlink_to("/lib/data/file")
    (tree / "var").chmod(0o711)
    return tree


def fill(scheme, tree):
    """Put a tree into the root's node, and make the others."""
    nodes = {fs.mount: fs.node for fs in scheme.filesystems}
    for argv in (
        ["mkfs.ext4", "-q", "-F", "-d", tree, nodes["/"]],
        ["mkfs.ext4", "-q", "-F", nodes["/var"]],
        ["mkfs.vfat", nodes["/boot/efi"]],
    ):
        subprocess.run(argv, check=True, capture_output=True)


def mounted_at(place):
    return [m.path for m in list_mounts() if m.path.startswith(str(place))]


def test_the_target_is_one_tree_and_is_taken_away_again(image, tree, tmp_path):
    def body(scheme):
        fill(scheme, tree)
        warnings = []
        chroot = tmp_path / "target"
        target = mount_target(scheme, chroot, warn=warnings.append)
        found = {
            "mounts": [p.removeprefix(str(chroot)) or "/" for p in mounted_at(chroot)],
            "mtab_is_link": (chroot / "etc/mtab").is_symlink(),
            "mtab": (chroot / "etc/mtab").read_text(),
            "warnings": warnings,
        }
        umount_target(target)
        umount_target(target)
        found["left"] = mounted_at(chroot)
        with mount_target(scheme, chroot, treat_mtab=False, pseudo=False):
            # What a run that was killed has left.
            (chroot / "etc/mtab").unlink()
            (chroot / "etc/mtab").write_text(found["mtab"])
        with mount_target(scheme, chroot, pseudo=False):
            assert not (chroot / "etc/mtab").is_symlink()
        with mount_target(scheme, chroot, treat_mtab=False, pseudo=False):
            found["again"] = os.readlink(chroot / "etc/mtab")
        with mount_target(scheme, chroot, treat_mtab=False, pseudo=False):
            found["plain"] = [p.removeprefix(str(chroot)) or "/" for p in mounted_at(chroot)]
            found["link"] = os.readlink(chroot / "etc/mtab")
        return found

    found = attach(image, body)
    points = [point for point in found["mounts"] if point != "/boot/efi"]
    assert points == ["/", "/var", "/sys", "/dev", "/proc"]
    assert not found["mtab_is_link"]
    assert found["mtab"].startswith("# ") and found["again"] == "../proc/self/mounts"
    listed = [line.split()[1:4] for line in found["mtab"].splitlines()[1:]]
    assert listed[:2] == [["/", "ext4", "rw"], ["/var", "ext4", "rw"]]
    assert found["left"] == []
    assert [p for p in found["plain"] if p != "/boot/efi"] == ["/", "/var"]
    assert found["link"] == "../proc/self/mounts"


def test_links_of_a_hostile_tree_lead_nowhere_outside(image, tree, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    shutil.rmtree(tree / "var")
    (tree / "var").symlink_to(outside)
    (tree / "sys").rmdir()
    (tree / "sys").symlink_to(outside)
    (tree / "etc/mtab").unlink()
    (tree / "etc/mtab").symlink_to(outside / "mtab")

    def body(scheme):
        fill(scheme, tree)
        chroot = tmp_path / "target"
        with mount_target(scheme, chroot):
            inside = [p.removeprefix(str(chroot)) or "/" for p in mounted_at(chroot)]
        with mount_target(scheme, chroot, pseudo=False):
            with mount_bind(chroot, str(tree), "/sys"):
                pass
        return inside, mounted_at(outside)

    inside, escaped = attach(image, body)
    assert f"{outside}" in inside, "the link's target inside the tree is mounted on"
    assert escaped == []
    assert list(outside.iterdir()) == []


def test_what_cannot_be_mounted_is_named_and_nothing_stays(image, tree, tmp_path):
    def body(scheme):
        fill(scheme, tree)
        nodes = {fs.mount: fs.node for fs in scheme.filesystems}
        subprocess.run(["wipefs", "-qa", nodes["/var"]], check=True)
        chroot = tmp_path / "target"
        with pytest.raises(GoldsmithError) as told:
            mount_target(scheme, chroot)
        return str(told.value), mounted_at(chroot), nodes["/var"]

    message, left, node = attach(image, body)
    assert f"{node} cannot be mounted at /var of the target" in message
    assert left == []


def test_files_move_with_all_that_they_are(tree, tmp_path):
    target = tmp_path / "own"
    target.mkdir()
    (target / "lost+found").mkdir()
    before = (tree / "var/lib/data/file").stat()
    move_files(tree / "var", target)
    assert list((tree / "var").iterdir()) == []
    moved = (target / "lib/data/file").stat()
    assert moved.st_ino == (target / "lib/linked").stat().st_ino
    assert (moved.st_mode, moved.st_uid, moved.st_gid) == (before.st_mode, 12, 34)
    assert moved.st_mtime_ns == before.st_mtime_ns
    attributes = os.listxattr(target / "lib/data/file")
    assert {"user.note", "security.capability"} <= set(attributes)
    assert os.readlink(target / "log/link") == "/lib/data/file"
    assert target.stat().st_mode & 0o777 == 0o711
    assert (target / "lost+found").is_dir()


def test_kept_data_wins_over_files_of_the_image(tree, tmp_path):
    target = tmp_path / "own"
    (target / "lib").mkdir(parents=True)
    (target / "lib").chmod(0o700)
    (target / "lib/linked").write_text("older and kept")
    half = target / ".goldsmith-moving/lib/data"  # what a run that was killed has left
    half.mkdir(parents=True)
    (half / "file").write_text("cont")
    move_files(tree / "var", target, keep=True)
    assert (target / "lib/linked").read_text() == "older and kept"
    assert (target / "lib/data/file").read_text() == "content"
    assert (target / "lib").stat().st_mode & 0o777 == 0o700
    assert sorted(os.listdir(target)) == ["lib", "log"]
    assert list((tree / "var").iterdir()) == []


@pytest.mark.parametrize("keep", [False, True])
def test_files_never_move_through_links_of_another_image(tree, tmp_path, keep):
    outside = tmp_path / "of the host"
    outside.write_text("the host's")
    target = tmp_path / "own"
    (target / "lib").mkdir(parents=True)
    (target / "lib/linked").symlink_to(outside)
    move_files(tree / "var", target, keep=keep)
    assert outside.read_text() == "the host's"
    assert (target / "lib/linked").is_symlink() == keep


@pytest.mark.network
def test_a_deployment_is_finished_and_can_be_repeated(image, tree, tmp_path):
    add_grub(tree, fetch_grub(tmp_path))
    said, warned = [], []

    def body(scheme):
        fill(scheme, tree)
        deployment = Deployment(
            scheme, firmware=("bios", "uefi"), kernel_cmdline="console=ttyS0", grub_timeout_s=3,
            hostname="node-1", config_drive=DATA, root_by_uuid=True,
            interfaces=(Interface("lan0", "00:00:00:00:00:01", "10.0.0.9", "255.255.255.0", True),),
        )  # fmt: skip
        work = tmp_path / "work"
        work.mkdir()
        for _ in range(2):
            place_config_drive(deployment, scratch=work, say=said.append)
            finish_target(deployment, scratch=work, say=said.append, warn=warned.append)
        assert list(work.iterdir()) == []
        assert mounted_at(work) == []
        nodes = {fs.mount: fs.node for fs in scheme.filesystems}
        disk = Path(scheme.disks[0].device).read_bytes()[: 2 * MIB]
        config = scheme.config_drive_node()
        return {
            "boot_code": disk[:440], "core": disk[MIB : MIB + 512],
            "root": {
                path: dump(nodes["/"], path)
                for path in ("etc/fstab", "etc/hostname", "etc/default/grub", "boot/grub/grub.cfg",
                             "etc/udev/rules.d/70-persistent-net.rules",
                             "etc/network/interfaces.d/ifcfg-lan0", "var/lib/data/file")
            },
            "var": dump(nodes["/var"], "lib/data/file"),
            "efi": read_efi(nodes["/boot/efi"]),
            "config": (read_facts(config).label, dump(config, "openstack/latest/user_data")),
            "uuids": {mount: read_facts(node).uuid for mount, node in nodes.items()},
        }  # fmt: skip

    made = attach(image, body)
    assert made["boot_code"][:2] == b"\xeb\x63"
    assert any(made["core"])
    assert made["efi"].startswith(b"MZ")
    assert made["uuids"]["/"].encode() in made["efi"]
    root = {path: content.decode() for path, content in made["root"].items()}
    assert root["etc/hostname"] == "node-1\n"
    assert f"UUID={made['uuids']['/']} / ext4 defaults,errors=panic 0 1" in root["etc/fstab"]
    assert f"UUID={made['uuids']['/var']} /var ext4 defaults 0 2" in root["etc/fstab"]
    assert f"UUID={made['uuids']['/boot/efi']} /boot/efi vfat umask=0077 0 2" in root["etc/fstab"]
    menu = root["boot/grub/grub.cfg"]
    assert f"root=UUID={made['uuids']['/']} ro quirk=1 console=ttyS0" in menu
    assert "'Small System, with Linux 6.1'" in menu
    assert "set timeout=3" in menu
    line = f'GRUB_CMDLINE_LINUX="quirk=1 console=ttyS0 root=UUID={made["uuids"]["/"]}"'
    assert line in root["etc/default/grub"]
    assert 'NAME="lan0"' in root["etc/udev/rules.d/70-persistent-net.rules"]
    assert "address 10.0.0.9" in root["etc/network/interfaces.d/ifcfg-lan0"]
    assert root["var/lib/data/file"] == ""
    assert made["var"] == b"content"
    assert made["config"][0] == LABEL
    assert b"cloud-config" in made["config"][1]


def dump(node, path):
    """A file of an ext file system that is not mounted."""
    argv = ["debugfs", "-R", f"cat /{path}", node]
    return subprocess.run(argv, check=True, capture_output=True).stdout


def read_efi(node):
    argv = ["mtype", "-i", node, "::/EFI/BOOT/BOOTX64.EFI"]
    return subprocess.run(argv, check=True, capture_output=True).stdout


@pytest.mark.parametrize("kind", ["ext2", "vfat"])
def test_a_config_drive_is_found_by_its_label_in_either_form(image, tmp_path, kind):
    def body(scheme):
        node = scheme.config_drive_node()
        filesystems = (TargetFilesystem(node, None, kind),)
        deployment = Deployment(Scheme(scheme.disks, filesystems=filesystems), config_drive=DATA)
        place_config_drive(deployment, scratch=tmp_path, say=lambda _: None)
        facts = read_facts(node)
        read = dump if kind == "ext2" else lambda n, p: subprocess.run(
            ["mtype", "-i", n, f"::/{p}"], check=True, capture_output=True).stdout  # fmt: skip
        return facts.type, facts.label, read(node, "openstack/latest/meta_data.json")

    found_kind, label, meta_data = attach(image, body)
    assert (found_kind, label.lower()) == (kind, LABEL)
    assert b'"hostname": "node-1.test"' in meta_data


def test_a_ready_config_drive_has_to_fit(image, tmp_path):
    small, large = tmp_path / "small.img", tmp_path / "large.img"
    small.write_bytes(b"ready" * 1000)
    large.write_bytes(bytes(5 * MIB))

    def body(scheme):
        def place(file):
            deployment = Deployment(scheme, config_drive_file=str(file))
            place_config_drive(deployment, scratch=tmp_path, say=lambda _: None)

        place(small)
        with pytest.raises(GoldsmithError, match=r"large\.img has"):
            place(large)
        return Path(scheme.config_drive_node()).read_bytes()[:5000]

    assert attach(image, body) == b"ready" * 1000
