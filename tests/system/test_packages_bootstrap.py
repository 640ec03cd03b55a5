"""Real trees from the host's APT sources: what is left in them, and every way to fail."""

from __future__ import annotations

import os
import socket
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from goldsmith.builders.image.kept_initramfs import UNCHANGED, make_initramfs
from goldsmith.core.kept_files import KeptFiles
from goldsmith.core.step import TreeContext
from goldsmith.core.step_cache import StepCache
from goldsmith.events import Emitter, Said
from goldsmith.host.process import Completed, run, tool_environment
from goldsmith.layers.content import measure, scan
from goldsmith.layers.store import Store
from goldsmith.packages.apt_request import AptRequest
from goldsmith.packages.apt_settings import AptSettings, read_apt_settings
from goldsmith.packages.apt_sources import AptSource
from goldsmith.packages.bootstrap import bootstrap_apt
from goldsmith.packages.build_files import DPKG_FILE, SETTINGS_FILE, read_build_sources
from goldsmith.packages.errors import PackageError
from goldsmith.packages.finish import SOURCES_FILE, FinishPlan, finish_tree
from goldsmith.packages.initramfs import (
    DIVERTED,
    STUB,
    STUB_CONTENT,
    divert_update_initramfs,
    generate,
    installed_kernels,
)
from goldsmith.packages.installed import installed_names, os_release
from goldsmith.packages.keyrings import DEBIAN_KEYRING
from goldsmith.packages.mirrors import sources_for
from goldsmith.packages.ssh_host_keys import UNIT_NAME
from goldsmith.packages.unpack import bootstrap_directory, bootstrap_tar

pytestmark = [pytest.mark.root, pytest.mark.network]

SUITE = os_release(Path("/")).get("VERSION_CODENAME", "")
PACKAGES = ("linux-image-cloud-amd64", "systemd-sysv", "openssh-server", "busybox")


def silent(level: str, text: str) -> None:
    """For builds whose reports are not looked at."""


def request(*packages: str, sources: Sequence[AptSource] = ()) -> AptRequest:
    chosen = tuple(sources) or tuple(sources_for(SUITE, ""))
    settings = read_apt_settings()
    quick = replace(settings, options={**settings.options, "Acquire::Retries": "0"})
    return AptRequest(SUITE, packages, chosen, quick, variant="apt")


def in_tree(tree: Path) -> Callable[..., Completed]:
    def run_in_tree(
        argv: Sequence[str], *, env: Mapping[str, str] | None = None, input: bytes | None = None
    ) -> Completed:
        confine = ["unshare", "--mount", "--pid", "--fork", "--kill-child",
                   f"--mount-proc={tree}/proc", "chroot", str(tree)]  # fmt: skip
        environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", **(env or {})}
        return run([*confine, *argv], env=environment, input=input, capture=True, check=False)

    return run_in_tree


