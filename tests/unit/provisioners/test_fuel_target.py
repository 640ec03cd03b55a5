"""What fuel-target does to files: root's hash wherever it stands, cloud.cfg with its comments."""

import pytest
from pydantic import ValidationError

from goldsmith.errors import GoldsmithError
from goldsmith.provisioners.fuel_target import (
    FuelTargetOptions,
    FuelTargetProvisioner,
    set_root_hash,
    write_files_last,
)

HASH = "$6$salt$0123456789abcdef"
OTHERS = "daemon:*:19000:0:99999:7:::\nrooter:!:1::::::\n"


@pytest.mark.parametrize("before", ["*", "!", "!!", "", "$6$old$old", "x"])
def test_b13_root_gets_the_hash_whatever_stood_there(before):
    shadow = f"{OTHERS}root:{before}:19000:0:99999:7:::\n"
    assert set_root_hash(shadow, HASH) == f"{OTHERS}root:{HASH}:19000:0:99999:7:::\n"


@pytest.mark.parametrize("shadow", ["", OTHERS, "root\n"])
def test_b13_without_an_account_there_is_an_error(shadow):
    with pytest.raises(GoldsmithError, match="no line for root"):
        set_root_hash(shadow, HASH)


@pytest.mark.parametrize("given", ["secret-word", "a:b", "$6$x$y z", "$6$aaaaaaaa\n$bbbbbbbb"])
def test_what_is_no_hash_is_refused_and_not_shown(given):
    with pytest.raises(ValidationError) as caught:
        FuelTargetOptions(root_password_hash=given)
    assert given not in caught.value.errors()[0]["msg"]


def test_the_key_follows_the_hash(tmp_path):
    keys = {
        FuelTargetProvisioner(FuelTargetOptions(root_password_hash=given)).key(tmp_path).digest
        for given in (None, HASH, HASH + "0")
    }
    assert len(keys) == 3


CLOUD_CFG = """\
# a comment
users:
   - default
cloud_init_modules:
 - migrator
 - write-files
 - growpart

# The modules that run in the 'config' stage
cloud_config_modules:
 - ssh
 - locale   # here

cloud_final_modules:
 - write-files
"""


def test_write_files_runs_last():
    moved = write_files_last(CLOUD_CFG)
    init, rest = moved.split("# The modules")
    assert "write-files" not in init
    assert rest.splitlines()[2:6] == [" - ssh", " - locale   # here", " - write-files", ""]
    assert "# a comment" in moved
    assert write_files_last(moved) == moved


def test_it_is_the_same_whichever_list_is_first():
    head, tail = CLOUD_CFG.split("cloud_config_modules:")
    lists, final = tail.split("\ncloud_final")
    swapped = f"cloud_config_modules:{lists}\n{head}cloud_final{final}"
    assert " - locale   # here\n - write-files\n" in write_files_last(swapped)


@pytest.mark.parametrize("text", ["", "a: 1\n", "cloud_init_modules:\n - write-files\n",
                                  "cloud_config_modules:\n - ssh\n"])  # fmt: skip
def test_b13_lists_that_are_absent_are_no_error(text):
    assert write_files_last(text) == text
