"""The disk of an element image, for real: filled, attached, finished by hooks, put right."""

import os
import subprocess
import sys

import pytest
from built_disks import Making, look
from tiny_elements import write_hook

pytestmark = pytest.mark.root
MIB = 1 << 20


@pytest.fixture
def making(tmp_path, small_tree):
    return Making(tmp_path, small_tree)


def told(made, start):
    """The first line of a hook that begins with a word, without it."""
    return next(line.removeprefix(start).strip() for line in made["lines"]
                if line.startswith(start))  # fmt: skip


def checked(path, offset_bytes):
    """Whether fsck has nothing to say of an ext4 in an image."""
    done = subprocess.run(["e2fsck", "-fn", f"{path}?offset={offset_bytes}"], capture_output=True,
                          check=False)  # fmt: skip
    return done.returncode == 0


def test_a_disk_with_a_table_is_finished_by_its_hooks(making, tmp_path):
    write_hook(making.element, "pre-finalise.d/60-look",
               'echo "FSTAB $(cat $TMP_MOUNT_PATH/etc/fstab)"')  # fmt: skip
    write_hook(making.element, "finalise.d/60-look",
               'echo "DEVICE $IMAGE_BLOCK_DEVICE$IMAGE_BLOCK_DEVICES"\n'
               'test -b "$IMAGE_BLOCK_DEVICE"; test -d /tmp/in_target.d/finalise.d\n'
               '! touch /tmp/in_target.d/x 2>/dev/null; test -w /dev/null; test -d /proc/self\n'
               'echo resolver: "$(cat /etc/resolv.conf)" > /resolver\n'
               'mkdir -p /var/log/a; echo log > /var/log/a/x; echo log > /root/y.log\n'
               'cp /bin/cat /tmp')  # fmt: skip
    write_hook(making.element, "cleanup.d/60-look", 'test "$TARGET_ROOT" = "$TMP_MOUNT_PATH"')
    made = making.make("block-device-mbr", finish=lambda tree: sorted(os.listdir(tree / "tmp")))
    assert told(made, "FSTAB ") == "LABEL=cloudimg-rootfs / ext4 defaults 0 1"
    device = told(made, "DEVICE ").split(" ")[0]
    assert f"[image0]={device} " in told(made, "DEVICE ")
    assert f"[root]={device}p1" in told(made, "DEVICE ")
    assert made["finished"] == []

    def body(top):
        return {
            "phases": (top / "phases").read_text().split(), "names": set(os.listdir(top)),
            "log": (top / "var/log/a/x").read_text(), "root": os.listdir(top / "root"),
        }  # fmt: skip

    found = look(tmp_path / "disk.raw", made["offsets"]["root"], body)
    assert found["phases"] == ["pre-finalise.d", "finalise.d", "cleanup.d"]
    assert found["log"] == ""
    assert found["root"] == []
    assert {".top", "resolver", "lost+found"} <= found["names"]
    assert checked(tmp_path / "disk.raw", made["offsets"]["root"])


def test_an_explicit_size_is_kept_and_options_reach_the_root(making, tmp_path):
    made = making.make(
        "block-device-gpt", DIB_IMAGE_SIZE="0.25", ROOT_LABEL="mine", DIB_JOURNAL_SIZE="8",
        MKFS_OPTS="-m 3 -O ^64bit", MAX_ONLINE_RESIZE="1000000",
    )  # fmt: skip
    assert made["size_bytes"] == (tmp_path / "disk.raw").stat().st_size == 256 * MIB
    place = f"{tmp_path}/disk.raw?offset={made['offsets']['root']}"
    shown = subprocess.run(["dumpe2fs", "-h", place], capture_output=True, text=True, check=True)
    lines = {" ".join(line.split()) for line in shown.stdout.splitlines()}
    blocks = next(int(line.split()[-1]) for line in lines if line.startswith("Block count:"))
    assert {"Filesystem volume name: mine", "Total journal size: 8M"} <= lines
    assert f"Reserved block count: {blocks * 3 // 100}" in lines
    assert not any("64bit" in line for line in lines if line.startswith("Filesystem features"))
    inodes = next(int(line.split()[-1]) for line in lines if line.startswith("Inode count:"))
    assert inodes == pytest.approx(blocks, rel=0.02)


def loader(tree):
    return (tree / "boot/efi/EFI/BOOT/BOOTX64.EFI").read_text()