class Built:
    """A tree, and what was told while it was made."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.reports: list[tuple[str, str]] = []
        bootstrap_apt(path, request(*PACKAGES), scratch=path.parent,
                      emit=lambda *told: self.reports.append(told))  # fmt: skip


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    return Built(tmp_path_factory.mktemp("bootstrap") / "tree")


@pytest.fixture
def copy(built: Built, tmp_path: Path) -> Path:
    bootstrap_directory(tmp_path / "copy", built.path, emit=silent)
    return tmp_path / "copy"


def test_what_is_installed_and_told(built: Built) -> None:
    names = installed_names(built.path)
    assert {*PACKAGES, "zstd", "apt", "initramfs-tools", "debian-archive-keyring"} <= names
    messages = [text for level, text in built.reports if level == "message"]
    assert messages == [
        "Reading the package lists",
        "Downloading the essential packages",
        "Extracting the essential packages",
        "Installing the essential packages",
        "Installing the other packages",
    ]


def test_nothing_of_mmdebstrap_or_of_the_host_is_left(built: Built) -> None:
    tree = built.path
    assert list(tree.rglob("*mmdebstrap*")) == []
    assert list(tree.glob("var/cache/apt/**/*.deb")) == []
    for path in ("etc/resolv.conf", "etc/hostname", "usr/sbin/policy-rc.d"):
        assert not (tree / path).exists(), path
    assert list((tree / "etc/ssh").glob("ssh_host_*")) == []
    assert os.listdir(tree / "tmp") == []
    assert (tree / "etc/machine-id").read_bytes() == b""
    assert str(tree) not in Path("/proc/self/mountinfo").read_text()


def test_our_files_serve_the_next_steps(built: Built) -> None:
    tree = built.path
    assert [s.uris for s in read_build_sources(tree)] == [s.uris for s in sources_for(SUITE, "")]
    assert (tree / SETTINGS_FILE[1:]).read_text().startswith("Acquire::")
    assert (tree / DPKG_FILE[1:]).exists()
    done = in_tree(tree)(["apt-get", "--simulate", "install", "hello"])
    assert done.status == 0, done.tail
    assert "Inst hello" in done.text


def test_the_initramfs_waits(built: Built) -> None:
    tree = built.path
    assert (tree / STUB[1:]).read_bytes() == STUB_CONTENT
    assert (tree / DIVERTED[1:]).stat().st_size > 1000
    assert list((tree / "boot").glob("initrd*")) == []
    assert len(installed_kernels(tree)) == 1
    assert os.readlink(tree / "initrd.img").startswith("boot/initrd.img-")


def test_the_initramfs_is_made_once_and_repeats(copy: Path) -> None:
    (first,) = generate(copy, in_tree(copy), source_date_epoch=1_700_000_000)
    assert first.compression == "zstd"
    initrd = copy / first.path[1:]
    content = initrd.read_bytes()
    assert not (copy / DIVERTED[1:]).exists()
    assert in_tree(copy)(["dpkg", "--verify", "initramfs-tools"]).text == ""
    assert divert_update_initramfs(copy, in_tree(copy))
    assert (copy / STUB[1:]).read_bytes() == STUB_CONTENT
    generate(copy, in_tree(copy), source_date_epoch=1_700_000_000)
    assert initrd.read_bytes() == content
    assert (copy / "initrd.img").resolve().name == initrd.name


def test_an_earlier_initramfs_gives_the_same_tree(copy: Path, tmp_path: Path) -> None:
    epoch_s, told = int(time.time()), list[str]()
    second = tmp_path / "second"
    bootstrap_directory(second, copy, emit=silent)

    def finish(tree: Path) -> None:
        emitter = Emitter("", lambda event: told.append(event.text) if isinstance(event, Said)
                          else None)  # fmt: skip
        cache = StepCache(Store.open(tmp_path / "store"))
        nothing: Any = None
        make_initramfs(TreeContext(
            emitter=emitter, scratch=tmp_path, epoch_s=epoch_s, tree=tree, communicator=nothing,
            run_in_tree=in_tree(tree), run_tool=nothing, environment={},
            kept=KeptFiles(cache, emitter, {}, "finish"),
        ))  # fmt: skip

    def shape(tree: Path) -> dict[bytes, tuple[object, ...]]:
        found = scan(tree)
        measured = measure(tree, found, {})
        return {one.path: (one.status.st_mode, one.status.st_uid, one.status.st_gid,
                           min(one.status.st_mtime_ns, epoch_s * 10**9), *measured[one.path])
                for one in found}  # fmt: skip

    finish(copy)
    (second / "etc/motd").write_text("changed")
    (second / "srv/file").write_text("new")
    finish(second)
    assert told == ["Making the initramfs: never built", UNCHANGED]
    first, again = shape(copy), shape(second)
    differ = {path for path in first.keys() | again.keys() if first.get(path) != again.get(path)}
    assert differ <= {b"etc/motd", b"srv", b"srv/file", b"var/lib/dpkg/diversions-old"}
    assert [path for path in again if path.startswith(b"boot/initrd.img-")]


def test_without_zstd_it_fails_and_says_so(copy: Path) -> None:
    (copy / "usr/bin/zstd").unlink()
    with pytest.raises(PackageError, match="compressed with gzip"):
        generate(copy, in_tree(copy), source_date_epoch=1)


def test_a_finished_tree(copy: Path) -> None:
    plan = FinishPlan(apt_sources=tuple(sources_for(SUITE, "file:///nowhere")[:1]))
    in_tree(copy)(["ssh-keygen", "-A"])
    assert list((copy / "etc/ssh").glob("ssh_host_*"))
    generate(copy, in_tree(copy), source_date_epoch=1)
    assert finish_tree(copy, plan) == ()
    traces = {path.name for path in copy.rglob("*goldsmith*")}
    assert traces == {UNIT_NAME}
    assert DEBIAN_KEYRING in (copy / SOURCES_FILE[1:]).read_text()
    assert list((copy / "etc/ssh").glob("ssh_host_*")) == []
    for folder in ("dev", "run", "tmp"):
        assert os.listdir(copy / folder) == []
    assert os.listdir(copy / "var/lib/apt/lists") == ["partial"]
    assert "goldsmith" not in (copy / "var/lib/dpkg/diversions").read_text()
    assert in_tree(copy)(["dpkg", "--audit"]).text == ""
    verify = ["systemd-analyze", "--man=no", "verify", UNIT_NAME, "ssh.socket", "ssh.service"]
    told = in_tree(copy)(verify).tail
    assert not [line for line in told if UNIT_NAME in line or "cycle" in line], told


def test_an_archive_of_it_gives_the_same_tree(built: Built, tmp_path: Path) -> None:
    os.setxattr(built.path / "etc/fstab", "user.note", b"kept")
    archive = tmp_path / "a:b.tar"
    run(["tar", "--create", "--force-local", f"--file={archive}", "--xattrs", "--acls",
         "--numeric-owner", f"--directory={built.path}", "."])  # fmt: skip
    bootstrap_tar(tmp_path / "tree", archive, emit=silent)
    assert os.getxattr(tmp_path / "tree/etc/fstab", "user.note") == b"kept"
    assert listing(tmp_path / "tree") == listing(built.path)


def listing(tree: Path) -> str:
    """Every path with type, mode, owner, size, device numbers and link."""
    found = run(["find", ".", "(", "-type", "d", "-printf", "%p %m %U:%G\n", ")", "-o",
                 "-printf", "%p %y %m %U:%G %s %l %t\n"], cwd=tree, capture=True)  # fmt: skip
    return "\n".join(sorted(found.text.splitlines()))


@pytest.mark.parametrize("name", ["../evil", "/abs/../../evil", "usr/../../evil"])
def test_an_archive_cannot_write_outside(tmp_path: Path, name: str) -> None:
    (tmp_path / "work/deep").mkdir(parents=True)
    (tmp_path / "work/deep/f").write_text("x")
    archive = tmp_path / "evil.tar"
    run(["tar", "-cPf", archive, f"--transform=s|^f$|{name}|", "-C", tmp_path / "work/deep", "f"])
    with pytest.raises(PackageError, match="cannot be unpacked"):
        bootstrap_tar(tmp_path / "work/target", archive, emit=silent)
    assert not list(tmp_path.rglob("evil"))


def test_links_in_an_archive_lead_nowhere(tmp_path: Path) -> None:
    """A link out of the tree, then a file through it: neither may touch the host."""
    (tmp_path / "outside").mkdir()
    for part, make in (("a", True), ("b", False)):
        folder = tmp_path / part
        (folder / "etc").mkdir(parents=True)
        if make:
            (folder / "etc/door").symlink_to(tmp_path / "outside")
        else:
            (folder / "etc/door").mkdir()
            (folder / "etc/door/evil").write_text("x")
    archive = tmp_path / "links.tar"
    run(["tar", "-cf", archive, "-C", tmp_path / "a", "etc", "-C", tmp_path / "b", "etc/door/evil"])
    try:
        bootstrap_tar(tmp_path / "target", archive, emit=silent)
    except PackageError as e:
        assert "etc/door" in e.message
    assert os.listdir(tmp_path / "outside") == []


def test_broken_and_foreign_archives(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no archive" * 200)
    with pytest.raises(PackageError, match="does not look like a tar archive") as caught:
        bootstrap_tar(tmp_path / "t1", tmp_path / "text", emit=silent)
    assert "damaged" in str(caught.value.hint)
    (tmp_path / "in/rootfs/usr").mkdir(parents=True)
    run(["tar", "-czf", tmp_path / "folder.tgz", "-C", tmp_path / "in", "."])
    with pytest.raises(PackageError, match="not a root file system") as caught:
        bootstrap_tar(tmp_path / "t2", tmp_path / "folder.tgz", emit=silent)
    assert "rootfs" in str(caught.value.hint)
    with pytest.raises(PackageError, match="there is no archive"):
        bootstrap_tar(tmp_path / "t3", tmp_path / "none", emit=silent)


def test_directories_that_cannot_be_copied(tmp_path: Path) -> None:
    (tmp_path / "tree/usr").mkdir(parents=True)
    with pytest.raises(PackageError, match="into itself"):
        bootstrap_directory(tmp_path / "tree/copy", tmp_path / "tree", emit=silent)
    with pytest.raises(PackageError, match="running host"):
        bootstrap_directory(tmp_path / "copy", Path("/"), emit=silent)
    with pytest.raises(PackageError, match="no directory"):
        bootstrap_directory(tmp_path / "copy", tmp_path / "none", emit=silent)


def test_unknown_packages(tmp_path: Path) -> None:
    told: list[str] = []
    with pytest.raises(PackageError, match="Unable to locate package no-such-a") as caught:
        bootstrap_apt(tmp_path / "tree", request("sudo", "no-such-a", "no-such-b"),
                      emit=lambda _, text: told.append(text), scratch=tmp_path)  # fmt: skip
    assert "no-such-b" in caught.value.message
    assert "spelling" in str(caught.value.hint)
    assert "Installing the essential packages" not in told


def test_unknown_suite(tmp_path: Path) -> None:
    wrong = [replace(source, suites=("no-such-suite",)) for source in sources_for(SUITE, "")[:1]]
    with pytest.raises(PackageError, match=r"no such suite\nE: The repository .* no-such-suite"):
        bootstrap_apt(tmp_path / "tree", request(sources=wrong), emit=silent, scratch=tmp_path)


def test_unreachable_mirror(tmp_path: Path) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    closed = AptSource(("deb",), (f"http://127.0.0.1:{port}/debian",), ("x",), ("main",))
    wanted = replace(request(sources=[closed]), settings=AptSettings({
        "Acquire::Retries": "0", "Acquire::http::Proxy": "DIRECT"}))  # fmt: skip
    with pytest.raises(PackageError, match="a mirror cannot be reached\nE: Failed to fetch"):
        bootstrap_apt(tmp_path / "tree", wanted, emit=silent, scratch=tmp_path)


def unsigned_repository(folder: Path) -> AptSource:
    architecture = run(["dpkg", "--print-architecture"], capture=True).text.strip()
    index = folder / f"dists/x/main/binary-{architecture}/Packages"
    index.parent.mkdir(parents=True)
    index.write_bytes(b"")
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    (folder / "dists/x/Release").write_text(
        f"Suite: x\nCodename: x\nComponents: main\nArchitectures: {architecture}\n"
        f"Date: Mon, 01 Jan 2024 00:00:00 UTC\n"
        f"SHA256:\n {empty} 0 main/binary-{architecture}/Packages\n"
    )
    return AptSource(("deb",), (f"file://{folder}",), ("x",), ("main",), DEBIAN_KEYRING)


def test_an_unsigned_repository_is_refused(tmp_path: Path) -> None:
    source = unsigned_repository(tmp_path / "repo")
    with pytest.raises(PackageError, match=r"signature cannot be verified\n.*is not signed"):
        bootstrap_apt(tmp_path / "a", request(sources=[source]), emit=silent, scratch=tmp_path)
    # That the host does without is no reason for an image to do so.
    lax = replace(source, options={"trusted": "yes", "allow-insecure": "yes"})
    with pytest.raises(PackageError, match="is not signed"):
        bootstrap_apt(tmp_path / "b", request(sources=[lax]), emit=silent, scratch=tmp_path)
    # Asked for, it is taken, and fails later: there is nothing in it.
    with pytest.raises(PackageError) as caught:
        bootstrap_apt(tmp_path / "c", replace(request("sudo", sources=[source]), trusted=True),
                      emit=silent, scratch=tmp_path)  # fmt: skip
    assert "not signed" not in caught.value.message


def test_a_wrong_key_is_refused(tmp_path: Path) -> None:
    removed = "/usr/share/keyrings/debian-archive-removed-keys.gpg"
    sources = [replace(source, signed_by=removed) for source in sources_for(SUITE, "")[:1]]
    with pytest.raises(PackageError, match="signature cannot be verified") as caught:
        bootstrap_apt(tmp_path / "tree", request(sources=sources), emit=silent, scratch=tmp_path)
    assert "Signed-By" in str(caught.value.hint)


def test_reading_the_settings_makes_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is killed meanwhile would leave it."""
    with_a_directory = read_apt_settings()
    monkeypatch.setenv("TMPDIR", "/dev/null/none")
    monkeypatch.setattr(tempfile, "tempdir", "/dev/null/none")
    assert read_apt_settings() == with_a_directory


