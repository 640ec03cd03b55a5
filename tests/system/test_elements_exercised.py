"""Upstream's elements, unchanged, on Debian: what each of them leaves in the image."""

import gzip
import shutil
import subprocess
import threading

import pytest
from exercised_elements import (
    KEY,
    PASSWORD,
    Tree,
    make_home,
    make_probe,
    make_repository,
    mirrors,
)

from goldsmith.disk.partition_table import TYPE_GUIDS, read_table
from goldsmith.elements.catalog import upstream_package

pytestmark = [pytest.mark.root, pytest.mark.network]


@pytest.fixture
def surroundings(tmp_path):
    """The environment of a user who has an element, a repository and a home."""
    commit = make_repository(tmp_path / "repository")
    make_probe(tmp_path / "elements", tmp_path / "repository")
    home = make_home(tmp_path / "home")
    (tmp_path / "sources.list").write_text("# chosen by the test\n")
    return {
        **mirrors(), "ELEMENTS_PATH": str(tmp_path / "elements"), "HOME": str(home),
        "DIB_DEV_USER_USERNAME": "ops", "DIB_DEV_USER_PWDLESS_SUDO": "yes",
        "DIB_DEV_USER_PASSWORD": PASSWORD, "DIB_DEV_USER_SHELL": "/bin/bash",
        "DIB_DEV_USER_AUTHORIZED_KEYS": str(home / ".ssh/authorized_keys"),
        "DIB_APT_SOURCES": str(tmp_path / "sources.list"),
        "DIB_MODPROBE_BLACKLIST": "floppy pcspkr", "DIB_CLOUD_INIT_ALLOW_SSH_PWAUTH": "1",
        # Upstream takes Debian's to be 2, whatever the release.
        "DIB_PYTHON_VERSION": "3",
        "COMMIT": commit,
    }  # fmt: skip


def cloud_init(tree, given):
    assert "usr/bin/cloud-init" in tree
    assert tree.enabled("cloud-final.service")
    assert "ssh_genkeytypes:  ['rsa', 'ecdsa', 'ed25519']" in tree.text("etc/cloud/cloud.cfg")
    assert "ssh_pwauth: 1" in tree.text("etc/cloud/cloud.cfg")


def cloud_init_nocloud(tree, given):
    told = tree.text("etc/cloud/cloud.cfg.d/91-dib-cloud-init-datasources.cfg")
    assert told == "datasource_list: [  NoCloud, None ]\n"
    assert "var/lib/cloud/seed/nocloud/user-data" in tree


def growroot(tree, given):
    assert "usr/bin/growpart" in tree
    assert tree.mode("usr/local/sbin/growroot") & 0o111
    assert tree.enabled("growroot.service")


def devuser(tree, given):
    (line,) = [one for one in tree.text("etc/passwd").splitlines() if one.startswith("ops:")]
    assert line.endswith(":/home/ops:/bin/bash")
    (line,) = [one for one in tree.text("etc/shadow").splitlines() if one.startswith("ops:")]
    assert line.split(":")[1].startswith("$")
    assert tree.text("etc/sudoers.d/ops") == "ops ALL=(ALL) NOPASSWD:ALL\n"
    assert tree.mode("etc/sudoers.d/ops") == 0o440
    assert tree.text("home/ops/.ssh/authorized_keys") == KEY
    assert tree.members["home/ops/.ssh/authorized_keys"].uid == 1000


def openssh_server(tree, given):
    assert "usr/sbin/sshd" in tree
    assert tree.enabled("ssh.service")
    assert "\nKexAlgorithms curve25519-sha256@libssh.org," in tree.text("etc/ssh/sshd_config")


def runtime_ssh_host_keys(tree, given):
    assert not [name for name in tree.members if name.startswith("etc/ssh/ssh_host_")]
    assert tree.enabled("ssh-keygen.service")


def dhcp_all_interfaces(tree, given):
    assert tree.mode("usr/local/sbin/dhcp-all-interfaces.sh") & 0o111
    assert "SYSTEMD_WANTS" in tree.text("etc/udev/rules.d/99-dhcp-all-interfaces.rules")
    assert "usr/sbin/ifup" in tree or "sbin/ifup" in tree


