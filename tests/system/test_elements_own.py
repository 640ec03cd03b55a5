"""The two elements of goldsmith's own: what their hooks leave, run one by one."""

import os
import subprocess
from pathlib import Path

import pytest

import goldsmith.elements
from goldsmith.elements.lint import lint
from goldsmith.elements.secret_variables import NAMES_VARIABLE, secret_names
from goldsmith.elements.setup import COMPAT_ELEMENTS

ELEMENTS = Path(goldsmith.elements.__file__).parent
COPY_KEYS = ELEMENTS / "own/apt-keys/extra-data.d/01-copy-apt-keys"
USE_KEYS = ELEMENTS / "own/apt-keys/pre-install.d/02-use-apt-keys"
STORE = ELEMENTS / "own/build-settings/extra-data.d/50-store-build-settings"
ARMORED = "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nx\n-----END PGP PUBLIC KEY BLOCK-----\n"

pytestmark = pytest.mark.root


def run(hook, *, wanted=0, **environment):
    path = f"{ELEMENTS}/programs/host:/usr/sbin:/usr/bin:/sbin:/bin"
    done = subprocess.run(
        [hook], capture_output=True, text=True, check=False, env={"PATH": path, **environment}
    )
    assert done.returncode == wanted, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture
def tree(tmp_path):
    (tmp_path / "mnt/etc/apt/sources.list.d").mkdir(parents=True)
    (tmp_path / "keys/more").mkdir(parents=True)
    (tmp_path / "keys/one.gpg").write_bytes(b"\x99one")
    (tmp_path / "keys/more/two.key").write_text(ARMORED)
    return tmp_path / "mnt"


def files_below(directory):
    return {str(path.relative_to(directory)): path.read_bytes()
            for path in directory.rglob("*") if path.is_file()}  # fmt: skip


def test_keys_that_are_named_are_copied(tree):
    run(COPY_KEYS, TMP_MOUNT_PATH=str(tree), DIB_ADD_APT_KEYS=str(tree.parent / "keys"))
    expected = {"one.gpg": b"\x99one", "two.key": ARMORED.encode()}
    assert files_below(tree / "tmp/apt_keys") == expected


def test_a_single_key_is_copied_too(tree):
    run(COPY_KEYS, TMP_MOUNT_PATH=str(tree), DIB_APT_KEYRING=str(tree.parent / "keys/one.gpg"))
    assert files_below(tree / "tmp/apt_keys") == {"one.gpg": b"\x99one"}


def test_keys_that_sources_name_go_along_unless_the_tree_has_them(tree):
    named = [tree.parent / f"keys/{name}" for name in ("one.gpg", "more/two.key")]
    (tree / "etc/apt/sources.list").write_text(
        f"# deb [signed-by={tree}/no] http://a b c\n"
        f"deb [arch=amd64 signed-by={named[0]}] http://a b c\n"
        "deb [signed-by=/nosuch.gpg] http://a b c\ndeb http://a b c\n"
    )
    (tree / "etc/apt/sources.list.d/x.sources").write_text(
        f"Types: deb\nURIs: http://a\nSuites: b\nSigned-By: {named[1]}\n"
    )
    run(COPY_KEYS, TMP_MOUNT_PATH=str(tree))
    found = files_below(tree / "tmp/apt_keys")
    assert found == {
        f"signed-by{named[0]}": b"\x99one", f"signed-by{named[1]}": ARMORED.encode()
    }  # fmt: skip
    target = Path(f"{tree}{named[0]}")
    target.parent.mkdir(parents=True)
    target.write_bytes(b"of a package")
    subprocess.run(["rm", "-r", tree / "tmp/apt_keys"], check=True)
    run(COPY_KEYS, TMP_MOUNT_PATH=str(tree))
    assert list(files_below(tree / "tmp/apt_keys")) == [f"signed-by{named[1]}"]


def test_without_keys_there_is_an_empty_directory(tree):
    run(COPY_KEYS, TMP_MOUNT_PATH=str(tree))
    assert files_below(tree / "tmp/apt_keys") == {}


def test_a_key_that_is_not_there_is_an_error(tree):
    said = run(COPY_KEYS, wanted=1, TMP_MOUNT_PATH=str(tree), DIB_ADD_APT_KEYS="/nosuch")
    assert "/nosuch does not exist" in said


@pytest.mark.parametrize(
    "link", ["tmp", "tmp/apt_keys", "tmp/apt_keys/signed-by", "tmp/apt_keys/one.gpg"]
)
def test_no_link_of_the_tree_is_followed_to_the_host(link, tree):
    outside = tree.parent / "outside"
    outside.mkdir(mode=0o700)
    (outside / "one.gpg").write_text("of the host")
    target = outside / "one.gpg" if link.endswith("gpg") else outside
    place = tree / link
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(target)
    named = tree.parent / "keys/one.gpg"
    (tree / "etc/apt/sources.list").write_text(f"deb [signed-by={named}] http://a b c\n")
    said = run(COPY_KEYS, wanted=1, TMP_MOUNT_PATH=str(tree), DIB_ADD_APT_KEYS=str(named))
    assert f"{place} is a link" in said
    assert files_below(outside) == {"one.gpg": b"of the host"}
    assert outside.stat().st_mode & 0o777 == 0o700


