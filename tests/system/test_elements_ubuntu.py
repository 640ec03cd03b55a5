"""`disk-image-create vm ubuntu-minimal`, upstream's element unchanged, from end to end.

A small archive under an Ubuntu suite's name is served on loopback, made of Debian's packages. The
image is built once for all tests of this file; each of them looks at what one phase has left.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
from collections import Counter

import pytest
from probe_element import PHASES, PKG_MAP, RECORDS, write_probe
from signed_repository import signing
from ubuntu_suite import COMPONENTS, KERNEL, KERNEL_OF_DEBIAN, SUITE, UPDATED, ubuntu_suite

from goldsmith.elements.catalog import upstream_package
from goldsmith.host.process import find_tool
from goldsmith.packages.deb822 import paragraphs

pytestmark = [pytest.mark.root, pytest.mark.network]

SECRET = "never-to-be-shown"


class Image:
    """What a build has left: its log and its files."""

    def __init__(self, directory, log, archive):
        self.directory, self.log, self.archive = directory, log, archive
        self.tar = tarfile.open(directory / "noble.tar")  # noqa: SIM115 - closed by the fixture
        self.names = {name.removeprefix("./") for name in self.tar.getnames()}

    def text(self, path):
        return self.tar.extractfile(f"./{path}").read().decode()

    def record(self, name):
        return self.text(f"{RECORDS}/{name}")

    @property
    def packages(self):
        """Package by name: its version."""
        records = paragraphs(self.text("var/lib/dpkg/status"))
        return {one["package"]: one["version"] for one in records
                if one["status"] == "install ok installed"}  # fmt: skip


def create(directory, archive, state, *words, **more):
    """Run the command; returns what subprocess says."""
    keys = directory / "keys"
    keys.mkdir(parents=True)
    shutil.copy(archive.key, keys / "test-archive.gpg")
    write_probe(directory / "elements")
    environment = {
        "PATH": os.environ["PATH"], "HOME": str(directory), "USER": "root",
        "TMPDIR": os.environ["TMPDIR"], "GOLDSMITH_CACHE_DIR": str(state),
        "ELEMENTS_PATH": str(directory / "elements"), "DIB_RELEASE": SUITE,
        "DIB_DISTRIBUTION_MIRROR": archive.mirror, "DIB_ADD_APT_KEYS": str(keys),
        "DIB_MMDEBSTRAP_EXTRA_ARGS": f"--keyring={keys}/test-archive.gpg",
        "DIB_INSTALLTYPE_named_tool": "package", "DIB_PROBE_PASSWORD": SECRET, **more,
    }  # fmt: skip
    return subprocess.run(
        [sys.executable, "-P", "-m", "goldsmith", "disk-image-create", "-t", "tar,qcow2", "-o",
         "noble", *words, "vm", "ubuntu-minimal", "probe"],
        cwd=directory, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, errors="replace", check=False, timeout=1500,
    )  # fmt: skip


@pytest.fixture(scope="module")
def archive(tmp_path_factory, own_places):
    folder = tmp_path_factory.mktemp("archive")
    # APT fetches as a user of its own.
    folder.chmod(0o755)
    with signing(folder / "gpg") as signer:
        with ubuntu_suite(folder / "suite", signer, own_places / "cache/packages") as served:
            yield served


@pytest.fixture(scope="module")
def image(archive, tmp_path_factory, own_places):
    directory = tmp_path_factory.mktemp("ubuntu")
    done = create(directory, archive, own_places / "cache")
    assert done.returncode == 0, done.stdout[-6000:]
    built = Image(directory, done.stdout, archive)
    yield built
    built.tar.close()
    # Half a gigabyte that the next tests would otherwise have beside theirs.
    for name in ("noble.tar", "noble.qcow2"):
        (directory / name).unlink()


def test_upstream_s_element_is_used_as_it_is(image):
    (trees,) = re.findall(r"^IMAGE_ELEMENT_YAML=(.*)$", image.record("environment"), re.MULTILINE)
    elements = upstream_package() / "elements"
    assert json.loads(trees)["ubuntu-minimal"] == str(elements / "ubuntu-minimal")


def test_every_phase_has_run_in_its_order(image):
    assert image.record("phases").split() == list(PHASES)


def test_root_has_made_the_tree_from_the_suites(image):
    lines = image.text("etc/apt/sources.list").splitlines()
    suites = [SUITE, *(f"{SUITE}-{name}" for name in ("updates", "security", "backports"))]
    words = " ".join(COMPONENTS)
    assert lines == [f"deb {image.archive.mirror} {suite} {words}" for suite in suites]
    assert {"apt", "tzdata", "systemd-sysv", "busybox", "sudo", "python3"} <= set(image.packages)
    assert "etc/apt/trusted.gpg.d/test-archive.gpg" in image.names


def test_the_suite_for_updates_counts(image):
    assert image.packages[UPDATED].endswith("+update1")


def test_01_copy_apt_keys(image):
    key = image.tar.extractfile(f"./{RECORDS}/apt_keys/test-archive.gpg").read()
    assert key == image.archive.key.read_bytes()


def test_10_create_pkg_map_dir(image):
    assert image.text("usr/share/pkg-map/probe") == PKG_MAP
    elements = upstream_package() / "elements"
    for name in ("base", "bootloader"):
        assert image.text(f"usr/share/pkg-map/{name}") == (elements / name / "pkg-map").read_text()


def test_20_manifest_dir(image):
    assert image.record("manifests") == "/etc/dib-manifests\n"


def test_50_store_build_settings(image):
    settings = image.record("build-settings")
    assert f'declare -x DIB_RELEASE="{SUITE}"\n' in settings
    assert f'declare -x DIB_DISTRIBUTION_MIRROR="{image.archive.mirror}"\n' in settings
    assert 'declare -x PROBE_OF_ENVIRONMENT="sourced"\n' in settings
    assert "# DIB_PROBE_PASSWORD is left out" in settings
    assert SECRET not in settings
    names = re.findall(r"^(?:declare -x |# )(\w+)", settings, re.MULTILINE)
    assert names == sorted(names)


def test_99_enable_install_types(image):
    assert image.record("install-types").splitlines() == [
        "60-named-tool named-tool-package-install/60-named-tool",
        "61-other-tool other-tool-source-install/61-other-tool",
    ]
    assert image.record("installed") == "named-tool package\nother-tool source\n"


def test_99_squash_package_install(image):
    planned = json.loads(image.record("package-installs.json"))
    assert planned.keys() == {"pre-install.d", "install.d"}
    assert not any(actions.get("uninstall") for actions in planned.values())
    assert sorted(planned["pre-install.d"]["install"]) == [
        ["lsb-release", "debootstrap"], ["netbase", "probe"],
    ]  # fmt: skip
    assert sorted(planned["install.d"]["install"]) == [
        ["adduser", "debootstrap"], ["ca-certificates", "debootstrap"],
        ["cloud-initramfs-growroot", "debootstrap"], ["initramfs-tools", "ubuntu-minimal"],
        [KERNEL, "ubuntu-minimal"], ["locales", "debootstrap"], ["pager", "probe"],
    ]  # fmt: skip


def test_pre_install_has_put_the_programs_of_elements_into_the_image(image):
    for name in ("install-packages", "pkg-map", "package-installs-v2", "dib-init-system"):
        assert image.tar.getmember(f"./usr/local/bin/{name}").mode & 0o111
    assert 'Install-Recommends "0"' in image.text("etc/apt/apt.conf.d/95disable-recommends")


def test_install_has_installed_what_elements_ask_for(image):
    packages = image.packages
    assert {KERNEL, KERNEL_OF_DEBIAN, "initramfs-tools", "less", "open-iscsi"} <= set(packages)
    assert "use_tempaddr=0" in image.text("etc/sysctl.d/99-cloudimg-ipv6.conf")


def test_the_initramfs_is_made_once_and_nothing_of_that_stays(image):
    assert image.log.count("Making the initramfs of ") <= 1
    assert "the initramfs is made once" in image.log
    (kernel,) = {name for name in image.names if name.startswith("boot/vmlinuz-")}
    initrd = image.tar.extractfile(f"./boot/initrd.img-{kernel.removeprefix('boot/vmlinuz-')}")
    assert b"\x28\xb5\x2f\xfd" in initrd.read()[: 8 << 20]
    assert "zstd" not in image.packages
    assert not image.names & {"usr/bin/zstd", "usr/sbin/update-initramfs.goldsmith"}
    assert "goldsmith" not in image.text("usr/sbin/update-initramfs")
    assert "initramfs.goldsmith" not in image.text("var/lib/dpkg/diversions")


def test_every_index_is_fetched_once(image):
    fetched = [path for path, status in image.archive.asked
               if status == 200 and f"/dists/{SUITE}/" in path and "/Packages" in path]  # fmt: skip
    assert fetched
    assert max(Counter(fetched).values()) == 1


def test_post_install_has_removed_what_nothing_needs(image):
    assert "dib-run-parts Running /tmp/in_target.d/post-install.d/99-autoremove" in image.log


def test_finalise_has_made_it_bootable(image):
    config = image.text("boot/grub/grub.cfg")
    assert "root=LABEL=cloudimg-rootfs" in config
    assert "grub-pc" in image.packages
    assert image.text("etc/machine-id") == "uninitialized\n"
    manifest = json.loads(image.text("etc/dib-manifests/dib-manifest-dpkg-noble"))
    named = {entry["package"].partition(":")[0]: entry["version"]
             for entry in manifest["packages"] if entry["status"] == "ii "}  # fmt: skip
    assert named == image.packages


def test_cleanup_has_taken_away_what_only_the_build_needed(image):
    assert not image.names & {
        "usr/sbin/policy-rc.d", "usr/sbin/start-stop-daemon.REAL", "etc/resolv.conf.ORIG",
        "etc/dpkg/dpkg.cfg.d/02apt-speedup", "tmp/package-installs.json", "tmp/apt_keys",
    }  # fmt: skip
    saved = image.directory / "noble.d/dib-manifests"
    assert sorted(path.name for path in saved.iterdir()) == [
        "dib-manifest-dpkg-noble", "dib_arguments", "dib_environment",
    ]  # fmt: skip
    assert "ubuntu-minimal" in (saved / "dib_arguments").read_text()
    assert SECRET not in (saved / "dib_environment").read_text()
    assert SECRET not in image.log


def test_a_suite_that_nobody_trusts_is_refused(archive, tmp_path, own_places):
    tmp_path.chmod(0o755)
    # With keys, but none that the archive is signed with.
    with signing(tmp_path / "gpg") as other:
        done = create(tmp_path, archive, own_places / "cache",
                      DIB_MMDEBSTRAP_EXTRA_ARGS=f"--keyring={other.key}")  # fmt: skip
    assert done.returncode == 1
    assert "NO_PUBKEY" in done.stdout or "not signed" in done.stdout
    assert "08-debootstrap" in done.stdout
    assert not list(tmp_path.glob("noble*"))


@pytest.mark.boot
@pytest.mark.nightly
def test_the_image_boots(image, goldsmith):
    if find_tool("qemu-system-x86_64") is None:
        pytest.fail("needs qemu-system-x86_64")
    goldsmith(
        "boot", image.directory / "noble.qcow2", "--timeout", "10m", timeout_s=900, check=True
    )