def dynamic_login(tree, given):
    assert tree.mode("usr/local/bin/dynamic-login") & 0o111
    assert tree.enabled("dynamic-login.service")


def local_config(tree, given):
    assert tree.text("root/.ssh/authorized_keys") == KEY
    assert tree.mode("root/.ssh/authorized_keys") == 0o600


def apt_sources(tree, given):
    assert tree.text("etc/apt/sources.list") == "# chosen by the test\n"


def modprobe(tree, given):
    assert tree.text("etc/modprobe.d/probe.conf") == "options dummy numdummies=2\n"
    told = tree.text("etc/modprobe.d/blacklist.conf")
    assert "blacklist floppy\nblacklist pcspkr\n" in told


def sysctl(tree, given):
    assert "net.ipv4.ip_forward = 1\n" in tree.text("etc/sysctl.d/net.ipv4.ip_forward.conf")


def package_installs(tree, given):
    assert "usr/bin/hello" in tree
    assert "usr/share/pkg-map/probe" in tree
    assert tree.text("built-with") == "/usr/bin/figlet\n"
    assert "usr/bin/figlet" not in tree


def source_repositories(tree, given):
    assert tree.text("opt/probe/file") == "from the repository\n"
    assert tree.text("etc/dib-source-repositories") == "/opt/probe\n"
    manifest = tree.text("etc/dib-manifests/dib-manifest-git-image")
    place = given["ELEMENTS_PATH"].replace("elements", "repository")
    assert manifest == f"probe git /opt/probe {place} {given['COMMIT']}\n"


def install_types_and_bin_and_static(tree, given):
    assert tree.text("from") == "source\n"
    assert tree.text("usr/local/bin/probe-program").startswith("#!/bin/sh\n")
    assert tree.text("etc/probe") == "static\n"
    assert "usr/lib/systemd/system/probe.service" in tree
    assert tree.text("usr/share/svc-map/services") == "probe-service: probed\n"


def manifests(tree, given):
    assert '"package": "cloud-init"' in tree.text("etc/dib-manifests/dib-manifest-dpkg-image")
    assert tree.mode("etc/dib-manifests/dib_environment") == 0o600
    told = tree.text("etc/dib-manifests/dib_environment")
    assert 'DIB_DEV_USER_USERNAME="ops"' in told
    assert PASSWORD not in told


def what_is_for_building_only_is_gone(tree, given):
    for path in ("usr/sbin/policy-rc.d", "tmp/in_target.d", "etc/resolv.conf.ORIG",
                 "usr/local/bin/dib-python", "etc/apt/apt.conf.d/02-use-http-proxy"):  # fmt: skip
        assert path not in tree
    assert [name for name in tree.members if name.startswith("tmp/")] == []
    debs = [n for n in tree.members if n.startswith("var/cache/apt/archives/") and n[-4:] == ".deb"]
    assert debs == []
    assert "usr/sbin/start-stop-daemon.REAL" not in tree
    assert "sbin/start-stop-daemon.REAL" not in tree


EFFECTS = (
    cloud_init, cloud_init_nocloud, growroot, devuser, openssh_server, runtime_ssh_host_keys,
    dhcp_all_interfaces, dynamic_login, local_config, apt_sources, modprobe, sysctl,
    package_installs, source_repositories, install_types_and_bin_and_static, manifests,
    what_is_for_building_only_is_gone,
)  # fmt: skip
ELEMENTS = ("vm", "block-device-gpt", "debian-minimal", "cloud-init", "cloud-init-nocloud",
            "growroot", "devuser", "openssh-server", "dhcp-all-interfaces", "dynamic-login",
            "local-config", "apt-sources", "baremetal", "probe")  # fmt: skip


def what_is_missing(effects, tree, given):
    missing = []
    for effect in effects:
        try:
            effect(tree, given)
        except (AssertionError, KeyError, ValueError) as e:
            missing.append(f"{effect.__name__}: {type(e).__name__} {e}")
    return missing


