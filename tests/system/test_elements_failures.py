"""What goes wrong while an image of elements is made: it is told plainly, and nothing is left."""

import os
import shlex
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from tiny_elements import PHASES, make_system, write_hook

pytestmark = pytest.mark.root

ALL_PHASES = ("root.d", *PHASES[:5], "block-device.d", *PHASES[5:])
LIMIT_S = 120.0


@pytest.fixture
def elements(tmp_path, small_tree):
    directory = tmp_path / "elements"
    make_system(directory, small_tree)
    (directory / "mine").mkdir()
    return directory


@pytest.fixture
def create(goldsmith, elements, tmp_path):
    """Runs disk-image-create with our elements; its hooks keep what they fetch in tmp_path."""

    def run(*words, check=False, **given):
        return goldsmith("disk-image-create", "-n", "-o", "out/x", *words, check=check,
                         env=surroundings(elements, tmp_path, **given))  # fmt: skip

    return run


def surroundings(elements, tmp_path, **given):
    return {"ELEMENTS_PATH": str(elements), "DIB_NO_TIMESTAMP": "1", "HOME": str(tmp_path),
            **given}  # fmt: skip


def outputs(tmp_path):
    out = tmp_path / "out"
    return sorted(os.listdir(out)) if out.is_dir() else []


def test_a_hook_that_fails_in_each_phase_is_named_and_nothing_is_left(
    create, goldsmith, elements, tmp_path
):
    environment = surroundings(elements, tmp_path)
    for phase in ALL_PHASES:
        write_hook(elements / "mine", f"{phase}/60-fail",
                   f"seq 30; echo this is {phase}; echo and its error >&2; exit 7")  # fmt: skip
        failed = create("-t", "raw", "tiny-os", "mine")
        assert failed.status == 1, failed
        told = failed.stdout + failed.stderr
        assert f"{phase}/60-fail of element mine failed with status 7; it said last:" in told
        last = told.rpartition("it said last:")[2]
        assert f"\nthis is {phase}\nand its error\n" in last
        assert last.count("\n") < 26, "the last lines, not all"
        assert "Traceback" not in told
        assert outputs(tmp_path) == []
        (line,) = [one for one in told.splitlines() if "goldsmith shell " in one] or [""]
        if phase in ("extra-data.d", "post-install.d", "finalise.d"):
            words = shlex.split(line.partition("goldsmith shell ")[2])
            shown = goldsmith(
                "shell", *words, "--", "cat", "/phases", env=environment, check=True
            ).stdout.split()
            # What came before it is there; the final file system is thrown away.
            reached = ALL_PHASES[1 : ALL_PHASES.index(phase) + 1]
            assert shown == [one for one in reached if one in PHASES[:5]]
        shutil.rmtree(elements / "mine" / phase)
    made = create("-t", "raw", "tiny-os", "mine", check=True)
    assert "Running hooks from" not in made.stdout.partition("Making the image")[0]
    assert outputs(tmp_path) == ["x.raw"]


def test_a_snippet_that_fails_is_named(create, elements):
    (elements / "mine/environment.d").mkdir()
    (elements / "mine/environment.d/20-bad").write_text("echo here >&2\necho $NOSUCH\n")
    failed = create("tiny-os", "mine")
    assert failed.status == 1
    told = failed.stdout + failed.stderr
    assert "environment.d/20-bad of element mine failed with status 1" in told
    assert "NOSUCH: unbound variable" in told


def test_secrets_that_only_a_snippet_makes_are_in_no_line(create, elements, tmp_path):
    (elements / "mine/environment.d").mkdir()
    text = "export DIB_DEV_USER_PASSWORD=made-$(echo by)-me\n"
    (elements / "mine/environment.d/20-user").write_text(text)
    for phase in ("root.d", "install.d", "finalise.d"):
        write_hook(elements / "mine", f"{phase}/60-use", 'echo "with $DIB_DEV_USER_PASSWORD"')
    made = create("-t", "raw", "tiny-os", "mine", check=True)
    assert made.stdout.count("with <sensitive>") == 3
    write_hook(elements / "mine", "finalise.d/60-use", 'echo "$DIB_DEV_USER_PASSWORD"; exit 3')
    failed = create("-t", "raw", "tiny-os", "mine", "--logfile", str(tmp_path / "log"))
    (elements / "mine/environment.d/20-user").write_text(f"{text}exit 4\n")
    ended = create("-t", "raw", "tiny-os", "mine")
    assert (failed.status, ended.status) == (1, 1)
    for one in (made, failed, ended):
        assert "made-by-me" not in one.stdout + one.stderr
    assert "made-by-me" not in (tmp_path / "log").read_text()


