"""The phases that make a tree, run for real: what hooks see, and what the next phase finds."""

import contextlib
import os
import re
import select
import shlex
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest
from tiny_elements import make_system, write_hook

from goldsmith.elements import source_repositories
from goldsmith.elements.description import Description
from goldsmith.elements.setup import set_up

pytestmark = pytest.mark.root
PATIENCE_S = 120


@pytest.fixture
def image(goldsmith, small_tree, tmp_path):
    """Runs disk-image-create on `tiny-os` and `mine`; `read` opens a file of the tree."""
    directory = tmp_path / "elements"
    make_system(directory, small_tree)
    return Image(goldsmith, directory, tmp_path)


class Image:
    def __init__(self, goldsmith, directory, tmp_path):
        self.goldsmith, self.mine, self.tmp_path = goldsmith, directory / "mine", tmp_path
        self.mine.mkdir()
        self.environment = {
            "ELEMENTS_PATH": str(directory), "HOME": str(tmp_path), "DIB_NO_TIMESTAMP": "1",
        }  # fmt: skip

    def hook(self, place, text):
        write_hook(self.mine, place, text)

    def make(self, *words, check=True, **environment):
        result = self.goldsmith("disk-image-create", *self.words(words), check=check,
                                env={**self.environment, **environment})  # fmt: skip
        return result.stdout + result.stderr

    def words(self, words=()):
        return ["-n", "-t", "tar", "-o", "out", *words, "tiny-os", "mine"]

    @contextlib.contextmanager
    def on_terminal(self, terminal, **environment):
        given = {**os.environ, "GOLDSMITH_CACHE_DIR": str(self.goldsmith.state), "TERM": "dumb",
                 **self.environment, **environment}  # fmt: skip
        with subprocess.Popen(
            [sys.executable, "-P", "-m", "goldsmith", "disk-image-create", *self.words()],
            cwd=self.tmp_path, env=given, stdin=terminal, stdout=terminal, stderr=terminal,
            start_new_session=True,
        ) as running:  # fmt: skip
            try:
                yield running
            finally:
                running.send_signal(signal.SIGTERM)

    def read(self, path):
        with tarfile.open(self.tmp_path / "out.tar") as tar:
            return tar.extractfile(f"./{path}").read().decode()

    def names(self):
        with tarfile.open(self.tmp_path / "out.tar") as tar:
            return set(tar.getnames())


def steps(said):
    """What is told of each step: "cached", or why it ran."""
    told = re.finditer(r"^Running the hooks of (\S+) \((.*)\)$", said, re.M)
    return {match[1]: match[2] for match in told}


def cached(said):
    return [name for name, told in steps(said).items() if told == "cached"]


LOOK_OUTSIDE = """
eval declare -A elements=($(get_image_element_array))
{
  echo "pwd $PWD"; echo "user $(sudo -u root id -u)"
  echo "mine ${elements[mine]}"; echo "target ${TARGET_ROOT:-none}"
  echo "lib $(test -f $_LIB/common-functions && echo there)"
  echo "distro $DISTRO_NAME"; echo "offline [$DIB_OFFLINE]"; echo "args $DIB_ARGS"
} > $TMP_HOOKS_PATH/seen-WHERE
"""
LOOK_INSIDE = """
echo "home $HOME path $PATH tmpdir ${TMPDIR:-none}" > /seen-inside
cat /tmp/in_target.d/seen-* > /seen-outside
touch /tmp/in_target.d/x 2> /dev/null || echo "hooks are read-only" >> /seen-inside
touch /sys/x 2> /dev/null || echo "sys is read-only" >> /seen-inside
test -c /dev/null && test -d /dev/pts && test -r /proc/self/status
test -x /tmp/in_target.d/dib-run-parts
cat /etc/resolv.conf > /seen-resolver
cat /etc/resolv.conf.ORIG >> /seen-resolver
stat -c %a /etc/resolv.conf >> /seen-inside
"""


