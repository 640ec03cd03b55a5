"""The programs that hooks find first: sudo as scripts call it, mmdebstrap's way to the real one."""

import os
import pwd
import subprocess
from pathlib import Path

import pytest

import goldsmith.elements

PROGRAMS = Path(goldsmith.elements.__file__).parent / "programs"
SUDO = PROGRAMS / "host/sudo"
SYSTEM_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
NOBODY = pwd.getpwnam("nobody")

pytestmark = pytest.mark.root


def run(program, *words, **environment):
    return subprocess.run(
        [program, *words], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
        env={"PATH": SYSTEM_PATH, "HOME": "/root", **environment},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["echo", "-n", "a  b"], "a  b"),
        (["-E", "printenv", "MINE"], "mine\n"),
        (["printenv", "MINE"], "mine\n"),
        (["A=1", "B=x y", "sh", "-c", "echo $A $B"], "1 x y\n"),
        (["--", "A=1", "printenv", "A"], "1\n"),
        (["-nEH", "A=1", "printenv", "A"], "1\n"),
        (["--preserve-env", "printenv", "MINE"], "mine\n"),
        (["--preserve-env=MINE,TMPDIR", "printenv", "TMPDIR"], "/mine\n"),
        (["-E", "printenv", "TMPDIR"], "/mine\n"),
        (["-n", "-k", "-S", "-A", "-p", "?", "printenv", "MINE"], "mine\n"),
        (["-u", "root", "id", "-u"], "0\n"),
        (["-u", "nobody", "id", "-u"], f"{NOBODY.pw_uid}\n"),
        (["-unobody", "printenv", "HOME"], f"{NOBODY.pw_dir}\n"),
        (["-Hu", "nobody", "id", "-un"], "nobody\n"),
        (["--user=nobody", "id", "-u"], f"{NOBODY.pw_uid}\n"),
        (["--user", "nobody", "--group", "daemon", "id", "-gn"], "daemon\n"),
        (["-u", "#12345", "id", "-u"], "12345\n"),
        (["-g", "daemon", "id", "-gn"], "daemon\n"),
        (["-D", "/usr", "pwd"], "/usr\n"),
        (["sh", "-c", 'echo "$1"', "sh", "-u"], "-u\n"),
        (["-v"], ""),
    ],
)
def test_sudo_takes_what_scripts_give_it(words, said):
    done = run(SUDO, *words, MINE="mine", TMPDIR="/mine")
    assert (done.returncode, done.stdout, done.stderr) == (0, said, "")


def test_sudo_hides_a_directory_of_the_host_from_programs_in_a_tree():
    assert run(SUDO, "printenv", "TMPDIR", TMPDIR="/mine").returncode == 1


def test_sudo_hands_on_exported_functions():
    function = {"BASH_FUNC_die%%": "() { echo died; }"}
    assert run(SUDO, "-E", "bash", "-c", "die", **function).stdout == "died\n"


@pytest.mark.parametrize("status", [1, 7, 100])
def test_sudo_returns_the_status_of_the_program(status):
    assert run(SUDO, "sh", "-c", f"exit {status}").returncode == status


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["-i"], "starts a shell"),
        (["-s", "ls"], "starts a shell"),
        (["--login", "ls"], "starts a shell"),
        (["-Z", "ls"], "option -Z is not known"),
        (["--chroot=/", "ls"], "option --chroot=/ is not known"),
        (["-u"], "requires a value"),
        (["-u", "nosuch-user", "ls"], "unknown user nosuch-user"),
        (["nosuch-program"], "nosuch-program: command not found"),
        (["PATH=/nowhere", "ls"], "ls: command not found"),
        ([], "no program to run"),
        (["-E"], "no program to run"),
    ],
)
def test_sudo_says_what_it_refuses(words, reason):
    done = run(SUDO, *words)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("sudo: ")
    assert reason in done.stderr