def test_an_operating_system_that_makes_no_tree_is_told_of(create, elements):
    (elements / "empty").mkdir()
    (elements / "empty/element-provides").write_text("operating-system\n")
    write_hook(elements / "empty", "root.d/10-nothing", 'mkdir "$TARGET_ROOT/tmp"')
    failed = create("empty")
    assert failed.status == 1
    assert "Failed to deploy the root element" in failed.stdout + failed.stderr


def element(elements, name, *, deps=(), provides=(), hook=""):
    place = elements / name
    place.mkdir(exist_ok=True)
    (place / "element-deps").write_text("".join(f"{one}\n" for one in deps))
    (place / "element-provides").write_text("".join(f"{one}\n" for one in provides))
    if hook:
        write_hook(place, hook, "true")


def test_elements_that_cannot_be_together_are_refused_before_anything_is_made(
    create, elements, tmp_path
):
    element(elements, "a", hook="install.d/10-same")
    element(elements, "b", hook="install.d/10-same")
    element(elements, "wants", deps=["tiny-oss"])
    element(elements, "provides-x", provides=["x"])
    element(elements, "x-too", provides=["x"])
    element(elements, "x")
    cases = (
        (["tiny-os", "a", "b"], "duplicated hook in your elements: /install.d/10-same (a and b)"),
        (["tiny-os", "nosuch"], "Element 'nosuch' not found"),
        (["tiny-os", "wants"], "Element 'tiny-oss', which wants depends on, not found"),
        (["a"], "Please include an operating system element"),
        ([], "At least one distribution root element must be specified"),
        (["tiny-os", "provides-x", "x-too"], "x: already provided by [provides-x], and by x-too"),
        (["tiny-os", "provides-x", "x"], "x: already provided by [provides-x]"),
        (["tiny-os", "debian-minimal"], "operating-system: already provided by"),
    )
    for words, told in cases:
        failed = create(*words)
        assert failed.status == 1, failed
        assert told in failed.stdout + failed.stderr
        assert "Running" not in failed.stdout
        assert "Traceback" not in failed.stderr
    assert outputs(tmp_path) == []


def test_elements_that_need_each_other_are_fine(create, elements, tmp_path):
    element(elements, "a", deps=["b"], hook="install.d/10-a")
    element(elements, "b", deps=["a", "tiny-os"], hook="install.d/20-b")
    create("-t", "tar", "a", check=True)
    assert outputs(tmp_path) == ["x.tar"]


