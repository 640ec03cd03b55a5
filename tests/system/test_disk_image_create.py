"""`disk-image-create` and its kin from end to end, with an operating system that takes seconds."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from tiny_elements import PHASES, make_system, write_hook

pytestmark = pytest.mark.root

STAMP = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} \| ")


@pytest.fixture
def elements(tmp_path, small_tree):
    directory = tmp_path / "elements"
    make_system(directory, small_tree)
    return directory


@pytest.fixture
def surroundings(elements, tmp_path):
    return {"ELEMENTS_PATH": str(elements), "HOME": str(tmp_path)}


@pytest.fixture
def create(goldsmith, surroundings):
    def run(*words, program="disk-image-create", check=True, **given):
        return goldsmith(program, *words, check=check, env={**surroundings, **given})

    return run


def members(path):
    with tarfile.open(path) as archive:
        return archive.getnames()


def content(path, name):
    with tarfile.open(path) as archive:
        return archive.extractfile(name).read().decode()


def test_an_image_then_the_same_then_another(create, elements, tmp_path):
    first = create("-n", "-o", "out/x", "-t", "tar,qcow2", "--checksum", "tiny-os")
    out = tmp_path / "out"
    lines = first.stdout.splitlines()
    assert all(STAMP.match(line) for line in lines)
    assert lines[-1].endswith(" | Build completed successfully")
    assert "dib-run-parts ----------------------- PROFILING" in first.stdout
    names = sorted(os.listdir(out))
    assert names == [f"x.{kind}{end}" for kind in ("qcow2", "tar") for end in
                     ("", ".md5", ".sha256")]  # fmt: skip
    assert content(out / "x.tar", "./phases").split() == list(PHASES)
    digest = hashlib.sha256((out / "x.tar").read_bytes()).hexdigest()
    assert (out / "x.tar.sha256").read_text() == f"{digest}  out/x.tar\n"
    described = json.loads(
        subprocess.run(["qemu-img", "info", "--output=json", out / "x.qcow2"], check=True,
                       capture_output=True).stdout
    )  # fmt: skip
    assert described["format"] == "qcow2"

    stood = {name: (out / name).stat().st_mtime_ns for name in names}
    again = create("-n", "-o", "out/x", "-t", "tar,qcow2", "--checksum", "tiny-os")
    assert again.stdout.count(" (cached)") == len(again.stdout.splitlines()) - 1
    assert {name: (out / name).stat().st_mtime_ns for name in os.listdir(out)} == stood

    write_hook(elements / "tiny-os", "post-install.d/60-more", "echo more > /more")
    changed = create("-n", "-o", "out/x", "-t", "tar,qcow2", "--checksum", "tiny-os")
    assert "Running the hooks of install.d (cached)" in changed.stdout
    assert re.search(r"Running the hooks of post-install\.d \(.*60-more.*\)", changed.stdout)
    assert "./more" in members(out / "x.tar")
    older = sorted(set(os.listdir(out)) - set(names))
    assert len(older) == 6
    assert re.fullmatch(r"x-\d{4}\.\d\d\.\d\d-\d\d\.\d\d\.\d\d\.qcow2", older[0])


def test_another_name_of_the_outputs_runs_no_phase_of_the_tree_again(create):
    create("-n", "-o", "x", "-t", "tar", "tiny-os")
    other = create("-n", "-o", "y", "-t", "tar", "-u", "tiny-os").stdout
    phases = re.findall(r"Running the hooks of \S+ \((.*)\)", other)
    assert phases == ["cached"] * 6


def test_no_cache_runs_every_phase_again(create):
    create("-n", "-o", "x", "-t", "tar", "tiny-os")
    again = create("-n", "-o", "x", "-t", "tar", "--no-cache", "tiny-os", OVERWRITE_OLD_IMAGE="1")
    assert "(cached)" not in again.stdout
    assert "Running the hooks of install.d (-no-cache)" in again.stdout


def test_two_runs_of_everything_give_the_same_tree(create, elements, tmp_path):
    write_hook(elements / "mine", "install.d/10-write", "echo some > /new; mkdir /more")
    made = []
    for name in ("one", "two"):
        create("-n", "-o", f"{name}/x", "-t", "tar", "--no-cache", "tiny-os", "mine",
               SOURCE_DATE_EPOCH="1700000000")  # fmt: skip
        made.append((tmp_path / name / "x.tar").read_bytes())
    assert made[0] == made[1]


def test_a_log_makes_it_quiet_and_errors_are_seen_all_the_same(create, elements, tmp_path):
    absent = create("-n", "-t", "tar", "--logfile", "logs/x.log", "tiny-os", check=False)
    assert absent.status == 1
    assert f"cannot write the log logs/x.log: {tmp_path}/logs is not a directory" in absent.stderr
    (tmp_path / "logs").mkdir()
    made = create("-n", "-t", "tar", "--logfile", "logs/x.log", "tiny-os")
    assert made.stdout == "Output logs going to: logs/x.log\n"
    text = (tmp_path / "logs/x.log").read_text()
    assert all(STAMP.match(line) for line in text.splitlines())
    assert text.endswith("Build completed successfully\n")
    write_hook(elements / "tiny-os", "install.d/90-fail", "exit 3")
    failed = create("-n", "-t", "tar", "--logfile", "logs/x.log", "tiny-os", check=False)
    assert failed.status == 1
    assert "install.d/90-fail of element tiny-os failed with status 3" in failed.stderr
    assert (tmp_path / "logs/x.log").read_text().startswith(text)
    both = create("-n", "-t", "tar", "--logfile", "l", "tiny-os", check=False, DIB_QUIET="0",
                  DIB_NO_TIMESTAMP="1")  # fmt: skip
    assert "\ndib-run-parts Running " in both.stdout


def test_everything_wrong_is_told_before_anything_is_built(create, tmp_path):
    bad = "- local_loop: {name: image0}\n- mkfs: {base: image9, type: ext4}\n"
    failed = create(
        "-n", "-o", "out/x", "-t", "raw,nosuch", "tiny-os", check=False,
        DIB_BLOCK_DEVICE_CONFIG=bad,
    )  # fmt: skip
    assert failed.status == 1
    assert "image9" in failed.stdout
    assert "-t nosuch: " in failed.stdout
    assert "Running" not in failed.stdout
    assert not (tmp_path / "out").exists()


def test_plan_and_validate_refuse_what_would_fail_at_the_end(goldsmith, surroundings):
    words = "-n -o /proc/x -t qcow2,tra --qemu-img-options compatt=1.1 --install-type foo tiny-os"
    line = f"disk-image-create --image-size big -a amd46 {words}"
    for verb in ("plan", "validate"):
        refused = goldsmith(verb, line, env=surroundings)
        assert refused.status == 1
        told = refused.stdout + refused.stderr
        for mistake in (
            "--image-size big: it is not a size",
            "-a amd46: there is no such architecture; did you mean amd64?",
            "-o /proc/x: /proc is the kernel's, and no place for files",
            "-t qcow2: qemu-img cannot make it: --qemu-img-options compatt=1.1: ",
            "-t tra: qemu-img cannot make it: Unknown file format 'tra'. Did you mean \"tar\"?",
            "there is no install type foo",
        ):
            assert f"Error: {mistake}" in told
        assert "ERROR" not in told
    made = goldsmith(*line.split(), env=surroundings)
    assert made.status == 1
    assert made.stderr.count("ERROR: ") == 6


def test_a_bad_file_of_an_element_is_shown_before_anything_is_built(
    goldsmith, create, surroundings, elements
):
    write_hook(elements / "mine", "install.d/10-x", "true")
    (elements / "mine/element-deps").write_text("svc-map\n")
    (elements / "mine/svc-map").write_text("nova:\n  default: [x\n  debian: y\n")
    made = create("-n", "-t", "tar", "tiny-os", "mine", check=False)
    assert made.status == 1
    assert "Running" not in made.stdout
    assert "ERROR: svc-map of element mine is no valid YAML: " in made.stdout
    assert f"on {elements}/mine/svc-map:3:9, in source" in made.stdout
    assert "   3:   debian: y" in made.stdout
    planned = goldsmith("plan", "disk-image-create -n tiny-os mine", env=surroundings)
    assert planned.status == 1
    assert "svc-map:3:9" in planned.stderr
    assert "Traceback" not in made.stdout + made.stderr + planned.stderr


def test_packages_are_installed_after_the_hooks_by_the_elements_own_program(
    create, elements, tmp_path
):
    write_hook(
        elements / "tiny-os", "install.d/60-program",
        "mkdir -p /usr/local/bin; printf '%s\\n' '#!/bin/bash' 'echo \"$@\" >> /phases' "
        "> /usr/local/bin/install-packages; chmod 755 /usr/local/bin/install-packages",
    )  # fmt: skip
    create("-n", "-o", "x", "-t", "tar", "-p", "one,two", "-p", "three", "tiny-os")
    told = content(tmp_path / "x.tar", "./phases").splitlines()
    assert told[told.index("install.d") + 1] == "one two three"


def test_break_runs_a_command_where_the_hooks_run(create, tmp_path):
    made = create(
        "-n", "-o", "x", "-t", "tar", "tiny-os", DIB_NO_TIMESTAMP="1",
        **{"break": "before-post-install", "break_cmd": "cat /phases"},
    )  # fmt: skip
    shown = made.stdout.partition("At stage before-post-install\n")[2].partition("Resuming")[0]
    assert shown.split() == list(PHASES[:3])


def test_a_break_is_met_though_the_image_stands(create, tmp_path):
    words = ("-n", "-o", "x", "-t", "raw", "tiny-os")
    create(*words)
    for place in ("before-block-device", "before-finalise"):
        made = create(*words, DIB_NO_TIMESTAMP="1", **{"break": place, "break_cmd": "echo looked"})
        assert f"At stage {place}\n" in made.stdout
        assert "Running the hooks of post-root.d (cached)" in made.stdout


def test_a_cleared_environment_still_builds(create, elements, tmp_path):
    """Upstream's -c loses what its own program needs; elements of one's own are lost with it."""
    write_hook(elements / "tiny-os", "install.d/60-see", 'echo "${DIB_MINE:-none}" > /seen')
    create("-n", "-o", "x", "-t", "tar", "tiny-os", DIB_MINE="here")
    assert content(tmp_path / "x.tar", "./seen") == "here\n"
    lost = create("-n", "-c", "-o", "x", "-t", "tar", "tiny-os", check=False, DIB_MINE="here")
    assert "Element 'tiny-os' not found" in lost.stdout


def test_a_yaml_file_describes_several_images(create, tmp_path):
    (tmp_path / "images.yaml").write_text(
        "- imagename: one\n  types: [tar]\n  skip-base: true\n  elements: [tiny-os]\n"
        "- imagename: broken\n  types: [tar]\n  elements: [no-such-element]\n"
        "- imagename: two\n  types: [tgz]\n  skip-base: true\n  elements: [tiny-os]\n"
        "  environment: {DIB_MORE: 'yes'}\n"
    )
    made = create("images.yaml", program="diskimage-builder", check=False)
    assert made.status == 1
    assert (tmp_path / "one.tar").is_file()
    assert (tmp_path / "two.tgz").is_file()
    assert made.stderr.rstrip().endswith(
        "ERROR: failed: disk-image-create -o broken -t tar no-such-element"
    )


def test_variables_of_the_program_itself(create, elements, tmp_path):
    write_hook(elements / "tiny-os", "extra-data.d/60-see",
               'echo "$DIB_LOCKFILES $DIB_IMAGE_CACHE" > "$TMP_MOUNT_PATH/seen"')  # fmt: skip
    made = create(
        "-n", "-o", "x", "-t", "raw,tgz", "tiny-os", DIB_NO_TIMESTAMP="1", TMP_DIR="/no/such",
        DIB_SHOW_IMAGE_USAGE="1", DIB_SHOW_IMAGE_USAGE_FULL="1", DIB_LOCKFILES="own/locks",
        DIB_IMAGE_CACHE="~/own/cache", DIB_GZIP_BIN="gzip --fast", DIB_CHECKSUM="md5",
    )  # fmt: skip
    report = made.stdout.partition("Image size report\n")[2].partition("===== end image size")[0]
    assert re.search(r"^ +\S+ \S+ /usr/bin$", report, re.M)
    assert (tmp_path / "own/locks").is_dir()
    with tarfile.open(tmp_path / "x.tgz") as archive:
        seen = archive.extractfile("./seen").read().decode().split()
    assert seen == [str(tmp_path / "own/locks"), str(tmp_path / "own/cache")]
    assert sorted(path.name for path in tmp_path.glob("x.*")) == [
        "x.raw", "x.raw.md5", "x.tgz", "x.tgz.md5"
    ]  # fmt: skip


def test_a_link_to_goldsmith_is_the_program(goldsmith, surroundings, tmp_path):
    link = tmp_path / "disk-image-create"
    link.write_text("import sys; from goldsmith.cli.app import main; main()\n")
    words = [sys.executable, link, "-n", "-o", "x", "-t", "tar", "tiny-os"]
    environment = {
        **os.environ, **surroundings, "GOLDSMITH_CACHE_DIR": str(goldsmith.state),
    }  # fmt: skip
    subprocess.run(words, check=True, cwd=tmp_path, env=environment, capture_output=True)
    assert "./phases" in members(tmp_path / "x.tar")


def test_a_command_line_is_a_template_to_plan_and_shell(goldsmith, create, surroundings, tmp_path):
    line = "disk-image-create -n -o x -t tar tiny-os"
    planned = goldsmith("plan", "-detailed-exitcode", line, env=surroundings)
    assert planned.status == 2
    assert "Running the hooks of root.d" in planned.stdout
    create("-n", "-o", "x", "-t", "tar", "tiny-os")
    assert goldsmith("plan", "-detailed-exitcode", line, env=surroundings).status == 0
    shown = goldsmith("shell", "-after=install.d", line, "--", "cat", "/phases", env=surroundings)
    assert shown.stdout.split() == list(PHASES[:3])


def test_the_source_of_a_template_makes_the_same(goldsmith, surroundings, elements, tmp_path):
    (tmp_path / "t.pkr.hcl").write_text(
        'source "elements" "x" {\n  elements  = ["tiny-os"]\n  skip_base = true\n'
        f'  types     = ["tar"]\n  environment = {{ ELEMENTS_PATH = "{elements}" }}\n}}\n'
        'build {\n  sources = ["source.elements.x"]\n}\n'
    )
    goldsmith("build", "t.pkr.hcl", env=surroundings, check=True)
    assert content(tmp_path / "x.tar", "./phases").split() == list(PHASES)


EXPIRING = """\
source "elements" "x" {{
  elements    = ["tiny-os"]
  skip_base   = true
  types       = ["tar"]
  cache_ttl   = "0s"
  offline     = {offline}
  environment = {{ ELEMENTS_PATH = "{elements}" }}
}}
build {{
  sources = ["source.elements.x"]
}}
"""


def test_hooks_that_may_fetch_expire_unless_the_network_is_not_asked(
    goldsmith, surroundings, elements, tmp_path
):
    def build(offline):
        text = EXPIRING.format(offline=offline, elements=elements)
        (tmp_path / "t.pkr.hcl").write_text(text)
        told = goldsmith("build", "t.pkr.hcl", env=surroundings, check=True).stdout
        return told.count("dib-run-parts Running")

    first = build("false")
    assert first == len(PHASES) + 1
    assert build("false") == first, "nobody knows what they would fetch now"
    # Hooks see DIB_OFFLINE, so these are others; then they are as good at any age.
    write_hook(elements / "tiny-os", "install.d/60-look", 'echo "[$DIB_OFFLINE]" > /offline')
    assert build("true") == first + 1
    assert content(tmp_path / "x.tar", "./offline") == "[1]\n"
    assert build("true") == 0


def test_block_device_makes_and_takes_down_a_disk(goldsmith, tmp_path):
    build, images = tmp_path / "build", tmp_path / "images"
    build.mkdir()
    images.mkdir()
    (tmp_path / "config.yaml").write_text(
        "- local_loop:\n    name: image0\n- partitioning:\n    base: image0\n    label: mbr\n"
        "    partitions:\n      - name: root\n        flags: [boot, primary]\n        size: 100%\n"
        "        mkfs:\n          mount:\n            mount_point: /\n            fstab: {}\n"
    )
    (tmp_path / "params.yaml").write_text(
        f"config: {tmp_path}/config.yaml\nimage-dir: {images}\nroot-fs-type: ext4\n"
        f"root-label: mine\nmount-base: {build}/mnt\nbuild-dir: {build}\nimage-size: 65536KiB\n"
    )

    def run(*words):
        env = {"DIB_BLOCK_DEVICE_PARAMS_YAML": str(tmp_path / "params.yaml")}
        return goldsmith("block-device", *words, env=env, check=True).stdout.strip()

    run("init")
    assert run("getval", "root-label") == "mine"
    run("create")
    try:
        device = run("getval", "image-block-device")
        assert re.fullmatch(r"/dev/loop\d+", device)
        assert run("getval", "image-block-devices").startswith(f"[image0]={device}")
        assert (build / "mnt").is_mount()
        run("writefstab")
        assert (build / "built/etc/fstab").read_text().startswith("LABEL=mine / ext4")
        run("umount")
        assert not (build / "mnt").is_mount()
        assert Path(images / "image0.raw").stat().st_size == 64 << 20
    finally:
        run("delete")
    assert list(images.iterdir()) == []


def test_parameters_are_asked_for(goldsmith):
    asked = goldsmith("block-device", "init")
    assert asked.status == 2
    assert "DIB_BLOCK_DEVICE_PARAMS_YAML or --params not set" in asked.stderr