def test_hooks_see_what_upstream_shows_them(image):
    image.hook("root.d/60-look", LOOK_OUTSIDE.replace("WHERE", "root")
               + 'echo "# own" > "$TARGET_ROOT/etc/resolv.conf"\n')  # fmt: skip
    image.hook("extra-data.d/60-look", LOOK_OUTSIDE.replace("WHERE", "extra"))
    image.hook("install.d/60-look", LOOK_INSIDE)
    image.make(TMPDIR=str(image.tmp_path))
    extra, root = (image.read("seen-outside").split("pwd ")[n].splitlines() for n in (1, 2))
    assert extra == [
        str(image.tmp_path), "user 0", f"mine {image.mine}", "target none", "lib there",
        "distro tiny", "offline []", "args -n -t tar -o out tiny-os mine",
    ]  # fmt: skip
    assert root[3].endswith("/dib_build.goldsmith/mnt")
    assert image.read("seen-inside").splitlines() == [
        "home /root path /usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin tmpdir none",
        "hooks are read-only", "sys is read-only", "777",
    ]  # fmt: skip
    host = Path("/etc/resolv.conf")
    servers = host.read_text() if host.exists() else "nameserver 8.8.8.8\n"
    assert image.read("seen-resolver") == servers + "# own\n"
    assert image.read("etc/resolv.conf") == "# own\n"
    assert not {name for name in image.names() if "in_target" in name or name.endswith(".ORIG")}


def test_a_changed_hook_lets_only_its_phase_and_later_ones_run(image):
    image.hook("pre-install.d/60-mine", "echo pre > /pre")
    image.hook("install.d/60-mine", "echo one > /mine")
    assert cached(image.make()) == []
    phases = ["root.d", "extra-data.d", "pre-install.d", "install.d", "post-install.d",
              "post-root.d"]  # fmt: skip
    assert cached(image.make()) == phases
    image.hook("install.d/60-mine", "echo two > /mine")
    again = image.make()
    assert cached(again) == phases[:3]
    assert steps(again)["install.d"] == "file install.d/60-mine of mine changed"
    assert image.read("mine") == "two\n"
    # A name of outputs is nothing of the tree, a variable that hooks may read is.
    assert cached(image.make("-o", "other")) == phases
    assert "root.d" not in cached(image.make(DIB_MINE="1"))
    assert cached(image.make("--no-cache")) == []


def test_a_phase_finds_the_mounts_and_hooks_that_an_earlier_one_left(image):
    kept = image.tmp_path / "cache/shared"
    image.environment["DIB_IMAGE_CACHE"] = str(image.tmp_path / "cache")
    image.hook("root.d/60-bind", """
mkdir -p $DIB_IMAGE_CACHE/shared $TMP_BUILD_DIR/aside
for name in shared aside memory; do mkdir -p "$TARGET_ROOT/var/cache/$name"; done
sudo mount --bind $DIB_IMAGE_CACHE/shared "$TARGET_ROOT/var/cache/shared"
sudo mount --bind $TMP_BUILD_DIR/aside "$TARGET_ROOT/var/cache/aside"
sudo mount -t tmpfs tmpfs "$TARGET_ROOT/var/cache/memory"
echo aside > $TMP_BUILD_DIR/aside/file
""")  # fmt: skip
    image.hook("extra-data.d/60-made", """
mkdir -p $TMP_HOOKS_PATH/post-install.d
printf '#!/bin/bash\\necho made > /made-by-hook\\n' > $TMP_HOOKS_PATH/post-install.d/70-made
chmod +x $TMP_HOOKS_PATH/post-install.d/70-made
rm $TMP_HOOKS_PATH/install.d/70-gone
""")  # fmt: skip
    image.hook("install.d/70-gone", "touch /gone")
    image.hook("install.d/60-use", "echo 1 > /var/cache/shared/a; cat /var/cache/aside/file > /got")
    image.make()
    assert (kept / "a").read_text() == "1\n"
    assert image.read("got") == "aside\n"
    assert image.read("made-by-hook") == "made\n"
    assert "./gone" not in image.names()
    assert "./var/cache/shared" in image.names()
    assert "./var/cache/shared/a" not in image.names()
    # Where root.d does not run, its mounts are made again, and the directory that was bound too.
    (kept / "a").unlink()
    kept.rmdir()
    image.hook("install.d/60-use", "echo 2 > /var/cache/shared/a; cat /var/cache/aside/file > /got")
    # The hook of extra-data.d names install.d, whose hooks are its inputs for that.
    assert cached(image.make()) == ["root.d"]
    assert (kept / "a").read_text() == "2\n"
    assert image.read("got") == "aside\n"


