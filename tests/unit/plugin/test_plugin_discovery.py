"""Plugins in their directory: names, digests, places and versions that count."""

import hashlib

import pytest

from goldsmith.errors import GoldsmithError
from goldsmith.plugin.described import Description
from goldsmith.plugin.discovery import (
    file_name,
    installed_for,
    installed_plugins,
    plugin_directory,
    system_name,
)
from goldsmith.plugin.remote.catalogue import Catalogue, Chosen
from goldsmith.plugin.remote.configuration import RunSettings
from goldsmith.plugin.remote.kinds import PluginComponents
from goldsmith.plugin.remote.session import Session

SOURCE = "example.com/ours/thing"


def put(directory, version="1.2.3", name="thing", *, place=SOURCE, digest=True, mode=0o755):
    path = directory / place / file_name(name, version)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(version.encode())
    path.chmod(mode)
    if digest:
        text = hashlib.sha256(path.read_bytes()).hexdigest() if digest is True else digest
        path.with_name(path.name + "_SHA256SUM").write_text(text)
    return path


def versions(directory, **how):
    return [one.label for one in installed_for(directory, SOURCE, **how)]


def test_the_newest_comes_first_and_a_release_before_its_own_prerelease(tmp_path):
    for version in ("1.2.3", "1.10.0", "1.10.0-dev", "1.9.9"):
        put(tmp_path, version)
    assert versions(tmp_path) == ["v1.10.0", "v1.10.0-dev", "v1.9.9", "v1.2.3"]
    assert versions(tmp_path, prereleases=False) == ["v1.10.0", "v1.9.9", "v1.2.3"]


def test_everything_below_the_parent_of_the_address_counts(tmp_path):
    put(tmp_path, "1.0.0", place="example.com/ours")
    put(tmp_path, "2.0.0", place="example.com/ours/other/deep")
    put(tmp_path, "3.0.0", place="example.com/theirs/thing")
    assert versions(tmp_path) == ["v2.0.0", "v1.0.0"]


@pytest.mark.parametrize(
    "how",
    [
        {"digest": False}, {"digest": "0" * 64}, {"mode": 0o644}, {"version": "1.2"},
        {"version": "01.2.x"}, {"place": "."}, {"place": "/".join("abcdefghijklmnopq")},
    ],
)  # fmt: skip
def test_what_does_not_count(tmp_path, how):
    put(tmp_path, **how)
    assert installed_plugins(tmp_path) == []


def test_names_of_other_systems_and_protocols_do_not_count(tmp_path):
    good = put(tmp_path)
    for old, new in ((system_name(), "plan9_mips"), ("x5.0", "x4.0")):
        other = good.with_name(good.name.replace(old, new))
        other.write_bytes(good.read_bytes())
        other.chmod(0o755)
        digest = good.with_name(good.name + "_SHA256SUM").read_text().upper()
        other.with_name(other.name + "_SHA256SUM").write_text(digest)
    assert [one.path for one in installed_plugins(tmp_path)] == [good]


def test_the_directory_is_packers(tmp_path):
    home = {"HOME": str(tmp_path)}
    assert plugin_directory(home) == tmp_path / ".config/packer/plugins"
    assert plugin_directory(home | {"XDG_CONFIG_HOME": "/x"}).as_posix() == "/x/packer/plugins"
    (tmp_path / ".packer.d").mkdir()
    assert plugin_directory(home) == tmp_path / ".packer.d/plugins"
    configured = home | {"PACKER_CONFIG_DIR": "/c"}
    assert plugin_directory(configured).as_posix() == "/c/.packer.d/plugins"
    assert plugin_directory(configured | {"PACKER_PLUGIN_PATH": "/p"}).as_posix() == "/p"
    with pytest.raises(GoldsmithError, match="several directories"):
        plugin_directory({"PACKER_PLUGIN_PATH": "/p:/q"})


def test_a_digest_is_told_with_the_program(tmp_path):
    path = put(tmp_path)
    (one,) = installed_plugins(tmp_path)
    assert one.digest == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("locked", [False, True])
def test_a_locked_plugin_wins_over_a_stray_program(tmp_path, locked):
    put(tmp_path)
    stray = tmp_path / "packer-provisioner-thing-x"
    stray.write_text("")
    stray.chmod(0o755)
    (one,) = installed_plugins(tmp_path)
    said = Description("1.2.3", "x5.0", {"provisioner": ("x",)})
    catalogue = Catalogue(
        {"PACKER_PLUGIN_PATH": str(tmp_path)}, required={"thing": Chosen(one, said, locked)}
    )
    components = PluginComponents(catalogue, Session(RunSettings(core_version="1.6.6")))
    found = components._place("provisioner", "thing-x")
    assert found is not None
    assert found.program == str(one.path if locked else stray)
    assert components.replaces("provisioner", "thing-x") is not locked


def test_nobody_is_asked_within_a_plugin_that_is_asked(tmp_path):
    put(tmp_path)
    (one,) = installed_plugins(tmp_path)
    assert Catalogue({"GOLDSMITH_DESCRIBING": "1"}).described(one) is None
