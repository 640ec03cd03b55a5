"""How `goldsmith doctor` collects what the rooms look at, and what it prints and returns."""

import contextlib
import json
import threading

import pytest

from goldsmith.cli import doctor
from goldsmith.errors import GoldsmithError, HostError, Interrupted
from goldsmith.host.checks import Check, Verdict, available_memory_bytes, examine, tool_checks
from goldsmith.host.process import TOOL_PACKAGES
from goldsmith.machine.checks import kvm_remedy
from goldsmith.packages.errors import PackageError

OK = Check(name="fine", look=lambda: Verdict("ok", "all is well"))
WARNED = Check(name="so-so", look=lambda: Verdict("warning", "slow", "modprobe kvm"))
MISSING = Check(
    name="tool", look=lambda: Verdict("missing", "gone", "apt-get install b", ("b", "a"))
)


@pytest.fixture
def checked(monkeypatch, tmp_path):
    def use(*checks):
        monkeypatch.setattr(doctor, "all_checks", lambda state: list(checks))

    monkeypatch.setenv("GOLDSMITH_CACHE_DIR", str(tmp_path / "state"))
    monkeypatch.setattr(doctor, "start_watcher", contextlib.nullcontext)
    return use


def test_warnings_are_no_failure(checked, capsys):
    checked(OK, WARNED)
    assert doctor.run([], False) == 0
    assert capsys.readouterr().out.splitlines() == [
        "ok       fine   all is well",
        "warning  so-so  slow",
        "                -> modprobe kvm",
    ]


def test_what_is_missing_is_6_and_the_last_line_installs_it(checked, capsys):
    checked(MISSING, OK)
    assert doctor.run([], False) == 6
    assert capsys.readouterr().out.splitlines() == [
        "missing  tool  gone",
        "               -> apt-get install b",
        "ok       fine  all is well",
        "",
        "apt-get install a b",
    ]


def test_json_has_the_same(checked, capsys):
    checked(WARNED, MISSING)
    assert doctor.run(["--json"], False) == 6
    assert json.loads(capsys.readouterr().out) == {
        "checks": [
            {"name": "so-so", "outcome": "warning", "finding": "slow", "remedy": "modprobe kvm",
             "packages": []},
            {"name": "tool", "outcome": "missing", "finding": "gone",
             "remedy": "apt-get install b", "packages": ["b", "a"]},
        ],
        "install": ["a", "b"],
    }  # fmt: skip


def test_an_optional_package_is_not_in_the_line(checked, capsys):
    checked(Check(name="x", look=lambda: Verdict("warning", "w", "apt-get install x", ("x",))))
    assert doctor.run([], False) == 0
    assert not capsys.readouterr().out.splitlines()[-1].startswith("apt-get")


