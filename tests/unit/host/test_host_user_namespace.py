"""What keeps an ordinary user from a namespace of his own, on hosts that are a few files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from goldsmith.errors import HostError
from goldsmith.host import user_checks, user_namespace
from goldsmith.host.user_namespace import IdMap, IdRange, first_foreign

IDS = "ops:100000:65536\n"


@pytest.fixture
def host(tmp_path: Path) -> Path:
    """The root directory of a host on which everything is as it must be."""
    for name in ("subuid", "subgid"):
        write(tmp_path, f"etc/{name}", IDS)
    write(tmp_path, "proc/sys/user/max_user_namespaces", "96365\n")
    write(tmp_path, "proc/sys/kernel/unprivileged_userns_clone", "1\n")
    write(tmp_path, "proc/sys/kernel/apparmor_restrict_unprivileged_userns", "0\n")
    return tmp_path


@pytest.fixture
def tools(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The programs of that host."""
    names = {"newuidmap", "newgidmap"}

    def find(tool: str) -> str | None:
        return f"/usr/bin/{tool}" if tool in names else None

    original = user_namespace.host_obstacles
    monkeypatch.setattr(user_namespace, "host_obstacles", lambda root: original(root, find))
    return names


def write(root: Path, name: str, text: str) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_a_host_with_all_of_it(host, tools):
    assert user_checks.verdict_for_user(host, 1000, "ops").outcome == "ok"
    assert user_checks.verdict_for_root(host).outcome == "ok"


def test_settings_that_a_kernel_does_not_have_forbid_nothing(host, tools):
    for path in (host / "proc/sys").rglob("*"):
        if path.is_file():
            path.unlink()
    assert user_checks.verdict_for_user(host, 1000, "ops").outcome == "ok"


@pytest.mark.parametrize(
    ("name", "value", "remedy"),
    [
        ("kernel/unprivileged_userns_clone", "0", "sysctl -w kernel.unprivileged_userns_clone=1"),
        ("user/max_user_namespaces", "0", "sysctl -w user.max_user_namespaces=15000"),
        (
            "kernel/apparmor_restrict_unprivileged_userns",
            "1",
            "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
        ),
    ],
)
def test_a_forbidding_setting_is_named_with_its_remedy(host, tools, name, value, remedy):
    write(host, f"proc/sys/{name}", f"{value}\n")
    verdict = user_checks.verdict_for_user(host, 1000, "ops")
    assert verdict.outcome == "missing"
    assert verdict.remedy == f"as root: {remedy}"
    assert f"{name.replace('/', '.')} is {value}" in verdict.finding
    # Root itself builds without one, so there it takes nothing away.
    assert user_checks.verdict_for_root(host).outcome == "warning"


@pytest.mark.parametrize("missing", [{"newuidmap"}, {"newgidmap"}, {"newuidmap", "newgidmap"}])
def test_missing_programs_name_their_package(host, tools, missing):
    tools -= missing
    verdict = user_checks.verdict_for_user(host, 1000, "ops")
    assert verdict.outcome == "missing"
    assert verdict.packages == ("uidmap",)
    assert all(name in verdict.finding for name in missing)
    assert "apt-get install uidmap" in verdict.remedy


@pytest.mark.parametrize("text", ["", "other:100000:65536\n", "ops:100000:1000\n", "ops:x:y\n"])
def test_a_user_without_enough_ids_is_told_which_to_ask_for(host, tools, text):
    write(host, "etc/subuid", text)
    verdict = user_checks.verdict_for_user(host, 1000, "ops")
    assert verdict.outcome == "missing"
    assert "/etc/subuid gives ops no 65534 ids" in verdict.finding
    assert "usermod --add-subuids" in verdict.remedy
    assert "--add-subgids" not in verdict.remedy


def test_the_proposed_ids_belong_to_nobody_else(host, tools):
    write(host, "etc/subgid", "a:100000:65536\nb:300000:10\nc:165536:65536\n")
    remedy = user_checks.verdict_for_user(host, 1000, "ops").remedy
    assert remedy == "as root: usermod --add-subgids 300010-365545 ops"


def test_the_files_may_be_missing(host, tools):
    (host / "etc/subuid").unlink()
    assert "100000-165535" in user_checks.verdict_for_user(host, 1000, "ops").remedy


def test_a_user_may_be_named_by_his_number(host, tools):
    for name in ("subuid", "subgid"):
        write(host, f"etc/{name}", "1000:500000:65536\n")
    assert user_checks.verdict_for_user(host, 1000, "ops").outcome == "ok"
    assert user_checks.verdict_for_user(host, 1001, "other").outcome == "missing"


def test_everything_that_is_missing_is_told_at_once(host, tools, monkeypatch):
    tools.clear()
    write(host, "proc/sys/user/max_user_namespaces", "0\n")
    (host / "etc/subuid").unlink()
    monkeypatch.setattr(user_namespace, "user_name", lambda uid: "ops")
    with pytest.raises(HostError) as caught:
        user_namespace.id_map(host)
    assert caught.value.exit_code == 6
    for word in ("max_user_namespaces", "newuidmap and newgidmap", "/etc/subuid"):
        assert word in str(caught.value)
    for word in ("sysctl", "apt-get install uidmap", "usermod", "as root"):
        assert word in (caught.value.hint or "")


def test_the_map_of_a_user(host, tools, monkeypatch):
    monkeypatch.setattr(user_namespace, "user_name", lambda uid: "ops")
    write(host, "etc/subgid", "ops:7:5\nops:200000:70000\n")
    ids = user_namespace.id_map(host)
    assert ids == IdMap(os.getuid(), os.getgid(), IdRange(100000, 65536), IdRange(200000, 70000))
    assert ids.unshare_words() == [
        "--user", "--map-root-user", "--map-users=100000,1,65536", "--map-groups=200000,1,70000"
    ]  # fmt: skip


def test_files_of_others_are_found(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/file").write_text("")
    (tmp_path / "folder/link").symlink_to("/etc/passwd")
    uid, gid = os.lstat(tmp_path).st_uid, os.lstat(tmp_path).st_gid
    nobody = IdRange(100000, 65536)
    assert first_foreign(tmp_path, IdMap(uid, gid, nobody, nobody)) is None
    subordinate = IdMap(uid + 1, gid + 1, IdRange(uid, 1), IdRange(gid, 1))
    assert first_foreign(tmp_path, subordinate) is None
    assert first_foreign(tmp_path, IdMap(uid + 1, gid, nobody, nobody)) == tmp_path
    assert first_foreign(tmp_path, IdMap(uid, gid + 1, nobody, nobody)) == tmp_path


def test_owners_as_the_namespace_knows_them():
    ids = IdMap(1000, 100, IdRange(100000, 65536), IdRange(200000, 65536))
    assert ids.inside(1000, 100) == (0, 0)
    assert ids.inside(100000, 200000) == (1, 1)
    assert ids.inside(100041, 200099) == (42, 100)
    assert ids.inside(0, 5) == (65534, 65534)