def test_packages_are_installed_by_the_program_of_the_elements(image):
    image.hook("pre-install.d/60-program", """
printf '#!/bin/bash\\necho "$DISTRO_NAME: $*" > /installed\\n' > /usr/local/bin/install-packages
chmod +x /usr/local/bin/install-packages
""")  # fmt: skip
    image.hook("post-install.d/60-look", "cp /installed /seen")
    image.make("-p", "one,two", "-p", "three")
    assert image.read("seen") == "tiny: one two three\n"
    image.hook("pre-install.d/60-program",
               "printf '#!/bin/bash\\necho no such; exit 9\\n' > /usr/local/bin/install-packages\n"
               "chmod +x /usr/local/bin/install-packages\n")  # fmt: skip
    failed = image.make("-p", "one", check=False)
    assert "install-packages" in failed
    assert "no such" in failed


def test_a_failed_phase_leaves_its_tree_to_be_looked_at(image):
    image.hook("install.d/60-fail", "touch /left-by-the-hook; exit 5")
    failed = image.make(check=False)
    assert "install.d/60-fail of element mine failed with status 5" in failed
    (command,) = re.findall(r"goldsmith shell (.*)$", failed, re.M)
    assert "-at=install.d" in command
    template = " ".join(["disk-image-create", *image.words()])
    looked = image.goldsmith(
        "shell", "-at=install.d", template, "--", "ls", "/left-by-the-hook",
        env=image.environment, check=True,
    )  # fmt: skip
    assert "/left-by-the-hook" in looked.stdout


def test_a_failed_hook_can_be_run_again_by_hand(image):
    image.hook("environment.d/20-mine", "export DIB_OF_SNIPPET=sourced")
    image.hook("install.d/60-fail", 'echo "$DIB_OF_SNIPPET $DIB_GIVEN"; test -e /mended')
    image.environment["DIB_GIVEN"] = "given"
    failed = image.make(check=False)
    (line,) = re.findall(r"is kept: (.* goldsmith shell .*)$", failed, re.M)
    words = shlex.split(line)
    start = words.index("goldsmith")
    given = dict(word.split("=", 1) for word in words[:start])
    assert given["DIB_GIVEN"] == "given"
    assert "FS_TYPE" not in given, "only what was given"
    hook = "/tmp/in_target.d/install.d/60-fail"
    looked = image.goldsmith(
        *words[start + 1 :], "--", "bash", "-c",
        f"{hook}; echo $?; touch /mended; {hook} && echo well", env=given, check=True,
    )  # fmt: skip
    assert looked.stdout.split("\n") == ["sourced given", "1", "sourced given", "well", ""]


def test_so_can_one_of_the_host_whose_tree_is_not_finished(image):
    image.hook("root.d/60-fail", 'touch "$TARGET_ROOT/half"; test -e "$TARGET_ROOT/mended"')
    failed = image.make(check=False)
    (command,) = re.findall(r"goldsmith shell (.*)$", failed, re.M)
    assert "-at=root.d -outside " in command
    script = '"$TMP_HOOKS_PATH/root.d/60-fail"; echo $?; ls "$TMP_MOUNT_PATH/half"; pwd'
    looked = image.goldsmith("shell", *shlex.split(command), "--", "bash", "-c", script,
                             env=image.environment, check=True)  # fmt: skip
    status, half, directory = looked.stdout.split()
    assert status == "1"
    assert half.endswith("/mnt/half")
    assert directory == str(image.goldsmith.directory)


def test_in_a_tree_without_bash_the_way_beside_it_is_told(image):
    image.hook("root.d/05-fail", "exit 3")
    failed = image.make(check=False)
    (command,) = re.findall(r"goldsmith shell (.*)$", failed, re.M)
    words = [word for word in shlex.split(command) if word != "-outside"]
    looked = image.goldsmith("shell", *words, "--", "true", env=image.environment, check=False)
    assert looked.status == 1
    assert "the tree has no bash\n  -> -outside opens a shell beside it" in looked.stderr