GOOD = """
- local_loop: {name: image0}
- partitioning:
    base: image0
    label: mbr
    partitions:
      - name: root
        size: 100%
        flags: [primary]
        mkfs:
          name: mkfs_root
          mount: {mount_point: /}
"""
VOLUMES = """
- local_loop: {name: image0, size: 4GiB}
- partitioning:
    base: image0
    label: mbr
    partitions:
      - {name: one, size: 1GiB, flags: [primary]}
      - {name: two, size: 100%, flags: [primary]}
- lvm:
    name: lvm
    pvs: [{name: pv1, base: one}, {name: pv2, base: two}]
    vgs: [{name: vg, base: [pv1, pv2]}]
    lvs: [{name: root, base: vg, size: 2GiB}]
- mkfs: {name: mkfs_root, base: root, type: ext4, mount: {mount_point: /}}
"""
THIN = "[{name: pool, base: vg, size: 1GiB, type: thin-pool}, {name: root, base: vg, size: 2GiB, "
BAD = (
    (GOOD, VOLUMES, "vg/root lies in several pieces"),
    (
        GOOD,
        VOLUMES.replace("[{name: root, base: vg, size: 2GiB", THIN + "type: thin, thin-pool: pool"),
        "thin",
    ),
    (GOOD, VOLUMES.replace("size: 2GiB", "size: 8GiB"), '"two" gets 3 GiB and needs'),
    (GOOD, VOLUMES.replace("base: [pv1, pv2]", "base: [pv1, pv3]"), 'no physical volume "pv3"'),
    ("flags: [primary]", "flags: [sometimes]", "sometimes"),
    ("label: mbr", "label: gpt", "primary"),
    ("mount: {mount_point: /}", "mount: {mount_point: srv}", "srv"),
    (
        "- local_loop: {name: image0}",
        "- local_loop: {name: image0}\n  mkfs: {}",
        "a map with 2 keys",
    ),
    (GOOD, "[]", "image0"),
    (GOOD, "just words", "list"),
    ("- local_loop: {name: image0}", "- nosuch: {name: image0}", '"nosuch" is not a plugin'),
    ("label: mbr", "label: [mbr", "no valid YAML"),
    ("base: image0", "base: image7", 'there is no "image7"'),
    ("size: 100%", "size: 9PiB", "is not a size"),
    ("mount: {mount_point: /}", "label: a-label-of-18-byte", "longer than the 16 bytes"),
    ("mount: {mount_point: /}", "mount: {mount_point: /srv}", "nothing is mounted at /"),
    ("name: mkfs_root", "name: mkfs_root\n          type: nosuchfs", "nosuchfs"),
    (GOOD, "file:///nosuch/config.yaml", "/nosuch/config.yaml"),
)


def test_bad_block_devices_are_refused_with_their_place_before_anything_is_made(create, tmp_path):
    for old, new, told in BAD:
        failed = create("-t", "raw", "tiny-os", DIB_BLOCK_DEVICE_CONFIG=GOOD.replace(old, new))
        assert failed.status == 1, failed
        said = failed.stdout + failed.stderr
        assert told in said
        assert "Running" not in failed.stdout
        assert "Traceback" not in failed.stderr
        if new.startswith(("label:", "base:", "size:", "flags:")):
            assert "DIB_BLOCK_DEVICE_CONFIG" in said
    for variables in ({"ROOT_LABEL": "thirteen-long", "FS_TYPE": "xfs"},
                      {"FS_TYPE": "nosuchfs", "DIB_IMAGE_SIZE": "large"}):  # fmt: skip
        failed = create("-t", "raw", "tiny-os", **variables)
        assert failed.status == 1, failed
        assert "Running" not in failed.stdout
        assert "Traceback" not in failed.stderr
    assert outputs(tmp_path) == []


def test_no_shell_is_promised_where_none_can_be_opened(create):
    for place in ("before-finalise", "after-pre-finalise.d"):
        failed = create("-t", "raw", "tiny-os", "block-device-efi", **{"break": place})
        assert failed.status == 1
        said = failed.stdout + failed.stderr
        assert f"break={place.removesuffix('.d')}: no shell can be opened there" in said
        assert "Running" not in failed.stdout


@pytest.mark.parametrize("place", ["extra-data.d", "install.d", "finalise.d"])
@pytest.mark.parametrize(
    "number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=["INT", "TERM", "KILL"]
)
def test_a_kill_in_the_middle_of_a_hook_leaves_nothing_behind(
    goldsmith, elements, tmp_path, place, number
):
    _kill_in_a_hook(goldsmith, elements, tmp_path, place, number)


@pytest.mark.nightly
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=["INT", "KILL"])
def test_so_does_a_kill_while_the_guest_runs_a_hook(goldsmith, elements, tmp_path, number):
    place = "finalise.d"
    _kill_in_a_hook(goldsmith, elements, tmp_path, place, number, "block-device-efi")