def test_hooks_can_look_up_what_the_disk_is(making, tmp_path):
    program = f"{sys.executable} -m goldsmith block-device getval"
    symbols = ("root-label", "root-fstype", "boot-label", "mount-points", "image-path",
               "image-block-device", "image-block-devices")  # fmt: skip
    write_hook(making.element, "cleanup.d/60-look",
               f'for one in {" ".join(symbols)}; do echo "$one=$({program} $one)"; done\n'
               'echo "size=$(grep image-size $DIB_BLOCK_DEVICE_PARAMS_YAML)"\n'
               'echo "config=$(grep -c local_loop $TMP_BUILD_DIR/block-device/config.yaml)"\n'
               'echo "told=$IMAGE_BLOCK_DEVICE $IMAGE_BLOCK_DEVICES"\n'
               'test -s "$TMP_IMAGE_DIR/image0.raw"')  # fmt: skip
    made = making.make("block-device-gpt", ROOT_LABEL="mine")
    found = {name: told(made, f"{name}=") for name in (*symbols, "size", "config")}
    device = found["image-block-device"]
    assert told(made, "told=").split() == [device, *found["image-block-devices"].split()]
    assert f"[root]={device}p2" in found["image-block-devices"].split()
    assert (found["root-label"], found["root-fstype"], found["boot-label"]) == ("mine", "ext4", "")
    assert found["mount-points"] == "/"
    assert found["image-path"].endswith("/image0.raw")
    assert found["size"] == f'image-size: "{made["size_bytes"] >> 10}KiB"'
    assert found["config"] == "1"


def test_a_partition_that_this_kernel_may_not_mount_gets_its_files_all_the_same(making, tmp_path):
    write_hook(making.element, "install.d/60-none", "true")
    write_hook(making.element, "finalise.d/60-efi",
               'while read device place kind _; do\n'
               '  if [ $place = /boot/efi ]; then echo "EFI $device $kind"; fi\n'
               "done < /proc/mounts\n"
               "mkdir -p /boot/efi/EFI/BOOT\n"
               "echo loader > /boot/efi/EFI/BOOT/BOOTX64.EFI")  # fmt: skip
    made = making.make("block-device-efi", finish=loader)
    device, kind = told(made, "EFI ").split()
    assert device.endswith("1")
    assert kind == "vfat"
    assert made["finished"] == "loader\n"
    place = f"{tmp_path}/disk.raw@@{made['offsets']['ESP']}"
    shown = subprocess.run(
        ["mtype", "-i", place, "::/EFI/BOOT/BOOTX64.EFI"], capture_output=True, check=True
    )
    assert shown.stdout == b"loader\n"
    # The root has the mount point, and nothing of what lies on the other partition.
    root = made["offsets"]["root"]
    assert look(tmp_path / "disk.raw", root, lambda top: os.listdir(top / "boot/efi")) == []
    assert checked(tmp_path / "disk.raw", root)


def test_sectors_can_be_large(making, tmp_path):
    write_hook(making.element, "finalise.d/60-size", "echo SECTORS $IMAGE_BLOCK_DEVICE")
    made = making.make("block-device-gpt", DIB_BLOCK_SIZE="4096")
    with open(tmp_path / "disk.raw", "rb") as stream:
        stream.seek(4096)
        assert stream.read(8) == b"EFI PART"
    assert told(made, "SECTORS ").startswith("/dev/loop")
    assert checked(tmp_path / "disk.raw", made["offsets"]["root"])


@pytest.mark.nightly
def test_sectors_of_the_guest_can_be_large_too(making, tmp_path):
    write_hook(making.element, "finalise.d/60-size",
               "echo SECTORS $IMAGE_BLOCK_DEVICE; echo loader > /boot/efi/x")  # fmt: skip
    made = making.make("block-device-efi-4k")
    with open(tmp_path / "disk.raw", "rb") as stream:
        stream.seek(4096)
        assert stream.read(8) == b"EFI PART"
        stream.seek(made["offsets"]["ESP"])
        boot_sector = stream.read(64)
    assert int.from_bytes(boot_sector[11:13], "little") == 4096
    assert told(made, "SECTORS ") == "/dev/vda"
    assert checked(tmp_path / "disk.raw", made["offsets"]["root"])


