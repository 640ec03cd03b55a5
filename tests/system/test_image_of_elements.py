"""`bootstrap { method = "elements" }` and the provisioner `elements`, with made elements."""

import json
import os
import subprocess
import tempfile
from pathlib import Path

import pytest
from small_image import hcl, shell
from tiny_elements import PHASES, make_system, write_hook

pytestmark = pytest.mark.root

TEMPLATE = """\
source "image" "tiny" {
  bootstrap {
    method        = "elements"
    elements      = ["tiny-os"%(elements)s]
    elements_path = ["elements"]
    skip_base     = true
    environment   = { DIB_COLOUR = "red" }
  }
%(disk)s
  formats          = ["raw"]
  hostname         = "golden"
  output_directory = "output"
}
build {
  sources = ["source.image.tiny"]
%(provisioners)s}
"""
DISK = """\
  disk {
    size = "160MiB"
    partition "esp" {
      type       = "esp"
      size       = "34MiB"
      filesystem = "vfat"
      mount      = "/boot/efi"
    }
    partition "bsp" {
      type = "bios-boot"
      size = "1MiB"
    }
    partition "root" {
      type       = "root"
      size       = "100%"
      filesystem = "ext4"
      mount      = "/"
      label      = "tinyroot"
    }
  }
"""


@pytest.fixture
def elements(tmp_path, small_tree):
    make_system(tmp_path / "elements", small_tree)
    return tmp_path / "elements"


@pytest.fixture
def write(tmp_path, elements):
    def _write(*provisioners, disk="", more=()):
        names = "".join(f", {hcl(name)}" for name in more)
        text = TEMPLATE % {
            "elements": names, "disk": disk, "provisioners": "".join(provisioners)
        }  # fmt: skip
        (tmp_path / "t.pkr.hcl").write_text(text)

    return _write


def steps(goldsmith, *flags):
    result = goldsmith("plan", "--json", *flags, "t.pkr.hcl", check=True)
    (build,) = json.loads(result.stdout)["builds"]
    return {step["name"]: step for step in build["steps"]}