def test_settings_of_another_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("https_proxy", "http://u:from-environment@p.example.invalid")
    folder = tmp_path / "etc/apt"
    (folder / "apt.conf.d").mkdir(parents=True)
    (folder / "auth.conf.d").mkdir()
    (tmp_path / "ca.pem").write_bytes(b"certificate")
    (folder / "apt.conf.d/50site").write_text(
        'Acquire::http::Proxy "http://u:from-file@p.example.invalid";\n'
        f'Acquire {{ Retries "7"; https::CaInfo "{tmp_path}/ca.pem"; }};\n'
    )
    (folder / "auth.conf.d/a.conf").write_text("machine a login b password from-netrc\n")
    settings = read_apt_settings(tmp_path)
    assert settings.secrets == {"from-environment", "from-file", "from-netrc"}
    assert settings.options["Acquire::Retries"] == "7"
    assert settings.ca_bundle == b"certificate"
    assert settings.netrc_paths == (str(folder / "auth.conf.d/a.conf"),)
    (tmp_path / "check").write_text(settings.bootstrap_text())
    read_back = run(["apt-config", "dump"], capture=True,
                    env=tool_environment(APT_CONFIG=str(tmp_path / "check"))).text  # fmt: skip
    assert f'Dir::Etc::netrcparts "{folder}/auth.conf.d"' in read_back