def test_each_element_has_its_effect_in_one_image(goldsmith, surroundings, tmp_path):
    made = goldsmith("disk-image-create", "-n", "-o", "image", "-t", "raw,tar", *ELEMENTS,
                     env=surroundings, timeout_s=1800, check=True)  # fmt: skip
    with Tree.read(tmp_path / "image.tar") as tree:
        assert what_is_missing(EFFECTS, tree, surroundings) == []
    assert PASSWORD not in made.stdout + made.stderr
    # baremetal
    assert (tmp_path / "image.vmlinuz").read_bytes()[0x202:0x206] == b"HdrS"
    assert (tmp_path / "image.initrd").stat().st_size > 1 << 20
    # block-device-gpt
    table = read_table(tmp_path / "image.raw")
    assert [(one.name, one.type_guid) for one in table.entries] == [
        ("BSP", TYPE_GUIDS["bios-boot"]), ("root", TYPE_GUIDS["data"])
    ]  # fmt: skip
    saved = tmp_path / "image.d/dib-manifests"
    assert '"package": "cloud-init"' in (saved / "dib-manifest-dpkg-image").read_text()


def pip_and_virtualenv(tree, given):
    assert "usr/bin/pip3" in tree
    assert not [name for name in tree.members if name.startswith("root/.cache/pip/")]


def base_and_sysprep(tree, given):
    assert tree.text("etc/machine-id").strip() == "uninitialized"
    assert "usr/sbin/iscsid" in tree or "sbin/iscsid" in tree


@pytest.mark.nightly
def test_an_image_for_uefi_with_the_base_element(goldsmith, surroundings, tmp_path):
    # disable-selinux fails, upstream as well, where nothing has configured SELinux.
    hook = tmp_path / "elements/enforcing/install.d/10-enforcing"
    hook.parent.mkdir(parents=True)
    hook.write_text("#!/bin/sh\nmkdir -p /etc/selinux\n"
                    "echo SELINUX=enforcing > /etc/selinux/config\n")  # fmt: skip
    hook.chmod(0o755)
    words = ("vm", "block-device-efi", "debian-minimal", "pip-and-virtualenv", "enforcing",
             "disable-selinux")  # fmt: skip
    given = {**surroundings, "DIB_INSTALLTYPE_pip_and_virtualenv": "package"}
    goldsmith("disk-image-create", "-o", "image", "-t", "raw,tar", *words, env=given,
              timeout_s=3000, check=True)  # fmt: skip
    with Tree.read(tmp_path / "image.tar") as tree:
        effects = (pip_and_virtualenv, base_and_sysprep)
        assert what_is_missing(effects, tree, given) == []
        assert "LABEL=MKFS_ESP /boot/efi vfat" in tree.text("etc/fstab")
        assert tree.text("etc/selinux/config") == "SELINUX=disabled\n"
    table = read_table(tmp_path / "image.raw")
    assert [(one.name, one.type_guid) for one in table.entries] == [
        ("ESP", TYPE_GUIDS["esp"]), ("BSP", TYPE_GUIDS["bios-boot"]), ("root", TYPE_GUIDS["data"])
    ]  # fmt: skip
    esp = table.entries[0].start_sector * table.sector_bytes
    listed = subprocess.run(
        ["mdir", "-b", "-/", "-i", f"{tmp_path}/image.raw@@{esp}", "::/EFI"], capture_output=True,
        text=True, check=True,
    ).stdout.upper()  # fmt: skip
    assert "BOOTX64.EFI" in listed


@pytest.mark.nightly
def test_a_ramdisk_is_a_kernel_and_an_archive_that_boots_itself(goldsmith, surroundings, tmp_path):
    goldsmith("ramdisk-image-create", "-n", "-o", "ramdisk", "debian-minimal", env=surroundings,
              timeout_s=3000, check=True)  # fmt: skip
    assert (tmp_path / "ramdisk.kernel").read_bytes()[0x202:0x206] == b"HdrS"
    with gzip.open(tmp_path / "ramdisk.initramfs") as packed:
        archive = packed.read()
    for name in (b"init", b"bin/busybox", b"bin/tgtadm"):
        assert name + b"\0" in archive
    assert sorted(path.suffix for path in tmp_path.glob("ramdisk.*")) == [
        ".d", ".initramfs", ".kernel"
    ]  # fmt: skip


