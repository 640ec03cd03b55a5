"""What hooks are told, and what of the caller's environment reaches them."""

import json
import sys

import pytest
from making_elements import OPERATING_SYSTEM, described, make, places

from goldsmith.elements import hook_environment
from goldsmith.host.process import SYSTEM_PATH


@pytest.fixture
def told(tmp_path):
    def tell(hook="echo $MY_SETTING\n", more=None, **given):
        os_files = {**OPERATING_SYSTEM, "install.d/50-x": hook}
        make(tmp_path, {"my-os": os_files, "other one": {"README.rst": ""}})
        described_as = described(tmp_path, "my-os", "other one", environment=given)
        return hook_environment.hook_environment(*described_as, places(tmp_path), **(more or {}))

    return tell


def test_everything_that_upstream_tells_is_there(told, tmp_path):
    found = told(HOME="/home/me")
    assert found["TMP_BUILD_DIR"] == str(tmp_path / "b.x")
    assert found["TMP_MOUNT_PATH"] == str(tmp_path / "b.x/mnt")
    assert found["TMP_HOOKS_PATH"] == str(tmp_path / "b.x/hooks")
    assert found["TMP_IMAGE_DIR"] == str(tmp_path / "i.x")
    assert found["IMAGE_ELEMENT"] == "my-os other one"
    assert json.loads(found["IMAGE_ELEMENT_YAML"]) == {
        "my-os": str(tmp_path / "my-os"), "other one": str(tmp_path / "other one"),
    }  # fmt: skip
    assert found["ELEMENTS_PATH"].split(":")[0] == str(tmp_path)
    names = {
        "OUT_IMAGE_PATH", "IMAGE_NAME", "ARCH", "FS_TYPE", "IMAGE_TYPE", "DIB_IMAGE_CACHE",
        "DIB_LOCKFILES", "DIB_OFFLINE", "DIB_CHECKSUM", "DIB_NO_TMPFS", "DIB_MIN_TMPFS",
        "DIB_DEBUG_TRACE", "DIB_PYTHON_EXEC", "DIB_ARGS", "DIB_ENV", "DIB_ROOT_FSTYPE", "_LIB",
        "BASH_FUNC_die%%", "BASH_FUNC_get_image_element_array%%",
    }  # fmt: skip
    assert names <= found.keys()
    assert (found["LC_ALL"], found["DIB_OFFLINE"], found["HOME"]) == ("C", "", "/home/me")
    assert found["DIB_PYTHON_EXEC"] == sys.executable
    assert "TARGET_ROOT" not in found


def test_hooks_get_the_variables_that_they_name_and_those_of_known_programs(told):
    given = {
        "MY_SETTING": "1", "DIB_X": "2", "http_proxy": "p", "GIT_SSL_NO_VERIFY": "1",
        "BUILD_NUMBER": "77", "SSH_AUTH_SOCK": "/s", "LANG": "de_DE.UTF-8",
    }  # fmt: skip
    found = told(**given)
    expected = {name: given[name] for name in ("MY_SETTING", "DIB_X", "http_proxy",
                                               "GIT_SSL_NO_VERIFY")}  # fmt: skip
    assert {name: value for name, value in found.items() if name in given} == expected


def test_what_describes_the_session_is_not_handed_on_even_if_named(told):
    found = told(hook="echo $TERM $PWD $SHLVL\n", TERM="xterm", PWD="/x", SHLVL="3")
    assert found["TERM"] == "dumb"
    assert not {"PWD", "SHLVL"} & found.keys()


def test_our_programs_come_first_and_sbin_is_there(told):
    parts = told(PATH="/opt/bin:/usr/bin")["PATH"].split(":")
    assert all("goldsmith/elements/programs" in part for part in parts[:2])
    assert parts[2:4] == ["/opt/bin", "/usr/bin"]
    assert {"/sbin", "/usr/sbin", "/usr/local/sbin"} <= set(parts)


def test_hooks_in_the_tree_get_no_paths_to_programs_of_the_host(told):
    found = hook_environment.in_tree(told(TMPDIR="/t", HOME="/home/me", PATH="/opt/bin", DIB_X="1"))
    assert (found["PATH"], found["HOME"], found["DIB_X"]) == (SYSTEM_PATH, "/root", "1")
    assert not {"TMPDIR", "VIRTUAL_ENV", "GOLDSMITH_PYTHON"} & found.keys()


def test_what_the_disk_layer_knows_is_added(told):
    assert told(more={"DIB_ROOT_LABEL": "my-root"})["DIB_ROOT_LABEL"] == "my-root"


def test_a_ramdisk_has_other_defaults_that_the_caller_can_change(tmp_path):
    make(tmp_path, {"my-os": OPERATING_SYSTEM})
    found = hook_environment.hook_environment(
        *described(tmp_path, "my-os", ramdisk=True, environment={"DIB_MIN_TMPFS": "5"}),
        places(tmp_path),
    )
    assert (found["DIB_NO_TMPFS"], found["DIB_MIN_TMPFS"]) == ("1", "5")


def test_the_stored_settings_hold_no_secret(tmp_path):
    make(tmp_path, {"my-os": OPERATING_SYSTEM})
    given = {
        "DIB_DEV_USER_PASSWORD": "hunter-two", "DIB_A": 'x "y" $z\\', "DIB_B": "two\nlines'",
        "DIB_MIRROR": "http://me:letmein@mirror.example/debian", "DIB_C": "has hunter-two in it",
        "OTHER": "not of upstream",
    }  # fmt: skip
    description, _ = described(
        tmp_path, "my-os", environment=given, arguments="-o x --docker-target hunter-two my-os"
    )
    found = hook_environment.stored(description)
    assert found["DIB_ARGS"] == "-o x --docker-target *** my-os"
    assert found["DIB_ENV"].splitlines() == [
        r'declare -x DIB_A="x \"y\" \$z\\"',
        'declare -x DIB_ARGS="-o x --docker-target *** my-os"',
        r"declare -x DIB_B=$'two\nlines\''",
        'declare -x DIB_MIRROR="http://me@mirror.example/debian"',
        f'declare -x DIB_PYTHON_EXEC="{sys.executable}"',
    ]
