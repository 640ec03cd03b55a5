"""What disk-image-create is asked for: words, environment, and YAML."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from goldsmith.errors import Diagnostics, GoldsmithError
from goldsmith.template.dib.getopt_words import read_words
from goldsmith.template.dib.images import read_images
from goldsmith.template.dib.request import RequestError, read_request

SHORT = {"a": True, "x": False, "u": False}
LONG = {"image-size": True, "image-cache": True, "offline": False}


@pytest.mark.parametrize(
    ("words", "options", "others"),
    [
        (["vm", "-x", "debian"], [("x", "")], ["vm", "debian"]),
        (["-xxu"], [("x", ""), ("x", ""), ("u", "")], []),
        (["-aarm64"], [("a", "arm64")], []),
        (["-xa", "arm64"], [("x", ""), ("a", "arm64")], []),
        (["--off"], [("offline", "")], []),
        (["--image-s", "2"], [("image-size", "2")], []),
        (["--image-size=2"], [("image-size", "2")], []),
        (["-x", "--", "-u"], [("x", "")], ["-u"]),
        (["-"], [], ["-"]),
    ],
)
def test_words_are_sorted_as_getopt_does(words, options, others):
    found = read_words(words, SHORT, LONG)
    assert (list(found.options), list(found.others)) == (options, others)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--image"], "is ambiguous; possibilities: '--image-size', '--image-cache'"),
        (["--nosuch"], "unrecognized option '--nosuch'"),
        (["--image-size"], "'--image-size' requires an argument"),
        (["--offline=1"], "'--offline' doesn't allow an argument"),
        (["-z"], "invalid option -- 'z'"),
        (["-a"], "option requires an argument -- 'a'"),
    ],
)
def test_wrong_words_are_told_as_getopt_does(words, told):
    with pytest.raises(GoldsmithError, match=told.replace("(", r"\(")):
        read_words(words, SHORT, LONG)


def request(*words, ramdisk=False, **environment):
    return read_request(words, environment, ramdisk=ramdisk).request


def test_defaults_are_upstreams():
    found = request("debian-minimal", "-a", "amd64")
    assert (found.name, found.types, found.compress, found.checksums) == (
        "image", ("qcow2",), True, ()
    )  # fmt: skip
    assert (found.elements, found.skip_base, found.ramdisk) == (("debian-minimal",), False, False)


def test_options_win_over_the_environment():
    given = {"IMAGE_NAME": "env", "DIB_IMAGE_SIZE": "3", "FS_TYPE": "xfs", "MKFS_OPTS": "-n"}
    found = request("x", "-o", "mine", "--mkfs-options", "-q  -F", **given)
    assert (found.name, found.size_bytes, found.root_filesystem) == ("mine", 3 << 30, "xfs")
    assert found.mkfs_options == ("-q", "-F")
    assert request("x", **given).name == "env"


def test_what_upstream_documents_and_refuses_works():
    words = ("x", "--mkfs-journal-size", "32", "--image-extra-size", "100", "-c")
    found = request(*words, IMAGE_NAME="env")
    assert (found.journal_size_mib, found.extra_size_bytes) == (32, 100 << 20)
    assert (found.clear_environment, found.name) == (True, "image")


def test_one_type_is_cut_from_the_name_and_several_are_not():
    assert request("x", "-o", "a.qcow2").name == "a"
    assert request("x", "-o", "a.qcow2", "-t", "qcow2,raw").name == "a.qcow2"


@pytest.mark.parametrize(
    ("value", "found"),
    [("1", ("md5", "sha256")), ("", ()), ("0", ()), ("md5", ("md5",)), ("sha256,md5",
     ("sha256", "md5"))],
)  # fmt: skip
def test_checksums_are_all_or_those_that_are_named(value, found):
    assert request("x", DIB_CHECKSUM=value).checksums == found
    assert request("x", "--checksum").checksums == ("md5", "sha256")


def test_packages_sizes_and_tracing_add_up():
    found = request("x", "-p", "a,b", "-p", "c", "-x", "-x", "--image-size", "0.5")
    assert (found.packages, found.trace, found.size_bytes) == (("a", "b", "c"), 2, 1 << 29)


def test_all_that_is_wrong_comes_at_once():
    with pytest.raises(RequestError) as caught:
        request("-t", "../x,docker", "--image-size", "big", "--image-extra-size", "1e999999",
                "--max-online-resize", "x",
                DIB_CHECKSUM="crc", **{"break": "before-lunch"})  # fmt: skip
    told = "\n".join(caught.value.findings)
    for words in ("At least one distribution root element", "-t ../x", "--docker-target", "big",
                  "--image-extra-size 1e999999", "--max-online-resize x", "DIB_CHECKSUM=crc",
                  "before-lunch"):  # fmt: skip
        assert words in told


@pytest.mark.parametrize("text", ["1e999999", "1e-999999", "sNaN", "-inf"])
def test_a_size_that_is_none_is_a_finding(text):
    with pytest.raises(RequestError, match=f"--image-size {text}: it is not a size"):
        request("x", "--image-size", text)


def test_the_program_of_a_break_is_read_with_it():
    given = {"break": "after-root", "break_cmd": "zsh -c 'echo a'"}
    assert request("x", **given).breaks.command == ("zsh", "-c", "echo a")
    with pytest.raises(RequestError, match="break_cmd=zsh '-c: No closing quotation"):
        request("x", **{**given, "break_cmd": "zsh '-c"})


def test_help_and_version_need_nothing_else():
    assert read_request(["--help"], {}).help
    assert read_request(["-h", "-t", "x"], {}).help
    assert read_request(["--version"], {}).version


@given(st.lists(st.text(alphabet="-=abcotpxunh,. 0", max_size=8), max_size=6))
def test_no_words_are_more_than_an_error(words):
    try:
        read_request(words, {})
    except GoldsmithError as e:
        assert str(e)


def images(*texts):
    findings = Diagnostics()
    files = [(f"{number}.yaml", text) for number, text in enumerate(texts)]
    return [str(one) for one in read_images(files, findings)], findings.found


def test_an_image_is_a_command_with_its_keys_in_order():
    text = """