def said_from_cd(iso, disk):
    """The last words of a machine with its kernel from a CD: login:, or those of ten minutes."""
    argv = ["qemu-system-x86_64", "-accel", "tcg", "-m", "1024", "-display", "none", "-serial",
            "stdio", "-no-reboot", "-cdrom", iso, "-boot", "d", "-nic", "none", "-snapshot",
            "-drive", f"file={disk},format=raw,if=virtio"]  # fmt: skip
    with subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as machine:
        timer = threading.Timer(600, machine.kill)
        timer.start()
        try:
            said = b""
            while not said.endswith(b"login:") and (byte := machine.stdout.read(1)):
                said = said[-200:] + byte
        finally:
            timer.cancel()
            machine.kill()
    return said.decode(errors="replace")


@pytest.mark.nightly
@pytest.mark.boot
def test_a_bootable_iso_of_an_image_on_a_host_without_vfat(goldsmith, surroundings, tmp_path):
    assert shutil.which("mkisofs"), "needs the package genisoimage"
    # The element names the root by the label of /boot's file system, and there is none here.
    words = "console=ttyS0 root=LABEL=cloudimg-rootfs"
    given = {**surroundings, "DIB_BOOT_ISO_KERNEL_CMDLINE_ARGS": words}
    goldsmith("disk-image-create", "-n", "-o", "image", "-t", "raw", "vm", "debian-minimal",
              "baremetal", "iso", env=given, timeout_s=3000, check=True)  # fmt: skip
    iso = tmp_path / "image-boot.iso"
    read = ["isoinfo", "-R", "-i", iso]
    listed = subprocess.run([*read, "-f"], capture_output=True, text=True, check=True).stdout
    assert {"/vmlinuz", "/initrd", "/isolinux/isolinux.bin", "/EFI/debian/grub.cfg"} <= set(
        listed.split()
    )
    efi = tmp_path / "efiboot.img"
    with efi.open("wb") as stream:
        subprocess.run([*read, "-x", "/isolinux/efiboot.img"], stdout=stream, check=True)
    shown = subprocess.run(["mdir", "-b", "-/", "-i", efi, "::/EFI/BOOT"], capture_output=True,
                           text=True, check=True).stdout.upper()  # fmt: skip
    assert "BOOTX64.EFI" in shown
    assert "GRUBX64.EFI" in shown
    assert said_from_cd(iso, tmp_path / "image.raw").endswith("login:")


def make_deploy_targetcli(directory, package):
    """The element in place of upstream's, which asks for a package and a Python Debian has not."""
    element = directory / "deploy-targetcli"
    for name in ("binary-deps.d", "dracut-drivers.d"):
        shutil.copytree(package / "elements/deploy-targetcli" / name, element / name)
    (element / "element-deps").write_text("package-installs\npkg-map\n")
    (element / "package-installs.yaml").write_text("targetcli:\nnet-tools:\niputils-ping:\n")
    (element / "pkg-map").write_text('{"family": {"debian": {"targetcli": "targetcli-fb"}}}\n')


@pytest.mark.nightly
def test_a_ramdisk_by_dracut(goldsmith, surroundings, tmp_path):
    package = upstream_package()
    assert package is not None
    make_deploy_targetcli(tmp_path / "elements", package)
    # It is fetched on every distribution, and used on Ubuntu alone.
    (tmp_path / "dracut.tar.xz").write_bytes(b"not looked at")
    given = {**surroundings, "DIB_REPOLOCATION_dracut": f"file://{tmp_path}/dracut.tar.xz"}
    goldsmith("ramdisk-image-create", "-n", "-o", "ramdisk", "--ramdisk-element", "dracut-ramdisk",
              "debian-minimal", env=given, timeout_s=3000, check=True)  # fmt: skip
    assert (tmp_path / "ramdisk.kernel").read_bytes()[0x202:0x206] == b"HdrS"
    assert (tmp_path / "ramdisk.initramfs").stat().st_size > 1 << 20