def test_sudo_says_that_it_needs_root():
    done = run("setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "bash", SUDO, "ls")
    assert done.returncode == 1
    assert "run as root, and this is nobody" in done.stderr


@pytest.mark.parametrize("path", sorted(PROGRAMS.glob("*/*")), ids=lambda path: path.name)
def test_every_program_can_be_run(path):
    assert os.access(path, os.X_OK)
    assert path.read_text().startswith("#!")


@pytest.fixture
def real_mmdebstrap(tmp_path):
    program = tmp_path / "bin/mmdebstrap"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\necho "real: $*"\nexit 3\n')
    program.chmod(0o755)
    return str(program.parent)


def test_a_call_that_is_not_understood_goes_to_the_real_mmdebstrap(real_mmdebstrap, goldsmith):
    own = PROGRAMS / "quick"
    path = f"{own}:{real_mmdebstrap}:{SYSTEM_PATH}"
    done = run(own / "mmdebstrap", "--variant=minbase", "--hook-dir=/x y", "suite", PATH=path)
    assert (done.returncode, done.stdout) == (3, "real: --variant=minbase --hook-dir=/x y suite\n")


def test_without_the_real_mmdebstrap_it_says_what_to_install(tmp_path):
    for name in ("bash", "env", "readlink"):
        (tmp_path / name).symlink_to(f"/usr/bin/{name}")
    own = PROGRAMS / "quick"
    done = run(own / "mmdebstrap", "--help", PATH=f"{own}:{tmp_path}")
    assert done.returncode == 127
    assert "apt-get install mmdebstrap" in done.stderr


@pytest.fixture
def partitioned(tmp_path):
    file = tmp_path / "image.raw"
    with file.open("wb") as image:
        image.truncate(16 << 20)
    layout = "label: gpt\nsize=4MiB, type=U, name=one\nsize=8MiB, name=two\n"
    subprocess.run(["sfdisk", "--quiet", file], input=layout, text=True, check=True)
    yield file
    run(PROGRAMS / "host/kpartx", "-d", file)


@pytest.mark.skipif("device-mapper" in Path("/proc/misc").read_text(), reason="has device-mapper")
def test_kpartx_shows_the_partitions_of_a_file_where_device_mapper_would(partitioned):
    done = run(PROGRAMS / "host/kpartx", "-av", partitioned)
    assert done.returncode == 0, done.stderr
    first, second = (line.removeprefix("add map ") for line in done.stdout.splitlines())
    link = Path("/dev/mapper", first)
    assert link.is_block_device()
    asked = ["blkid", "-p", "-o", "value", "-s", "PART_ENTRY_TYPE", link]
    kind = subprocess.run(asked, check=True, capture_output=True, text=True).stdout
    assert kind.strip() == "c12a7328-f81f-11d2-ba4b-00a0c93ec93b"
    # What upstream's block devices call where there is no /.dockerenv.
    again = run(PROGRAMS / "host/kpartx", "-uvs", f"/dev/{first.rpartition('p')[0]}")
    assert again.stdout == done.stdout
    assert run(PROGRAMS / "host/kpartx", "-d", partitioned).returncode == 0
    assert not link.is_symlink()
    assert not Path("/dev/mapper", second).is_symlink()


@pytest.mark.parametrize("words", [[], ["-a"], ["-l", "/dev/null"], ["-a", "/nosuch"]])
def test_kpartx_says_what_it_refuses(words):
    done = run(PROGRAMS / "host/kpartx", *words)
    assert done.returncode == 1
    assert done.stderr.startswith("kpartx: ")


@pytest.mark.skipif("device-mapper" in Path("/proc/misc").read_text(), reason="has device-mapper")
def test_dmsetup_has_no_nodes_to_make_and_does_nothing_else():
    assert run(PROGRAMS / "host/dmsetup", "--noudevsync", "mknodes").returncode == 0
    done = run(PROGRAMS / "host/dmsetup", "ls")
    assert (done.returncode, done.stderr) == (1, "dmsetup: this kernel has no device-mapper\n")
