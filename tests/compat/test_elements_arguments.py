"""What words and variables mean to upstream's disk-image-create, and what they mean here.

Its script is run from where it reads its options to the end of that; then it tells what it has.
"""

import os
import subprocess

import pytest

from goldsmith.elements import catalog
from goldsmith.errors import GoldsmithError
from goldsmith.template.dib.request import read_request

LIB = catalog.upstream_package() / "lib"
TOLD = ("ARCH", "IMAGE_NAME", "DIB_DEBUG_TRACE", "COMPRESS_IMAGE", "CLEAR_ENV", "SKIP_BASE",
        "DIB_CHECKSUM", "DIB_IMAGE_SIZE", "DIB_IMAGE_EXTRA_SIZE", "DIB_IMAGE_CACHE",
        "MAX_ONLINE_RESIZE", "MKFS_OPTS", "DIB_OFFLINE", "QEMU_IMG_OPTIONS", "ROOT_LABEL",
        "RAMDISK_ELEMENT", "DIB_DEFAULT_INSTALLTYPE", "DOCKER_TARGET", "LOGFILE",
        "FS_TYPE")  # fmt: skip


def upstream(words, given, *, ramdisk=False):
    """Its variables after it has read its options and defaults, or its status and error."""
    lines = (LIB / "disk-image-create").read_text().splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("DIB_DEBUG_TRACE="))
    end = next(i for i, line in enumerate(lines) if line.startswith('if [ "$CLEAR_ENV"'))
    defaults = ["img-defaults", *(["ramdisk-defaults"] if ramdisk else [])]
    name = f"{'ramdisk' if ramdisk else 'disk'}-image-create"
    tell = ['[ "${#IMAGE_TYPES[@]}" != 1 ] || IMAGE_NAME=${IMAGE_NAME%%\\.${IMAGE_TYPES[0]}}',
            *(f'printf "{one}=%s\\0" "${{{one}:-}}"' for one in TOLD),
            'printf "types=%s\\0" "${IMAGE_TYPES[*]}"', 'printf "elements=%s\\0" "$*"',
            'printf "packages=%s\\0" "${INSTALL_PACKAGES[*]}"']  # fmt: skip
    script = [
        "set -eE", f"SCRIPTNAME={name}", f"_LIB={LIB}", f"_BASE_ELEMENT_DIR={LIB}",
        "show_options() { echo HELP; }", "show_version() { echo VERSION; }",
        *lines[start:end], *(f"source $_LIB/{file}" for file in defaults), *tell,
    ]  # fmt: skip
    run = subprocess.run(
        ["/bin/bash", "-c", "\n".join(script), name, *words], text=True, capture_output=True,
        env={"PATH": os.environ["PATH"], "HOME": given.pop("HOME", "/nosuch"), **given},
        check=False, timeout=60,
    )  # fmt: skip
    if run.returncode or "\0" not in run.stdout:
        return run.returncode, run.stdout + run.stderr
    return dict(pair.split("=", 1) for pair in run.stdout.split("\0")[:-1])


def ours(words, given, *, ramdisk=False):
    request = read_request(words, given, ramdisk=ramdisk).request
    size = "" if request.size_bytes is None else f"{request.size_bytes / (1 << 30):g}"
    extra = "" if request.extra_size_bytes is None else f"{request.extra_size_bytes / (1 << 20):g}"
    checksums = {(): "0", ("md5", "sha256"): "1"}
    return {
        "ARCH": request.arch, "IMAGE_NAME": request.name, "DIB_DEBUG_TRACE": str(request.trace),
        "COMPRESS_IMAGE": "true" if request.compress else "",
        "CLEAR_ENV": "1" if request.clear_environment else "",
        "SKIP_BASE": "1" if request.skip_base else "",
        "DIB_CHECKSUM": checksums.get(request.checksums, ",".join(request.checksums)),
        "DIB_IMAGE_SIZE": size, "DIB_IMAGE_EXTRA_SIZE": extra,
        "DIB_IMAGE_CACHE": request.image_cache or given["DEFAULT_CACHE"],
        "MAX_ONLINE_RESIZE": str(request.max_online_resize or ""),
        "MKFS_OPTS": " ".join(request.mkfs_options), "DIB_OFFLINE": "1" if request.offline else "",
        "QEMU_IMG_OPTIONS": request.qemu_img_options, "ROOT_LABEL": request.root_label,
        "RAMDISK_ELEMENT": request.ramdisk_element,
        "DIB_DEFAULT_INSTALLTYPE": request.install_type, "DOCKER_TARGET": request.docker_target,
        "LOGFILE": request.logfile, "FS_TYPE": request.root_filesystem,
        "types": " ".join(request.types), "elements": " ".join(request.elements),
        "packages": " ".join(request.packages),
    }  # fmt: skip


