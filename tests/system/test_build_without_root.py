"""Builds of an ordinary user: what needs no root, and images in a user namespace."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ordinary_user import OrdinaryUser, ordinary_user
from small_image import ROOT_PARTITION, Project, shell

pytestmark = pytest.mark.root

EPOCH_S = "1700000000"
CAPABILITY = bytes.fromhex("0100000200040000000000000000000000000000")


@pytest.fixture(scope="session")
def user(own_places: Path) -> Iterator[OrdinaryUser]:
    with ordinary_user(own_places / "home") as made:
        yield made


@pytest.fixture
def place(user: OrdinaryUser, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A directory of the user's own."""
    path = user.directory(f"test-{abs(hash(request.node.name))}")
    yield path
    shutil.rmtree(path)


def acl(*entries: tuple[int, int, int]) -> bytes:
    """An access list as the kernel keeps it: version 2, then tag, permissions, id; acl(5)."""
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


@pytest.fixture(scope="session")
def rich_tree(small_tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small tree with all that a copy may lose: owners, capabilities, ACLs, links, holes."""
    top = tmp_path_factory.mktemp("rich-tree")
    tree = top / "tree"
    tree.mkdir()
    subprocess.run(["tar", "-xpf", small_tree, "-C", tree], check=True)
    extra = tree / "srv/extra"
    extra.mkdir()
    for name in ("owned", "capable", "listed", "first", "setuid"):
        (extra / name).write_text(name)
    os.chown(extra / "owned", 1000, 65534)
    os.setxattr(extra / "capable", "security.capability", CAPABILITY)
    nobody = 0xFFFFFFFF
    os.setxattr(
        extra / "listed", "system.posix_acl_access",
        acl((1, 6, nobody), (2, 4, 1000), (4, 4, nobody), (0x10, 4, nobody), (0x20, 0, nobody)),
    )  # fmt: skip
    os.link(extra / "first", extra / "second")
    (extra / "setuid").chmod(0o4755)
    os.symlink("first", extra / "link")
    os.lchown(extra / "link", 33, 33)
    os.mkfifo(extra / "fifo")
    with (extra / "sparse").open("wb") as file:
        file.truncate(8 << 20)
        file.seek(4 << 20)
        file.write(b"in the middle")
    os.mknod(tree / "dev/null", 0o666 | 0o020000, os.makedev(1, 3))
    archive = top / "tree.tar"
    subprocess.run(
        ["tar", "-C", tree, "--xattrs", "--xattrs-include=*", "--acls", "--numeric-owner",
         "--sort=name", "-cf", archive, "."], check=True,
    )  # fmt: skip
    shutil.rmtree(tree)
    return archive


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def given_to(user: OrdinaryUser, place: Path, archive: Path) -> Path:
    """A copy of a file that the user can read."""
    copy = place / archive.name
    shutil.copy(archive, copy)
    os.chown(copy, user.uid, user.uid)
    return copy


PROVISIONERS = shell(
    "id -u; id -G; ls -l /dev/null",
    "echo more >> /srv/extra/second",
    "cat /srv/extra/first",
    "mkdir /opt/new && chown 33:42 /opt/new && chmod 0700 /opt/new && echo x > /opt/new/file",
    "mv /opt/new /opt/moved",
    "rm -r /mnt",
    "echo null > /dev/null",
    "ls /sys/class > /dev/null",
) + shell("chmod 0711 /srv", "ln /srv/extra/owned /srv/extra/also", "rm /srv/extra/second")


def test_without_root_an_image_has_the_bytes_that_root_gives_it(
    user: OrdinaryUser, place: Path, tmp_path: Path, goldsmith, rich_tree: Path
) -> None:
    root = Project(tmp_path, rich_tree, goldsmith)
    root.write(PROVISIONERS)
    root.built(env={"SOURCE_DATE_EPOCH": EPOCH_S})
    by_overlays = sha256(root.image())
    root.built("-force", env={"SOURCE_DATE_EPOCH": EPOCH_S, "GOLDSMITH_TREES": "plain"})
    assert sha256(root.image()) == by_overlays

    own = Project(place, given_to(user, place, rich_tree), goldsmith)
    own.write(PROVISIONERS)
    done = user.run("build", "t.pkr.hcl", cwd=place, SOURCE_DATE_EPOCH=EPOCH_S)
    assert done.returncode == 0, done.stdout
    assert sha256(own.image()) == by_overlays
    # In the tree he is root, and of no group that only this host knows.
    assert [line.split()[-1] for line in done.stdout.splitlines()
            if line.startswith("==> image.small: 0")] == ["0", "0"]  # fmt: skip
    assert {os.lstat(path).st_uid for path in (own.output, *own.output.iterdir())} == {user.uid}
    assert user.runs() == [".lock"]
    assert user.processes() == []


def test_what_a_copy_of_the_tree_may_lose_is_in_the_image(
    user: OrdinaryUser, place: Path, goldsmith, rich_tree: Path
) -> None:
    own = Project(place, given_to(user, place, rich_tree), goldsmith)
    own.write(shell("true"))
    done = user.run("build", "t.pkr.hcl", cwd=place)
    assert done.returncode == 0, done.stdout

    def look(top: Path) -> None:
        extra = top / "srv/extra"
        assert os.getxattr(extra / "capable", "security.capability") == CAPABILITY
        assert b"\x02\x00\x04\x00\xe8\x03" in os.getxattr(
            extra / "listed", "system.posix_acl_access"
        )
        assert os.lstat(extra / "owned").st_uid == 1000
        assert os.lstat(extra / "owned").st_gid == 65534
        assert os.lstat(extra / "link").st_uid == 33
        assert os.lstat(extra / "setuid").st_mode & 0o7777 == 0o4755
        assert os.lstat(extra / "first").st_ino == os.lstat(extra / "second").st_ino
        assert os.lstat(extra / "sparse").st_blocks * 512 < 1 << 20
        assert os.lstat(top / "etc/passwd").st_uid == 0
        assert os.listdir(top / "dev") == []

    own.look(look)


def test_a_tree_of_own_files_is_roots_and_one_of_others_is_refused(
    user: OrdinaryUser, place: Path, goldsmith, small_tree: Path
) -> None:
    tree = place / "tree"
    tree.mkdir()
    os.chown(tree, user.uid, user.uid)
    unpacked = subprocess.run(
        user.words("tar", "--no-same-owner", "-xpf", given_to(user, place, small_tree), "-C", tree,
                   env={}), check=False, capture_output=True,
    )  # fmt: skip
    assert unpacked.returncode == 0, unpacked.stderr
    own = Project(place, small_tree, goldsmith)
    text = own.write(shell("true"), tree=tree).replace('"tar"', '"directory"')
    (place / "t.pkr.hcl").write_text(text)
    done = user.run("build", "t.pkr.hcl", cwd=place)
    assert done.returncode == 0, done.stdout
    assert own.look(lambda top: os.lstat(top / "etc/passwd").st_uid) == 0

    os.chown(tree / "etc/passwd", 0, 0)
    done = user.run("build", "-force", "t.pkr.hcl", cwd=place)
    assert done.returncode == 1
    assert f"{tree}/etc/passwd belongs to another user" in done.stdout
    assert "Bootstrapping" not in done.stdout and "Taking the tree" not in done.stdout


def test_device_nodes_are_left_out_of_dev_and_told_of_elsewhere(
    user: OrdinaryUser, place: Path, goldsmith, small_tree: Path
) -> None:
    tree = place / "tree"
    tree.mkdir()
    subprocess.run(["tar", "-xpf", small_tree, "-C", tree], check=True)
    own = Project(place, place / "devices.tar", goldsmith)
    own.write()

    def build() -> subprocess.CompletedProcess[str]:
        subprocess.run(["tar", "-C", tree, "-cf", own.tree, "."], check=True)
        return user.run("build", "-force", "t.pkr.hcl", cwd=place)

    os.mknod(tree / "dev/null", 0o020666, os.makedev(1, 3))
    done = build()
    assert done.returncode == 0, done.stdout
    os.mknod(tree / "srv/null", 0o020666, os.makedev(1, 3))
    done = build()
    assert done.returncode == 1, done.stdout
    assert "srv/null: Cannot mknod" in done.stdout
    assert "only root makes device nodes" in done.stdout
    shutil.rmtree(tree)


def test_each_try_of_a_provisioner_starts_from_the_tree_before_it(
    user: OrdinaryUser, place: Path, goldsmith, small_tree: Path
) -> None:
    own = Project(place, given_to(user, place, small_tree), goldsmith)
    own.write(
        shell("echo before > /before")
        + shell("ls /before; [ ! -e /left ] && echo fresh; echo x > /left; exit 1",
                more="    max_retries = 2")
    )  # fmt: skip
    done = user.run("build", "t.pkr.hcl", cwd=place)
    assert done.returncode == 1, done.stdout
    assert done.stdout.count("image.small: fresh") == 3
    assert done.stdout.count("image.small: /before") == 3
    assert user.runs() == [".lock"]
    assert not own.output.exists()


def test_what_a_killed_build_leaves_clean_removes(
    user: OrdinaryUser, place: Path, goldsmith, small_tree: Path
) -> None:
    own = Project(place, given_to(user, place, small_tree), goldsmith)
    # A directory in which its owner alone may remove anything, and a stubborn daemon.
    own.write(shell(
        "mkdir /opt/own && echo x > /opt/own/file && chown -R 33:33 /opt/own && chmod 700 /opt/own",
        "(setsid sh -c \"trap '' TERM HUP; sleep 300\" &); echo waiting; sleep 300",
    ))  # fmt: skip
    with subprocess.Popen(
        user.goldsmith("build", "t.pkr.hcl"), cwd=place, stdin=subprocess.DEVNULL, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, errors="replace",
    ) as running:  # fmt: skip
        assert running.stdout is not None
        seen = ""
        for line in running.stdout:
            seen += line
            if "image.small: waiting" in line:
                break
        assert "image.small: waiting" in seen, seen
        wait_until(lambda: any("sleep 300" in line for line in user.processes()), "nothing sleeps")
        running.send_signal(signal.SIGKILL)
    wait_until(lambda: not user.processes(), "processes outlive a killed build")
    (left,) = [name for name in user.runs() if name != ".lock"]
    cleaned = user.run("clean", cwd=place)
    assert cleaned.returncode == 0, cleaned.stdout
    assert left in cleaned.stdout
    assert user.runs() == [".lock"]
    assert not own.output.exists() or not list(own.output.iterdir())


def test_files_of_subordinate_ids_are_removed(user: OrdinaryUser, place: Path) -> None:
    """The user's own rm cannot: they are somebody else's, in a directory of somebody else."""
    top = place / "run"
    closed = top / "tree/closed"
    closed.mkdir(parents=True)
    (closed / "file").write_text("")
    for path in (closed / "file", closed):
        os.chown(path, user.first_subordinate + 33, user.first_subordinate + 33)
    closed.chmod(0o700)
    for path in (top / "tree", top):
        os.chown(path, user.uid, user.uid)
    plain = subprocess.run(user.words("rm", "-rf", top, env={}), check=False, capture_output=True)
    assert plain.returncode != 0
    assert closed.exists()
    code = (
        "import sys, pathlib, goldsmith.host.journal as j; j.remove_tree(pathlib.Path(sys.argv[1]))"
    )
    done = subprocess.run(user.python("-c", code, str(top)), check=False, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert not top.exists()


def test_an_interrupted_build_cleans_up_by_itself(
    user: OrdinaryUser, place: Path, goldsmith, small_tree: Path
) -> None:
    own = Project(place, given_to(user, place, small_tree), goldsmith)
    own.write(shell("mkdir -m 700 /opt/own; chown 33 /opt/own; echo waiting; sleep 300"))
    with subprocess.Popen(
        user.goldsmith("build", "t.pkr.hcl"), cwd=place, stdin=subprocess.DEVNULL, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, errors="replace",
    ) as running:  # fmt: skip
        assert running.stdout is not None
        for line in running.stdout:
            if "image.small: waiting" in line:
                break
        running.send_signal(signal.SIGINT)
        rest = running.stdout.read()
    assert running.returncode == 1, rest
    assert "Cleanly cancelled builds after being interrupted." in rest
    assert user.runs() == [".lock"]
    assert user.processes() == []


def test_builds_that_own_nothing_of_the_kernel_ask_for_nothing(
    user: OrdinaryUser, place: Path
) -> None:
    (place / "t.pkr.hcl").write_text(
        'source "null" "n" {\n  communicator = "none"\n}\n'
        'source "file" "f" {\n  content = "words"\n  target = "made.txt"\n}\n'
        'build {\n  sources = ["null.n"]\n'
        '  provisioner "shell-local" {\n    inline = ["id -u"]\n  }\n}\n'
        'build {\n  sources = ["file.f"]\n}\n'
    )
    for verb in ("validate", "build"):
        done = user.run(verb, "t.pkr.hcl", cwd=place)
        assert done.returncode == 0, done.stdout
    assert f"null.n: {user.uid}" in done.stdout
    assert (place / "made.txt").read_text() == "words"
    assert (place / "made.txt").stat().st_uid == user.uid


def test_without_subordinate_ids_the_remedy_is_told_and_nothing_begun(
    user: OrdinaryUser, place: Path, goldsmith, small_tree: Path
) -> None:
    own = Project(place, given_to(user, place, small_tree), goldsmith)
    own.write()
    last = user.first_subordinate + 65535
    ids = f"{user.first_subordinate}-{last}"
    subprocess.run(["usermod", f"--del-subuids={ids}", user.name], check=True)
    try:
        assert user.run("validate", "t.pkr.hcl", cwd=place).returncode == 0
        done = user.run("build", "t.pkr.hcl", cwd=place)
        looked = user.run("doctor", cwd=place)
    finally:
        subprocess.run(["usermod", f"--add-subuids={ids}", user.name], check=True)
    assert done.returncode == 1
    assert "/etc/subuid" in done.stdout and "usermod --add-subuids" in done.stdout
    assert user.runs() in ([], [".lock"])
    assert looked.returncode == 6
    assert "usermod --add-subuids" in looked.stdout
    found = user.run("doctor", cwd=place).stdout
    assert f"{user.name} can be root of one" in found


@pytest.mark.network
def test_a_debian_image_has_the_bytes_that_root_gives_it(
    user: OrdinaryUser, place: Path, tmp_path: Path, goldsmith
) -> None:
    """iputils-ping brings a capability, cron a directory of another group and setgid programs."""
    text = (
        'source "image" "small" {\n  bootstrap {\n    method = "apt"\n    suite = "bookworm"\n'
        '    packages = ["iputils-ping", "cron"]\n  }\n'
        f'  disk {{\n{ROOT_PARTITION}  }}\n  firmware = []\n  formats = ["raw"]\n}}\n'
        'build {\n  sources = ["source.image.small"]\n' + shell("useradd -m ops") + "}\n"
    )
    root = Project(tmp_path, tmp_path, goldsmith)
    own = Project(place, tmp_path, goldsmith)
    for project in (root, own):
        (project.path / "t.pkr.hcl").write_text(text)
    root.built(env={"SOURCE_DATE_EPOCH": EPOCH_S})
    done = user.run("build", "t.pkr.hcl", cwd=place, SOURCE_DATE_EPOCH=EPOCH_S)
    assert done.returncode == 0, done.stdout
    # APT fetched as a user of its own, whom the home directory keeps out.
    assert "unsandboxed" not in done.stdout
    assert sha256(own.image()) == sha256(root.image())
    assert user.runs() == [".lock"]


def wait_until(true: Callable[[], object], what: str, limit_s: float = 60.0) -> None:
    """Poll a condition; the kernel needs some milliseconds to end a namespace."""
    deadline_s = time.monotonic() + limit_s
    while not true():
        assert time.monotonic() < deadline_s, what
        time.sleep(0.02)


def test_the_source_chroot_says_that_it_takes_root(user: OrdinaryUser, place: Path) -> None:
    (place / "old.raw").write_bytes(bytes(1 << 20))
    (place / "t.pkr.hcl").write_text(
        'source "chroot" "c" {\n  source = "old.raw"\n}\nbuild {\n  sources = ["chroot.c"]\n}\n'
    )
    done = subprocess.run(user.goldsmith("build", "t.pkr.hcl"), cwd=place, capture_output=True,
                          text=True, check=False)  # fmt: skip
    assert done.returncode == 1
    assert "mounting the file systems of an image (the source chroot) needs root" in (
        done.stdout + done.stderr
    )
    assert "as root (sudo)" in done.stdout + done.stderr
    assert not (place / "output").exists()