def test_hooks_that_call_die_fail(image):
    image.hook("install.d/60-die", 'true && die "this cannot be"')
    failed = image.make(check=False)
    assert "install.d/60-die of element mine failed with status 1; it said last:" in failed
    assert "this cannot be" in failed


def test_a_shell_is_opened_on_the_terminal_where_break_asks(image):
    image.hook("install.d/60-look", "cp /from-the-shell /seen")
    master, slave = os.openpty()
    try:
        with image.on_terminal(slave, **{"break": "before-install"}) as running:
            said = _until(master, b"At stage before-install", b"")
            said = _until(master, b"# ", said.rpartition(b"At stage")[2])
            os.write(master, b"echo $((40 + 2)) > /from-the-shell; echo began-$((1 + 2)); "
                     b"sleep 1000 & wait\r")  # fmt: skip
            # The echo of the line is not enough: an interrupt would throw the line away.
            said = _until(master, b"began-3", b"")
            # Reaches what runs in the shell, and not the build.
            os.write(master, b"\x03")
            said = _until(master, b"# ", b"")
            os.write(master, b"echo still-$((1 + 1)); exit\r")
            said = _until(master, b"Resuming", b"")
            assert b"still-2" in said
            said = _until(master, b"Build completed successfully", said)
            assert running.wait(PATIENCE_S) == 0
    finally:
        os.close(slave)
        os.close(master)
    assert image.read("seen") == "42\n"


def test_without_a_terminal_another_program_can_run_at_a_break(image):
    image.hook("install.d/60-look", "cat /kept > /seen")
    told = image.make(**{"break": "before-install", "break_cmd": "bash -c 'echo kept > /kept'"})
    assert "At stage before-install" in told
    assert image.read("seen") == "kept\n"
    image.hook("install.d/60-look", "exit 3")
    told = image.make(check=False, **{"break": "after-error", "break_cmd": "bash -c 'echo here'"})
    assert "At stage after-error" in told
    look = {"break": "after-error", "break_cmd": "bash -c 'ls -d $TMP_MOUNT_PATH/etc'"}
    told = image.make(check=False, **look)
    assert "/mnt/etc\n" not in told.partition("At stage after-error\n")[2], "it is the tree itself"
    told = image.make(check=False, break_outside_target="1", **look)
    assert "/mnt/etc\n" in told.partition("At stage after-error\n")[2]
    told = image.make(check=False, **{"break": "before-install,after-install"})
    assert "break=before-install: there is no terminal to open a shell on" in told
    told = image.make(check=False, **{"break": "before-nothing"})
    assert "break=before-nothing: there is no such place" in told


def test_repositories_count_by_the_commits_of_their_refs(tmp_path):
    def git(*words):
        subprocess.run(["git", "-c", "user.name=x", "-c", "user.email=x@example.org", *words],
                       cwd=tmp_path / "repository", check=True, capture_output=True)  # fmt: skip

    (tmp_path / "repository").mkdir()
    git("init", "-q", "-b", "main")
    git("commit", "-q", "--allow-empty", "-m", "one")
    element = tmp_path / "elements/mine"
    element.mkdir(parents=True)
    (element / "element-provides").write_text("operating-system\n")
    (element / "source-repository-mine").write_text("mine git /opt/mine $WHERE ${REF:-main}\n")
    (tmp_path / "elements/mine/root.d").mkdir()
    environment = {"ELEMENTS_PATH": str(tmp_path / "elements")}
    description = Description(elements=("mine",), environment=environment)
    setup = set_up(description)
    told = {"WHERE": str(tmp_path / "repository"), "PATH": os.environ["PATH"]}

    def state():
        return source_repositories.states(setup, told)["file:source repository mine"]

    first = state()
    assert first.startswith(f"git /opt/mine {tmp_path}/repository main ")
    assert state() == first
    git("commit", "-q", "--allow-empty", "-m", "two")
    assert state() != first


def _until(master, wanted, said):
    """Read a terminal until something was written to it."""
    deadline_s = time.monotonic() + PATIENCE_S
    while wanted not in said:
        assert time.monotonic() < deadline_s, said.decode(errors="replace")
        if select.select([master], [], [], 1)[0]:
            said += os.read(master, 1 << 16)
    return said