def content(image, path, offset=0):
    """A file of an ext file system in an image, without mounting it."""
    done = subprocess.run(
        ["debugfs", "-R", f"cat {path}", f"{image}?offset={offset}"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout


def partitions(image):
    done = subprocess.run(["sfdisk", "--json", str(image)], capture_output=True, check=True)
    return json.loads(done.stdout)["partitiontable"]["partitions"]


def test_phases_then_provisioners_then_the_phases_of_the_disk(goldsmith, write, tmp_path):
    write(shell("echo provisioner >> /phases", "test -d /run/goldsmith", "test ! -e /hooks",
                "hostname > /seen-name", "echo $DIB_COLOUR > /seen-colour"))  # fmt: skip
    goldsmith("build", "t.pkr.hcl", check=True)
    image = tmp_path / "output/tiny.raw"
    after_tree = PHASES.index("pre-finalise.d")
    wanted = [*PHASES[:after_tree], "provisioner", *PHASES[after_tree:]]
    assert content(image, "/phases").split() == wanted
    assert content(image, "/etc/hostname") == content(image, "/seen-name") == "golden\n"
    assert content(image, "/seen-colour") == "\n"
    assert content(image, "/etc/fstab").startswith("LABEL=cloudimg-rootfs / ext4")
    manifest = json.loads((tmp_path / "output/tiny.manifest.json").read_text())
    assert manifest["os_release"]["ID"] == "tiny"
    assert manifest["firmware"] == []


def test_a_build_is_done_again_from_the_step_that_changed(goldsmith, write, tmp_path, elements):
    write(shell("echo provisioner >> /phases"))
    assert {step["state"] for step in steps(goldsmith).values()} == {"miss"}
    goldsmith("build", "t.pkr.hcl", check=True)
    planned = steps(goldsmith)
    assert list(planned) == [
        "root.d", *PHASES[:4], "initramfs", "post-root.d", "configure", "provisioner-1", "image",
    ]  # fmt: skip
    assert {step["state"] for step in planned.values()} == {"hit"}
    write_hook(elements / "tiny-os", "post-install.d/60-more", "echo more >> /phases")
    planned = steps(goldsmith)
    assert planned["install.d"]["state"] == "hit"
    assert planned["post-install.d"]["state"] == "miss"
    assert "60-more" in planned["post-install.d"]["reason"]
    goldsmith("build", "t.pkr.hcl", check=True)
    assert "more" in content(tmp_path / "output/tiny.raw", "/phases")
    # Hooks of the disk's phases are no part of the tree.
    write_hook(elements / "tiny-os", "cleanup.d/60-last", 'echo last >> "$TARGET_ROOT/phases"')
    planned = steps(goldsmith)
    assert {name for name, step in planned.items() if step["state"] != "hit"} == {"image"}
    goldsmith("build", "t.pkr.hcl", check=True)
    assert content(tmp_path / "output/tiny.raw", "/phases").endswith("cleanup.d\nlast\n")


def test_a_disk_block_wins_over_an_element(goldsmith, write, tmp_path):
    write(disk=DISK, more=["block-device-mbr"])
    checked = goldsmith("validate", "t.pkr.hcl", check=True)
    assert "t.pkr.hcl:4:33" in checked.stdout
    assert "not as element block-device-mbr" in " ".join(checked.stdout.split())
    goldsmith("build", "t.pkr.hcl", check=True)
    image = tmp_path / "output/tiny.raw"
    found = partitions(image)
    assert [one["name"] for one in found] == ["esp", "bsp", "root"]
    assert image.stat().st_size == 160 << 20
    lines = content(image, "/etc/fstab", offset=found[2]["start"] * 512).splitlines()
    assert sorted(line.split()[:3] for line in lines) == [
        ["LABEL=ESP", "/boot/efi", "vfat"], ["LABEL=tinyroot", "/", "ext4"]
    ]  # fmt: skip


def test_the_layout_of_an_element_is_used_without_a_disk_block(goldsmith, write, tmp_path):
    write(more=["block-device-gpt"])
    goldsmith("build", "t.pkr.hcl", check=True)
    names = [one["name"] for one in partitions(tmp_path / "output/tiny.raw")]
    assert names == ["BSP", "root"]


@pytest.mark.parametrize("phase", ["install.d", "finalise.d"])
def test_a_hook_that_fails_is_named(phase, goldsmith, write, elements, tmp_path):
    write()
    write_hook(elements / "tiny-os", f"{phase}/70-broken", "echo it is broken; exit 7")
    result = goldsmith("build", "t.pkr.hcl")
    assert result.status == 1
    told = f"{phase}/70-broken of element tiny-os failed with status 7; it said last:"
    assert told in result.stdout + result.stderr, str(result)
    assert not (tmp_path / "output").exists()


def test_a_failed_phase_can_be_looked_into(goldsmith, write, elements):
    write()
    write_hook(elements / "tiny-os", "install.d/70-broken", "echo half > /half; exit 7")
    assert goldsmith("build", "t.pkr.hcl").status == 1
    shown = goldsmith("shell", "-at=install.d", "t.pkr.hcl", "--", "cat", "/half", "/etc/hostname")
    assert shown.stdout == "half\ntiny\n", str(shown)


@pytest.fixture
def tree_with_bash(tmp_path, elements):
    """An archive of the tiny tree, with bash: hooks in a tree need one."""
    (tmp_path / "tree").mkdir()
    environment = {**os.environ, "TARGET_ROOT": str(tmp_path / "tree")}
    subprocess.run([elements / "tiny-os/root.d/10-tiny"], env=environment, check=True)
    subprocess.run(["tar", "-cf", tmp_path / "tree.tar", "-C", tmp_path / "tree", "."], check=True)
    return "tree.tar"


ON_A_TREE = """\
source "image" "small" {
  bootstrap {
    method = "tar"
    source = "%s"
  }
  disk {
    partition "root" {
      type       = "root"
      filesystem = "ext4"
      mount      = "/"
    }
  }
  firmware         = []
  formats          = ["raw"]
  output_directory = "output"
}
build {
  sources = ["source.image.small"]
  provisioner "elements" {
    elements      = ["extra"]
    elements_path = ["elements"]
    environment   = { EXTRA = "more" }
    network       = false
  }
  provisioner "shell" {
    inline  = ["cp /extra /kept", "test ! -e /tmp/in_target.d"]
    network = false
  }
}
"""


def test_the_provisioner_runs_phases_on_any_tree(goldsmith, elements, tree_with_bash, tmp_path):
    extra = elements / "extra"
    write_hook(extra, "environment.d/10-extra", "export EXTRA=${EXTRA:-none}")
    write_hook(extra, "extra-data.d/10-out",
               'echo "out $EXTRA $DISTRO_NAME" > "$TMP_MOUNT_PATH/extra"\n'
               'echo data > "$TMP_HOOKS_PATH/left"')  # fmt: skip
    write_hook(extra, "install.d/10-in",
               'echo "in $EXTRA $(cat "$(dirname "$0")/../left")" >> /extra\n'
               "if touch /tmp/in_target.d/x 2>/dev/null; then exit 3; fi")  # fmt: skip
    write_hook(extra, "finalise.d/10-never", "exit 9")
    (tmp_path / "t.pkr.hcl").write_text(ON_A_TREE % tree_with_bash)
    goldsmith("build", "t.pkr.hcl", check=True)
    image = tmp_path / "output/small.raw"
    (one,) = partitions(image)
    told = content(image, "/kept", offset=one["start"] * 512)
    assert told == "out more tiny\nin more data\n"
    assert {step["state"] for step in steps(goldsmith).values()} == {"hit"}
    write_hook(extra, "install.d/10-in", "exit 5")
    planned = steps(goldsmith)["provisioner-1"]
    assert (planned["state"], "install.d/10-in of extra" in planned["reason"]) == ("miss", True)
    result = goldsmith("build", "t.pkr.hcl")
    assert result.status == 1
    assert "install.d/10-in of element extra failed with status 5" in result.stdout + result.stderr


def test_the_provisioner_tells_no_secret(goldsmith, elements, tree_with_bash, tmp_path):
    write_hook(elements / "extra", "environment.d/10-extra", "export A_TOKEN=$A_TOKEN")
    write_hook(elements / "extra", "install.d/10-in", 'set -x\n: "say $A_TOKEN"; exit 5')
    text = (ON_A_TREE % tree_with_bash).replace('EXTRA = "more"', 'A_TOKEN = "hunter-two"')
    (tmp_path / "t.pkr.hcl").write_text(text)
    result = goldsmith("build", "t.pkr.hcl")
    told = result.stdout + result.stderr
    assert (result.status, ": 'say <sensitive>'" in told, "hunter-two" in told) == (1, True, False)


@pytest.fixture
def outside():
    """A directory of the host that /tmp of a tree is a link to: none below /tmp."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
        yield Path(name)


def test_hooks_are_shown_in_no_directory_of_the_host(goldsmith, write, elements, outside, tmp_path):
    write()
    write_hook(elements / "tiny-os", "root.d/20-link",
               f'rm -rf "$TARGET_ROOT/tmp"; mkdir -p "$TARGET_ROOT{outside}"\n'
               f'ln -s "{outside}" "$TARGET_ROOT/tmp"')  # fmt: skip
    write_hook(elements / "tiny-os", "install.d/60-look",
               "test -e /tmp/in_target.d/install.d/60-look")  # fmt: skip
    write_hook(elements / "tiny-os", "finalise.d/60-look",
               "test -e /tmp/in_target.d/finalise.d/60-look\necho yes > /looked")  # fmt: skip
    before = outside.stat().st_mtime_ns
    goldsmith("build", "t.pkr.hcl", check=True)
    assert content(tmp_path / "output/tiny.raw", "/looked") == "yes\n"
    assert (list(outside.iterdir()), outside.stat().st_mtime_ns) == ([], before)


def test_the_provisioner_shows_hooks_in_no_directory_of_the_host(
    goldsmith, elements, tree_with_bash, outside, tmp_path
):
    write_hook(elements / "extra", "install.d/10-in",
               "test -e /tmp/in_target.d/install.d/10-in\necho yes > /extra")  # fmt: skip
    tree = tmp_path / "tree"
    (tree / "tmp").rmdir()
    (tree / "tmp").symlink_to(outside)
    (tree / outside.relative_to("/")).mkdir(parents=True)
    subprocess.run(["tar", "-cf", tmp_path / tree_with_bash, "-C", tree, "."], check=True)
    (tmp_path / "t.pkr.hcl").write_text(ON_A_TREE % tree_with_bash)
    before = outside.stat().st_mtime_ns
    goldsmith("build", "t.pkr.hcl", check=True)
    assert (list(outside.iterdir()), outside.stat().st_mtime_ns) == ([], before)
