"""A Debian from packages: what its image says, and what of the build is not in it."""

from __future__ import annotations

import re
import stat
import subprocess
from pathlib import Path

import pytest
from small_image import ROOT_PARTITION, Project, look_into, shell

pytestmark = [pytest.mark.root, pytest.mark.network]

TEMPLATE = """source "image" "small" {
  bootstrap {
    method   = "apt"
    suite    = "%s"
    packages = ["openssh-server", "systemd-sysv", "initramfs-tools"]
  }
  disk {
%s  }
  firmware = []
  hostname = "golden.example.org"
  formats  = ["raw"]
}
build {
  sources = ["source.image.small"]
%s}
"""

IN_BETWEEN = (
    "test -x /usr/sbin/policy-rc.d",
    "update-initramfs -u -k all",
    "test -z \"$(find /etc/ssh -name 'ssh_host_*')\"",
    "apt-get -q update",
    "apt-get -q install -y --no-install-recommends hello",
    "touch /tmp/left /run/left",
)


class Debian:
    """The built project, what was printed, and looks into its image."""

    def __init__(self, project, result):
        self.project = project
        self.result = result
        self.manifest = project.manifest()
        (self.partition,) = self.manifest["disk"]["partitions"]

    def look(self, body):
        return look_into(self.project.image(), self.partition["offset_bytes"], body)


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """Where the one build of all these tests is kept, and its directory."""
    return {"path": tmp_path_factory.mktemp("debian")}


@pytest.fixture
def debian(kept, goldsmith, own_places):
    if "build" not in kept:
        release = Path("/etc/os-release").read_text()
        suite = re.search(r"^VERSION_CODENAME=(\w+)", release, re.MULTILINE).group(1)
        project = Project(kept["path"], Path("unused"), goldsmith)
        text = TEMPLATE % (suite, ROOT_PARTITION, shell(*IN_BETWEEN))
        (project.path / "t.pkr.hcl").write_text(text)
        # pytest's own directories are closed to the user as whom APT fetches.
        project.state = own_places / "cache"
        kept["build"] = Debian(project, project.built())
    return kept["build"]


def test_identity(debian):
    def body(root):
        return [(root / "etc" / name).read_text() for name in ("hostname", "hosts", "machine-id")]

    hostname, hosts, machine_id = debian.look(body)
    assert hostname == "golden.example.org\n"
    assert re.search(r"^127\.0\.1\.1\s+golden\.example\.org golden$", hosts, re.MULTILINE)
    assert machine_id == ""


def test_fstab_names_the_file_system(debian):
    fstab = debian.look(lambda root: (root / "etc/fstab").read_text())
    (line,) = [line.split() for line in fstab.splitlines() if line and line[0] != "#"]
    assert line[:3] == [f"UUID={debian.partition['filesystem_uuid']}", "/", "ext4"]
    assert line[4:] == ["0", "1"]
    told = subprocess.run(
        ["blkid", "--probe", "--output", "value", "--match-tag", "UUID",
         f"--offset={debian.partition['offset_bytes']}", debian.project.image()],
        check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    assert told.strip() == debian.partition["filesystem_uuid"]


def test_the_file_system_is_sound(debian):
    where = f"{debian.project.image()}?offset={debian.partition['offset_bytes']}"
    done = subprocess.run(["e2fsck", "-fn", where], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_nothing_of_the_build_is_left(debian):
    def body(root):
        present = ["usr/sbin/policy-rc.d", "usr/sbin/update-initramfs.goldsmith",
                   "etc/resolv.conf", "var/log/dpkg.log", "etc/passwd-"]  # fmt: skip
        folders = ["var/lib/apt/lists", "var/cache/apt/archives", "tmp", "run", "dev"]
        return (
            [name for name in present if (root / name).is_symlink() or (root / name).exists()],
            {name: [p.name for p in (root / name).iterdir()
                    if p.name not in ("partial", "lock", "auxfiles")] for name in folders},
            [p.name for p in (root / "etc/ssh").glob("ssh_host_*")],
            [str(p.relative_to(root)) for p in root.rglob("*goldsmith*")],
        )  # fmt: skip

    present, folders, keys, named = debian.look(body)
    assert present == []
    assert {name: files for name, files in folders.items() if files} == {}
    assert keys == []
    assert [path for path in named if not path.startswith(("etc/systemd", "usr/lib/systemd"))] == []


def test_update_initramfs_is_the_real_one(debian):
    assert "is made once, when the image is finished" in debian.result.stdout

    def body(root):
        path = root / "usr/sbin/update-initramfs"
        return path.read_text(), stat.S_IMODE(path.stat().st_mode), (
            root / "var/lib/dpkg/diversions").read_text()  # fmt: skip

    text, mode, diversions = debian.look(body)
    assert "mkinitramfs" in text
    assert mode == 0o755
    assert "update-initramfs" not in diversions


def test_the_mirror_of_this_host_is_not_in_the_image(debian):
    listed = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(REPO_URI)"],
        check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    hosts = set(re.findall(r"^\w+://(?:[^@/]*@)?([^/:]+)", listed, re.MULTILINE))
    assert hosts
    proxies = subprocess.run(
        ["apt-config", "dump", "--format", "%f %v%n", "Acquire"],
        check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    hosts |= set(re.findall(r"(?i)proxy\S* \w+://(?:[^@/]*@)?([^/:]+)", proxies))

    def body(root):
        files = [p for p in (root / "etc/apt").rglob("*") if p.is_file()]
        return {str(p.relative_to(root)): p.read_bytes() for p in files}

    found = debian.look(body)
    active = {name: [line for line in data.splitlines() if not line.lstrip().startswith(b"#")]
              for name, data in found.items() if not name.endswith((".gpg", ".asc"))}  # fmt: skip
    for name, lines in active.items():
        for host in hosts:
            assert host.encode() not in b"\n".join(lines), name
    assert "the image has no APT sources" in debian.result.stdout


def test_the_manifest_lists_what_is_installed(debian):
    versions = {p["name"]: p["version"] for p in debian.manifest["packages"]}
    assert {"openssh-server", "systemd-sysv", "initramfs-tools", "hello", "apt"} <= set(versions)

    def body(root):
        argv = ["dpkg-query", f"--admindir={root}/var/lib/dpkg", "--show",
                "--showformat=${db:Status-Abbrev}\t${Package}\t${Version}\n"]  # fmt: skip
        return subprocess.run(argv, check=True, capture_output=True, text=True).stdout

    lines = (line.split("\t") for line in debian.look(body).splitlines())
    assert versions == {name: version for status, name, version in lines if status[1] == "i"}
    assert debian.manifest["os_release"]["ID"] == "debian"
    assert set(debian.manifest["files"]) == {"small.raw"}


def test_apt_fetched_as_a_user_of_its_own(debian):
    assert "unsandboxed" not in debian.result.stdout + debian.result.stderr