- imagename: a b
  elements: [vm, debian-minimal]
  types: [qcow2, raw]
  debug-trace: 2
  packages: [curl, vim]
  environment: {DIB_RELEASE: bookworm, X: "a b"}
  qemu-img-options: {compat: "0.10"}
  checksum: true
  uncompressed: false
  image-size: 3
"""
    commands, found = images(text)
    assert found == []
    assert commands == [
        "DIB_RELEASE=bookworm X='a b' disk-image-create -o 'a b' -t qcow2,raw -x -x --checksum "
        "--image-size 3 --qemu-img-options compat=0.10 -p curl,vim vm debian-minimal"
    ]


def test_a_command_shows_no_secret():
    text = """
- elements: [x]
  docker-target: the-word
  environment: {A_PASSWORD: "the-word", B: "http://me:other@h/", C: "-the-word", D_TOKEN: ""}
"""
    (command,), found = images(text)
    assert found == []
    assert command == (
        "A_PASSWORD=*** B=http://me@h/ C='-***' D_TOKEN=*** "
        "disk-image-create --docker-target '***' x"
    )


def test_entries_of_one_name_are_merged_over_files():
    commands, found = images(
        "- {arch: amd64, elements: [a]}\n- {imagename: r, ramdisk: true, elements: [b]}\n",
        "- {elements: [c]}\n- {imagename: image, arch: arm64, elements: [d]}\n",
    )
    assert found == []
    assert commands == [
        "disk-image-create -o image -a arm64 a d", "ramdisk-image-create -o r b c"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: b\n", "not a list of images"),
        ("- a\n", "an image is a map"),
        ("- {imagenam: a}\n", 'there is no key "imagenam"'),
        ("- {arch: mips}\n", "arch: it is one of"),
        ("- {types: [qcow3]}\n", '"qcow3" is none of'),
        ("- {debug-trace: 3}\n", "from 0 to 2"),
        ("- {image-size: 0}\n", "at least 1"),
        ("- {image-size: true}\n", "at least 1"),
        ("- {ramdisk: yes please}\n", "true or false"),
        ("- {environment: {A: 1}}\n", "put the value of A in quotes"),
        ("- {environment: {A=B: c}}\n", '"A=B" is no name of a variable'),
        ('- {environment: {A: "a\\0b"}}\n', "without NUL"),
        ('- {environment: {"A\\0": a}}\n', "without NUL"),
        ('- {environment: {A: "\\ud800"}}\n', "in UTF-8"),
        ('- {imagename: "a\\0b"}\n', "without NUL"),
        ('- {elements: ["a\\0b"]}\n', "without NUL"),
        ("- {elements: a}\n", "a list of texts"),
        ("- [\n", "no valid YAML"),
    ],
)
def test_each_mistake_of_a_file_has_its_place(text, told):
    _, found = images(text)
    assert [told in str(one) for one in found] == [True], found
    assert found[0].range is not None