WORDS = (
    "x", "vm x -o a/b", "-a arm64 x", "-aarm64 vm x", "x -o n.raw -t raw", "x -o n.raw -t raw,tar",
    "-t qcow2,tgz,squashfs x", "-x x", "-xx -x x", "-u x", "-n x", "-p a,b x -p c", "--checksum x",
    "--check x", "--image-size 3 x", "--image-size=0.5 x", "--image-cache CACHE/c x",
    "--max-online-resize 1000 x", "--mkfs-op=-F x", "--min-tmpfs 3 x", "--no-tmpfs x",
    "--offline x", "--off x", "--qemu-img-options a=b,c=d x", "--root-label r x",
    "--ramdisk-element dracut-ramdisk x", "--install-type package x",
    "-t docker --docker-target a:b x", "--logfile f x", "x -- -u", "a b -u c", "-un x -o y",
)  # fmt: skip
VARIABLES = (
    {}, {"ARCH": "arm64"}, {"IMAGE_NAME": "n"}, {"DIB_DEBUG_TRACE": "1"}, {"DIB_IMAGE_SIZE": "7"},
    {"DIB_IMAGE_EXTRA_SIZE": "100"}, {"DIB_CHECKSUM": "md5"}, {"DIB_CHECKSUM": "1"},
    {"IMAGE_TYPES": "raw"}, {"MKFS_OPTS": "-F"}, {"DOCKER_TARGET": "a:b"}, {"LOGFILE": "f"},
    {"COMPRESS_IMAGE": ""}, {"ROOT_LABEL": "r"}, {"QEMU_IMG_OPTIONS": "a=b"}, {"FS_TYPE": "xfs"},
    {"DIB_DEFAULT_INSTALLTYPE": "package"}, {"RAMDISK_ELEMENT": "dracut-ramdisk"},
    {"MAX_ONLINE_RESIZE": "5"}, {"DIB_OFFLINE": "1"}, {"SKIP_BASE": "1"},
)  # fmt: skip


@pytest.mark.parametrize("ramdisk", [False, True], ids=["disk", "ramdisk"])
@pytest.mark.parametrize("text", WORDS)
def test_words_mean_the_same(text, ramdisk, tmp_path):
    words = text.replace("CACHE", str(tmp_path)).split()
    same(words, {}, ramdisk, tmp_path)


@pytest.mark.parametrize(
    "words", ["x", "-x x", "-t raw,tar x", "--image-size 2 x -o y", "-a s390x x"]
)
@pytest.mark.parametrize("given", VARIABLES, ids=lambda given: ",".join(given) or "none")
def test_variables_mean_the_same(words, given, tmp_path):
    same(words.split(), dict(given), False, tmp_path)


def same(words, given, ramdisk, tmp_path):
    given = {"HOME": str(tmp_path), **given}
    theirs = upstream(words, dict(given), ramdisk=ramdisk)
    assert isinstance(theirs, dict), theirs
    cache = str(tmp_path / ".cache/image-create")
    mine = ours(words, {**given, "DEFAULT_CACHE": cache}, ramdisk=ramdisk)
    if not ramdisk:  # it has a default for ramdisks only
        del mine["RAMDISK_ELEMENT"], theirs["RAMDISK_ELEMENT"]
    assert mine == theirs


@pytest.mark.parametrize(
    "text",
    ["-z x", "--nosuch x", "--image x", "-a", "--image-size", "--offline=1 x", "-o", "--m x"],
)
def test_words_that_upstream_refuses_are_refused_in_the_same_words(text):
    status, said = upstream(text.split(), {"HOME": "/nosuch"})
    with pytest.raises(GoldsmithError) as caught:
        read_request(text.split(), {})
    assert status == 1
    # We have some words more, which are possibilities too.
    assert said.splitlines()[0].partition(": ")[2].partition(";")[0] in str(caught.value)


@pytest.mark.parametrize("text", ["--mkfs-journal-size 32 x", "--image-extra-size 3 x"])
def test_documented_words_that_upstream_refuses_work_here(text):
    assert upstream(text.split(), {"HOME": "/nosuch"})[0] == 1
    assert read_request(text.split(), {}).request


def test_help_and_version_end_both():
    for word, told in (("-h", "HELP"), ("--help", "HELP"), ("--version", "VERSION")):
        assert upstream(["x", word], {"HOME": "/nosuch"}) == (0, f"{told}\n")
        asked = read_request(["x", word], {})
        assert (asked.help, asked.version) == (told == "HELP", told == "VERSION")
