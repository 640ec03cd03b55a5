"""What is found wrong with an image of elements by whoever only reads a template."""

import pytest
from pydantic import ValidationError

from goldsmith.builders.elements.builder import ElementsBuilder
from goldsmith.builders.elements.options import ElementsOptions
from goldsmith.core.options import Finding, ReadOptions

SYSTEM = {"element-provides": "operating-system\n", "element-deps": "package-installs\n"}


@pytest.fixture
def checked(tmp_path):
    """Check a source with the elements of a directory, of which my-os has these files."""

    def check(files=None, **options):
        for place, text in {**SYSTEM, **(files or {})}.items():
            path = tmp_path / "elements/my-os" / place
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        environment = {"ELEMENTS_PATH": str(tmp_path / "elements"),
                       **options.pop("environment", {})}  # fmt: skip
        given = {"elements": ["my-os"], "types": ["tar"], **options}
        made = ElementsOptions.model_validate({**given, "environment": environment})
        return list(ElementsBuilder(made, "x").check())

    return check


def test_a_good_one_has_no_findings(checked):
    assert checked(arch="arm64", types=["raw", "tgz", "vhd", "vmdk"], image_name="out/x") == []
    assert checked(types=["raw"], image_name="x" * 247) == []


@pytest.mark.parametrize(
    ("options", "path", "told"),
    [
        ({"image_name": "/proc/x"}, ("image_name",), "/proc is the kernel's"),
        ({"image_name": "/sys/fs/x"}, ("image_name",), "is the kernel's"),
        ({"image_name": "/etc/passwd/x"}, ("image_name",), "/etc/passwd is not a directory"),
        ({"image_name": "x/"}, ("image_name",), "it names no file"),
        ({"image_name": "x" * 248}, ("image_name",), "a file's name has 255 bytes at most"),
        ({"image_name": "\u00e9" * 128 + "/x"}, ("image_name",), "255 bytes at most"),
        ({"types": ["tar", "t/r"]}, ("types", 1), "there is no such type of image"),
        ({"install_type": "foo"}, ("install_type",), "there is no install type foo"),
        ({"elements": ["my-os", "nope"]}, ("elements",), "Element 'nope' not found"),
        ({"elements": ["vm"]}, ("elements",), "Please include an operating system element"),
        ({"types": ["docker"], "docker_target": "A B"}, ("docker_target",), "Docker calls no"),
        ({"environment": {"DIB_BLOCK_DEVICE_CONFIG": "- mkfs: {base: no}"}}, ("environment",), ""),
    ],
)  # fmt: skip
def test_each_mistake_is_told_at_its_option(checked, options, path, told):
    [one, *_] = checked(**options)
    assert one.path == path
    assert told in one.message


def test_all_of_them_come_at_once(checked):
    found = checked(image_name="/proc/x", types=["t/r"], install_type="foo", elements=["my-os"],
                    files={"package-installs.yaml": "a: ["})  # fmt: skip
    paths = [one.path[0] for one in found]
    assert paths == ["image_name", "types", "install_type", "elements"]


def test_what_is_wrong_in_a_file_has_its_place_and_text(checked, tmp_path):
    [one] = checked({"package-installs.yaml": "curl:\nvim: yes please\n"})
    path = tmp_path / "elements/my-os/package-installs.yaml"
    assert str(one.place) == f"{path}:2:1"
    assert one.text == path.read_text()


def test_an_install_type_that_an_element_has_hooks_for_is_one(checked):
    assert checked({"install.d/tool-rdo-install/10-x": ""}, install_type="rdo") == []


@pytest.mark.parametrize(("name", "meant"), [("amd46", "amd64"), ("aarch46", "aarch64")])
def test_an_architecture_that_nobody_has_is_refused(name, meant):
    with pytest.raises(ValidationError, match=f"did you mean {meant}"):
        ElementsOptions.model_validate({"elements": ["vm"], "arch": name})


def test_findings_that_rest_on_what_is_not_known_are_held_back():
    read = ReadOptions(None, [], None, frozenset({("environment",)}))
    rests = Finding("no such element", ("elements",), rests_on=(("environment",),))
    assert not read.is_sure(rests)
    assert read.is_sure(Finding("no such element", ("elements",)))
