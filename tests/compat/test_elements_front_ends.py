"""What upstream's own programs say to users and do with YAML, and what ours say and do.

The real programs are run as they are, as far as they come without making anything.
"""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from goldsmith.cli import disk_image_create
from goldsmith.elements import catalog, expansion
from goldsmith.errors import Diagnostics
from goldsmith.template.dib.images import read_images
from goldsmith.ui.dib_lines import DibLines

PACKAGE = catalog.upstream_package()
PROGRAMS = Path(sys.executable).parent


def upstream(program, *words, home, **given):
    """The status of one of upstream's programs, and all that it said."""
    run = subprocess.run(
        [PROGRAMS / program, *words], capture_output=True, text=True, check=False, timeout=120,
        env={"PATH": os.environ["PATH"], "HOME": str(home), "DIB_NO_TIMESTAMP": "1", **given},
    )  # fmt: skip
    return run.returncode, run.stdout + run.stderr


def ours(words, capsys, monkeypatch, home, **given):
    """The status of disk-image-create here, and all that it said."""
    for name in list(os.environ):
        if name.startswith(("DIB_", "IMAGE_", "ELEMENTS", "ARCH")):
            monkeypatch.delenv(name)
    for name, value in {"HOME": str(home), "DIB_NO_TIMESTAMP": "1", **given}.items():
        monkeypatch.setenv(name, value)
    status = disk_image_create.run([*words], False)
    said = capsys.readouterr()
    return status, said.out + said.err


def test_no_element_is_told_in_the_same_words(capsys, monkeypatch, tmp_path):
    told = "ERROR: At least one distribution root element must be specified"
    for status, said in (upstream("disk-image-create", home=tmp_path),
                         ours([], capsys, monkeypatch, tmp_path)):  # fmt: skip
        assert status == 1
        assert told in said.splitlines()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["nosuch"], "Element 'nosuch' not found"),
        (["vm"], "Please include an operating system element"),
        (["debian-minimal", "ubuntu-minimal"], "operating-system: already provided by"),
    ],
)
def test_upstreams_tracebacks_end_with_what_we_say(words, told, tmp_path):
    status, said = upstream("disk-image-create", *words, home=tmp_path)
    assert status == 1
    assert "Traceback" in said
    assert told in said.splitlines()[-1]
    found = catalog.Catalog.read(catalog.search_directories(""))
    with pytest.raises(catalog.ElementError) as caught:
        expansion.expand(found, expansion.asked_for(words))
    assert str(caught.value).startswith(told)
    assert caught.value.hint


def test_a_path_of_elements_that_is_no_directory_ends_both(tmp_path):
    given = {"ELEMENTS_PATH": str(tmp_path / "nosuch")}
    status, said = upstream("disk-image-create", "vm", home=tmp_path, **given)
    assert (status, "InvalidElementDir" in said) == (1, True)
    with pytest.raises(catalog.ElementError, match=r"nosuch' in ELEMENTS_PATH is not a directory"):
        catalog.Catalog.read(catalog.search_directories(given["ELEMENTS_PATH"]))


def test_a_cleared_environment_ends_upstreams_program_alone(capsys, monkeypatch, tmp_path):
    status, said = upstream("disk-image-create", "-c", "vm", home=tmp_path)
    assert (status, said.splitlines()[-1]) == (1, "_LIB not set!")
    status, said = ours(["-c"], capsys, monkeypatch, tmp_path)
    assert (status, "At least one distribution root element" in said) == (1, True)


LINES = ("plain", "set +o xtrace", "an xtrace in it", "set +o", "set -o nounset", "set  +o", "")


def test_lines_are_dropped_as_the_real_filter_drops_them(capsys):
    run = subprocess.run(
        [sys.executable, PACKAGE / "lib/outfilter.py", "-v", "-b"], text=True, check=True,
        input="".join(f"{line}\n" for line in LINES), capture_output=True,
    )  # fmt: skip
    shown = DibLines(timestamps=False)
    for line in LINES:
        shown.line(line)
    assert capsys.readouterr().out == run.stdout


IMAGES = {
    "empty": "- {}\n",
    "every key": """
- imagename: a b
  arch: arm64
  types: [tar, raw]
  environment: {DIB_RELEASE: bookworm, OTHER: "1 2"}
  debug-trace: 2
  uncompressed: true
  clear: true
  logfile: x.log
  checksum: true
  image-size: 5
  image-extra-size: 6
  image-cache: /c
  max-online-resize: 7
  min-tmpfs: 8
  mkfs-journal-size: 9
  mkfs-options: "-F -q"
  no-tmpfs: true
  offline: true
  qemu-img-options: {compat: "0.10", size: "1"}
  root-label: r
  ramdisk-element: dracut-ramdisk
  install-type: package
  docker-target: a:b
  packages: [one, two]
  skip-base: true
  elements: [vm, debian-minimal]
""",
    "false": "- {uncompressed: false, clear: false, checksum: false, no-tmpfs: false, "
    "offline: false, skip-base: false, ramdisk: false, debug-trace: 0}\n",
    "nothing in them": '- {imagename: "", types: [], packages: [], qemu-img-options: {}, '
    'root-label: "", elements: []}\n',
    "ramdisk": "- {imagename: r, ramdisk: true, elements: [x], packages: [p], skip-base: true}\n",
    "merged": "- {elements: [a], types: [raw], environment: {A: '1', B: '2'}, image-size: 1}\n"
    "- {imagename: other, elements: [z]}\n- {elements: [y], arch: armhf}\n"
    "- {imagename: image, elements: [b], types: [tar], environment: {B: '3'}, image-size: 2}\n",
}
BAD_IMAGES = (
    "a: b\n", "- a\n", "- {imagenam: a}\n", "- {imagename: 1}\n", "- {arch: mips}\n",
    "- {types: [qcow3]}\n", "- {types: raw}\n", "- {debug-trace: 3}\n", "- {image-size: 0}\n",
    "- {image-size: '1'}\n", "- {image-size: true}\n", "- {ramdisk: 1}\n",
    "- {environment: {A: 1}}\n", "- {environment: [A]}\n", "- {qemu-img-options: {a: 1}}\n",
    "- {install-type: both}\n", "- {elements: a}\n", "- {elements: [1]}\n", "- {packages: p}\n",
)  # fmt: skip


@pytest.mark.parametrize("text", IMAGES.values(), ids=IMAGES)
def test_images_of_a_file_become_the_same_commands(text, tmp_path):
    (tmp_path / "images.yaml").write_text(text)
    status, said = upstream("diskimage-builder", "--dry-run", tmp_path / "images.yaml",
                            home=tmp_path)  # fmt: skip
    assert status == 0
    theirs = said.replace(f"bash {PACKAGE}/lib/", "").split("\n\n")[:-1]
    findings = Diagnostics()
    mine = read_images([("images.yaml", text)], findings)
    assert findings.found == []
    assert [shlex.split(str(one)) for one in mine] == [shlex.split(line) for line in theirs]


@pytest.mark.parametrize("text", BAD_IMAGES, ids=lambda text: text.strip())
def test_files_that_upstream_refuses_are_refused(text, tmp_path):
    (tmp_path / "images.yaml").write_text(text)
    status, said = upstream("diskimage-builder", "--dry-run", tmp_path / "images.yaml",
                            home=tmp_path)  # fmt: skip
    assert (status, "Traceback" in said) == (1, True)
    findings = Diagnostics()
    read_images([("images.yaml", text)], findings)
    assert len(findings.found) == 1
    assert findings.found[0].range is not None