def test_keys_that_an_earlier_hook_has_put_there_stay(tree):
    (tree / "tmp/apt_keys").mkdir(parents=True)
    (tree / "tmp/apt_keys/early.gpg").write_bytes(b"\x99early")
    run(COPY_KEYS, TMP_MOUNT_PATH=str(tree), DIB_ADD_APT_KEYS=str(tree.parent / "keys/one.gpg"))
    assert sorted(files_below(tree / "tmp/apt_keys")) == ["early.gpg", "one.gpg"]


def test_keys_are_used_under_names_that_apt_reads(tree):
    """With this host's programs, in a mount namespace with directories of the test."""
    keys, trusted, named = (tree / name for name in ("apt_keys", "trusted", "named"))
    for directory in (keys / "signed-by/srv/keys", trusted, named):
        directory.mkdir(parents=True)
    (keys / "one.gpg").write_bytes(b"\x99one")
    (keys / "two.key").write_text(ARMORED)
    (keys / "odd name").write_bytes(b"\x99odd")
    (keys / "signed-by/srv/keys/three.gpg").write_bytes(b"\x99three")
    (trusted / "two.key").write_text(ARMORED)
    script = (
        'mount --make-rprivate / && mount --bind "$1" /mnt && mount --bind "$3" /srv && '
        'mount --bind "$2" /etc/apt/trusted.gpg.d && mount -t tmpfs tmpfs /tmp && '
        "mkdir /tmp/apt_keys && mount --bind /mnt /tmp/apt_keys && exec bash /dev/fd/$4"
    )
    inside = [str(path) for path in (keys, trusted, named)]
    descriptor = os.open(USE_KEYS, os.O_RDONLY)
    try:
        # Its own file may lie below what is hidden.
        subprocess.run(
            ["unshare", "--mount", "bash", "-euc", script, "bash", *inside, str(descriptor)],
            check=True, pass_fds=[descriptor],
        )  # fmt: skip
    finally:
        os.close(descriptor)
    assert files_below(trusted) == {
        "one.gpg": b"\x99one", "two.asc": ARMORED.encode(), "odd_name.gpg": b"\x99odd"
    }  # fmt: skip
    assert files_below(named) == {"keys/three.gpg": b"\x99three"}


SECRETS = {
    "DIB_DEV_USER_PASSWORD": "hidden", "MY_TOKEN": "hidden", "AWS_SECRET_ACCESS_KEY": "hidden",
    "REG_ACTIVATION_KEY": "hidden", "http_proxy": "http://user:hidden@proxy:3128/",
    "DIB_APT_SOURCES_CONF": "a:deb https://me:hidden@mirror/ b c", "DIB_ENV": "hidden",
    "SSH": "-----BEGIN OPENSSH PRIVATE KEY-----hidden", "DB_PASS": "hidden",
    "DIB_REPO": "https://ghp_hidden@forge/x",
}  # fmt: skip
SETTINGS = {
    "DIB_RELEASE": "noble", "DIB_DEV_USER_AUTHORIZED_KEYS": "/keys", "DIB_LINES": "a\n'b' \"$c\"\\",
    "DIB_ADD_APT_KEYS": "/keys", "DIB_DEV_USER_PWDLESS_SUDO": "yes", "DIB_EMPTY": "",
    "no_proxy": "localhost",
}  # fmt: skip


def told(environment):
    """What hooks on the host are given: their variables, and which of them hold secrets."""
    return {**environment, NAMES_VARIABLE: " ".join(secret_names(environment))}


def test_settings_are_stored_and_can_be_sourced(tmp_path):
    run(STORE, TMP_HOOKS_PATH=str(tmp_path), **told(SETTINGS))
    path = tmp_path / "build-settings"
    assert path.stat().st_mode & 0o777 == 0o644
    script = 'source "$1"; shift; for name; do printf "%s\\0" "${!name}"; done'
    shown = subprocess.run(
        ["bash", "-euc", script, "bash", path, *SETTINGS], check=True, capture_output=True,
        text=True, env={},
    ).stdout  # fmt: skip
    assert shown.split("\0")[:-1] == list(SETTINGS.values())


def test_secrets_are_left_out_and_named(tmp_path):
    given = told({**SECRETS, **SETTINGS})
    said = run(STORE, TMP_HOOKS_PATH=str(tmp_path), DIB_DEBUG_TRACE="2", **given)
    text = (tmp_path / "build-settings").read_text()
    assert "hidden" not in text + said
    for name in set(SECRETS) - {"DIB_ENV"}:
        assert f"# {name} is left out: it may hold a secret\n" in text
    assert all(f"declare -x {name}=" in text for name in SETTINGS)
    assert NAMES_VARIABLE not in text


def test_without_word_of_the_secrets_nothing_is_stored(tmp_path):
    said = run(STORE, wanted=1, TMP_HOOKS_PATH=str(tmp_path), **SECRETS)
    assert NAMES_VARIABLE in said
    assert (tmp_path / "build-settings").read_text() == ""


def test_the_same_environment_gives_the_same_bytes(tmp_path):
    contents = []
    for order in (1, -1):
        given = dict(list(SETTINGS.items())[::order])
        run(STORE, TMP_HOOKS_PATH=str(tmp_path), **told(given))
        contents.append((tmp_path / "build-settings").read_bytes())
    assert contents[0] == contents[1]


@pytest.mark.parametrize("name", COMPAT_ELEMENTS)
def test_they_pass_our_own_checks(name):
    assert [str(found) for found in lint(ELEMENTS / "own" / name)] == []


@pytest.mark.parametrize("hook", sorted((ELEMENTS / "own").glob("*/*.d/*")), ids=lambda p: p.name)
def test_their_hooks_can_be_run(hook):
    assert os.access(hook, os.X_OK)