@pytest.mark.parametrize("words", [["--jso"], ["more"]])
def test_a_wrong_command_line_is_2(checked, capsys, words):
    checked(OK)
    assert doctor.run(words, False) == 2
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(("name", "status"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_an_interrupt_is_told_by_the_status(checked, name, status):
    def look():
        raise Interrupted(name)

    checked(Check(name="long", look=look, forks=True))
    # `examine` must not take an interrupt for a finding.
    assert doctor.run([], False) == status


def test_those_that_fork_look_first_and_alone(checked):
    order = []

    def look(name):
        def made():
            order.append((name, threading.active_count() if name == "fork" else 0))
            return Verdict("ok", name)

        return made

    before = threading.active_count()
    checks = [
        Check(name="plain", look=look("plain")), Check(name="fork", look=look("fork"), forks=True)
    ]  # fmt: skip
    found = doctor.examine_all(checks)
    assert [check.name for check, _ in found] == ["plain", "fork"]
    assert order == [("fork", before), ("plain", 0)]


@pytest.mark.parametrize(
    ("error", "finding", "remedy"),
    [
        (HostError("no overlay", hint="modprobe overlay"), "no overlay", "modprobe overlay"),
        (GoldsmithError("broken"), "broken", ""),
        (OSError(13, "Permission denied", "/x"), "[Errno 13] Permission denied: '/x'", ""),
    ],
)
def test_an_error_of_a_look_is_what_is_missing(error, finding, remedy):
    def look():
        raise error

    assert examine(Check(name="x", look=look)) == Verdict("missing", finding, remedy)


@pytest.mark.parametrize("uid", [0, 1000])
def test_what_needs_root_is_not_tried_without(monkeypatch, uid):
    monkeypatch.setattr("os.geteuid", lambda: uid)
    verdict = examine(Check(name="x", look=OK.look, needs_root=True))
    assert verdict.outcome == ("ok" if uid == 0 else "warning")
    assert verdict.remedy == ("" if uid == 0 else "sudo goldsmith doctor")


def test_every_tool_is_in_one_check_and_its_absence_names_the_package(monkeypatch):
    monkeypatch.setattr("goldsmith.host.checks.find_tool", lambda tool: None)
    verdicts = {check.name: check.look() for check in tool_checks()}
    assert set(verdicts) == set(TOOL_PACKAGES.values())
    for tool, package in TOOL_PACKAGES.items():
        assert tool in verdicts[package].finding
        assert verdicts[package].remedy == f"apt-get install {package}"
        assert verdicts[package].packages == (package,)
    assert verdicts["mmdebstrap"].outcome == "missing"
    assert verdicts["xfsprogs"].outcome == "warning"


def test_memory_is_read_in_kib():
    assert available_memory_bytes("MemTotal: 9 kB\nMemAvailable:   2048 kB\nX: 1\n") == 2 << 20
    assert available_memory_bytes("MemTotal: 9 kB\n") == 0


def test_the_remedy_for_kvm_depends_on_what_lacks(tmp_path):
    device = tmp_path / "kvm"
    assert kvm_remedy(device, "flags\t\t: fpu vmx sse\n") == "modprobe kvm_intel"
    assert kvm_remedy(device, "flags\t\t: fpu svm sse\n") == "modprobe kvm_amd"
    assert "nested" in kvm_remedy(device, "flags\t\t: fpu svmx vmxx\n")
    device.touch()
    assert "nested" in kvm_remedy(device, "flags : vmx")


def _sources(root, text):
    (root / "etc/apt").mkdir(parents=True)
    (root / "etc/apt/sources.list").write_text(text)


def _keyring(root):
    keyring = root / doctor.DEBIAN_KEYRING.lstrip("/")
    keyring.parent.mkdir(parents=True)
    keyring.touch()


def test_apt_sources_of_debian_are_listed(tmp_path):
    _keyring(tmp_path)
    _sources(tmp_path, "deb http://m.example/debian bookworm main\n"
                       "deb http://m.example/debian-security bookworm-security main contrib\n"
                       "deb http://m.example/tool cloud-sdk-bookworm main\n"
                       "deb http://m.example/old stretch/updates contrib\n"
                       "deb-src http://m.example/debian trixie main\n")  # fmt: skip
    assert doctor.look_at_apt_sources(tmp_path) == Verdict("ok", "bookworm, bookworm-security")


def test_a_host_without_sources_of_debian_can_still_name_a_mirror(tmp_path):
    _sources(tmp_path, "deb http://m.example/ubuntu noble main\n")
    verdict = doctor.look_at_apt_sources(tmp_path)
    assert (verdict.outcome, "mirror" in verdict.remedy) == ("warning", True)


def test_sources_without_the_keyring_are_missing_it(tmp_path):
    _sources(tmp_path, "deb http://m.example/debian bookworm main\n")
    verdict = doctor.look_at_apt_sources(tmp_path)
    assert (verdict.outcome, verdict.packages) == ("missing", ("debian-archive-keyring",))


def test_a_wrong_source_is_told(tmp_path):
    _sources(tmp_path, "deb http://m.example/debian\n")
    with pytest.raises(PackageError):
        doctor.look_at_apt_sources(tmp_path)