def _kill_in_a_hook(goldsmith, elements, tmp_path, place, number, *more):
    """End a build by a signal while a hook runs; nothing is left, and the next one is made."""
    slow = "trap '' TERM\n(trap '' TERM HUP; exec sleep 1000) &\necho it is here\nwait"
    write_hook(elements / "mine", f"{place}/60-slow", slow)
    environment = surroundings(elements, tmp_path)
    words = ("disk-image-create", "-n", "-o", "out/x", "-t", "raw", "tiny-os", "mine",
             *more)  # fmt: skip
    with goldsmith.start(*words, env=environment) as running:
        seen = []
        for line in running.stdout:
            seen.append(line)
            if "it is here" in line and "Running" not in line and "+ echo" not in line:
                break
        else:
            pytest.fail("".join(seen) + running.stderr.read())
        assert more or _loops(tmp_path) or place != "finalise.d"
        started_s = time.monotonic()
        running.send_signal(number)
        said = "".join(running.communicate(timeout=LIMIT_S))
        assert time.monotonic() - started_s < LIMIT_S
    assert running.returncode == (-9 if number == signal.SIGKILL else 1)
    if number != signal.SIGKILL:
        assert f"interrupted by {number.name}" in said
    _wait_until_gone(str(goldsmith.state))
    # What is half written has a name of its own, and `clean` knows it.
    assert outputs(tmp_path) in ([], ["x.raw-new"][: number == signal.SIGKILL])
    goldsmith("clean", env=environment, check=True)
    assert outputs(tmp_path) == []
    shutil.rmtree(elements / "mine" / place)
    goldsmith(*words, env=environment, check=True)
    assert outputs(tmp_path) == ["x.raw"]


def _loops(directory):
    listed = subprocess.run(["losetup", "--list", "--noheadings", "--output", "BACK-FILE"],
                            capture_output=True, text=True, check=True)  # fmt: skip
    return listed.stdout.split()


def _wait_until_gone(text):
    """No process names the directory any more, in its arguments or its environment."""
    deadline_s = time.monotonic() + LIMIT_S
    while found := [
        one for one in Path("/proc").iterdir() if one.name.isdigit() and _names(one, text)
    ]:
        assert time.monotonic() < deadline_s, found
        time.sleep(0.05)


def _names(process, text):
    if not process.name.isdigit() or int(process.name) == os.getpid():
        return False
    try:
        words = (process / "environ").read_bytes() + (process / "cmdline").read_bytes()
        return text.encode() in words
    except OSError:
        return False


def test_two_builds_at_once_and_another_after_them(goldsmith, elements, tmp_path):
    write_hook(elements / "mine", "install.d/60-more", "echo more > /more")
    environment = surroundings(elements, tmp_path)
    words = ("-n", "-t", "raw,tar", "tiny-os", "mine")
    with (
        goldsmith.start("disk-image-create", "-o", "out/a", *words, env=environment) as one,
        goldsmith.start("disk-image-create", "-o", "out/b", *words, env=environment) as two,
    ):
        told = [running.communicate(timeout=600) for running in (one, two)]
    assert [one.returncode, two.returncode] == [0, 0], told
    assert outputs(tmp_path) == ["a.raw", "a.tar", "b.raw", "b.tar"]
    again = goldsmith("disk-image-create", "-o", "out/a", *words, env=environment, check=True)
    assert "dib-run-parts Running" not in again.stdout
    assert outputs(tmp_path) == ["a.raw", "a.tar", "b.raw", "b.tar"]
    for name in ("a", "b"):
        listed = subprocess.run(["tar", "-tf", tmp_path / f"out/{name}.tar"], check=True,
                                capture_output=True, text=True).stdout.split()  # fmt: skip
        assert "./more" in listed


def test_builds_that_share_an_image_cache_take_turns(goldsmith, elements, tmp_path):
    # By its name it is known to use the cache, as upstream's of this name does.
    use = 'mkdir "$DIB_IMAGE_CACHE/used"; sleep 2; rmdir "$DIB_IMAGE_CACHE/used"'
    write_hook(elements / "pip-cache", "extra-data.d/60-use", use)
    words = ("-n", "-t", "tar", "tiny-os", "pip-cache")
    first = surroundings(elements, tmp_path, DIB_NUMBER="1")
    second = surroundings(elements, tmp_path, DIB_NUMBER="2")
    with (
        goldsmith.start("disk-image-create", "-o", "out/a", *words, env=first) as one,
        goldsmith.start("disk-image-create", "-o", "out/b", *words, env=second) as two,
    ):
        told = [running.communicate(timeout=600) for running in (one, two)]
    assert [one.returncode, two.returncode] == [0, 0], told
    assert not (tmp_path / ".cache/image-create/used").exists()