def test_without_a_block_device_element_it_is_one_file_system(making, tmp_path):
    made = making.make()
    assert made["offsets"] == {"image0": 0}
    assert checked(tmp_path / "disk.raw", 0)
    found = look(tmp_path / "disk.raw", 0, lambda top: (top / "etc/fstab").read_text())
    assert found == "LABEL=cloudimg-rootfs / ext4 defaults 0 1\n"


def test_a_failing_hook_is_named_and_leaves_nothing(making):
    write_hook(making.element, "finalise.d/60-bad", "echo no kernel here >&2; sleep 600 & exit 7")
    said = r"finalise\.d/60-bad of element tiny-os failed with status 7; it said last:\nno kernel"
    with pytest.raises(AssertionError, match=said):
        making.make("block-device-mbr")


def test_mounts_that_a_hook_leaves_are_there_for_the_next_phase_and_not_in_the_image(
    making, tmp_path
):
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache/kept").write_text("yes")
    write_hook(making.element, "pre-finalise.d/60-bind",
               f"mkdir $TMP_MOUNT_PATH/cache\n"
               f"mount --bind {tmp_path}/cache $TMP_MOUNT_PATH/cache")  # fmt: skip
    write_hook(making.element, "finalise.d/60-look", "echo KEPT $(cat /cache/kept)")
    made = making.make("block-device-mbr", finish=lambda tree: os.listdir(tree / "cache"))
    assert told(made, "KEPT ") == "yes"
    assert made["finished"] == []


def test_a_hook_that_makes_the_disk_itself_is_refused(making):
    write_hook(making.element, "block-device.d/10-own", "echo IMAGE_BLOCK_DEVICE=/dev/loop9")
    with pytest.raises(AssertionError, match="made the device /dev/loop9 itself"):
        making.make("block-device-mbr")


def test_a_break_before_the_disk_needs_no_hooks_there(making):
    made = making.make(**{"break": "before-block-device", "break_cmd": "echo looked"})
    assert "looked" in made["lines"]


def test_what_elements_want_as_the_resolver_is_in_the_image(making, tmp_path):
    write_hook(making.element, "finalise.d/60-resolver", "echo nameserver 192.0.2.1 > "
               "/etc/resolv.conf.ORIG")  # fmt: skip
    made = making.make("block-device-mbr")

    def body(top):
        return (top / "etc/resolv.conf").read_text(), (top / "etc/resolv.conf.ORIG").exists()

    found = look(tmp_path / "disk.raw", made["offsets"]["root"], body)
    assert found == ("nameserver 192.0.2.1\n", False)


@pytest.mark.nightly
def test_logical_volumes_are_logical_volumes_for_hooks(making, tmp_path):
    write_hook(making.element, "finalise.d/60-look",
               "while read device place kind _; do echo MOUNT $device $place $kind; done "
               "< /proc/mounts\necho DEVICES $IMAGE_BLOCK_DEVICES\n"
               "echo in var > /var/made")  # fmt: skip
    write_hook(making.element, "cleanup.d/60-look",
               'echo "FOUND $(cat "$TARGET_ROOT/var/made")"')  # fmt: skip

    def finish(tree):
        return (tree / "var/made").read_text(), (tree / "phases").read_text().split()

    made = making.make("block-device-efi-lvm", finish=finish)
    shown = {line for line in made["lines"] if line.startswith("MOUNT ")}
    assert {
        "MOUNT /dev/mapper/vg-lv_root / xfs", "MOUNT /dev/mapper/vg-lv_var /var xfs",
        "MOUNT /dev/mapper/vg-lv_home /home xfs",
    } <= shown  # fmt: skip
    assert "[lv_root]=/dev/mapper/vg-lv_root" in told(made, "DEVICES ")
    assert told(made, "FOUND ") == "in var"
    assert made["finished"] == ("in var\n", ["pre-finalise.d", "finalise.d", "cleanup.d"])
    assert made["size_bytes"] > 39_998_980_096
    assert (tmp_path / "disk.raw").stat().st_blocks * 512 < 1000 * MIB


@pytest.mark.nightly
def test_a_hook_that_fails_in_the_guest_is_named(making):
    write_hook(making.element, "finalise.d/60-bad", "echo no loader here >&2; exit 7")
    said = r"finalise\.d/60-bad of element tiny-os failed with status 7; it said last:\nno loader"
    with pytest.raises(AssertionError, match=said):
        making.make("block-device-efi")
