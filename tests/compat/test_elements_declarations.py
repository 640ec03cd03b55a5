"""What elements declare, as upstream's own programs read it: they run unmodified in our images.

Each rule was seen; a release of upstream that changes one is noticed here.
"""

import json
import os
import subprocess
import sys

import pytest

from goldsmith.elements import catalog
from goldsmith.elements.description import Description
from goldsmith.elements.hook_environment import hook_environment, in_tree
from goldsmith.elements.places import Places
from goldsmith.elements.setup import set_up

ELEMENTS = catalog.upstream_package() / "elements"
SQUASH = ELEMENTS / "package-installs/bin/package-installs-squash"
INSTALL = ELEMENTS / "package-installs/bin/package-installs-v2"
PKG_MAP = ELEMENTS / "pkg-map/bin/pkg-map"
DPKG_INSTALL = ELEMENTS / "dpkg/bin/install-packages"
BASE = {"PATH": os.environ["PATH"], "LC_ALL": "C", "ARCH": "amd64"}


def run(*words, given=None, check=True, **options):
    return subprocess.run(
        list(map(str, words)), env={**BASE, **(given or {})}, capture_output=True, text=True,
        check=check, timeout=60, **options,
    )  # fmt: skip


def squashed(tmp_path, *files, given=None, check=True):
    """The plan of elements e0, e1, …; each of them is a package-installs.yaml."""
    for number, text in enumerate(files):
        place = tmp_path / "elements" / f"e{number}"
        place.mkdir(parents=True)
        (place / "package-installs.yaml").write_text(text)
    names = " ".join(f"e{number}" for number in range(len(files)))
    done = run(sys.executable, SQUASH, f"--elements={names}", f"--path={tmp_path}/elements",
               tmp_path / "plan.json", given=given, check=check)  # fmt: skip
    return json.loads((tmp_path / "plan.json").read_text()) if done.returncode == 0 else done


def places_below(directory):
    names = ("build", "image", "cache", "locks", "directory")
    return Places(**{name: directory / name for name in names})


INSTALLED = {"install.d": {"install": [["a", "e0"]]}}
REMOVED = {"install.d": {"uninstall": [["a", "e0"]]}}


@pytest.mark.parametrize(
    ("declared", "given", "plan"),
    [
        ("a:\n", {}, INSTALLED),
        ("a: {phase: pre-install.d}\n", {}, {"pre-install.d": {"install": [["a", "e0"]]}}),
        ("a: {phase: nosuch.d}\n", {}, {"nosuch.d": {"install": [["a", "e0"]]}}),
        ("a: {uninstall: True}\n", {}, REMOVED),
        ("a: {uninstall: False}\n", {}, REMOVED),
        ("a: {build-only: True}\n", {},
         {"install.d": {"install": [["a", "e0"]], "uninstall": [["a", "e0"]]}}),
        ("a: {build-only: False}\n", {},
         {"install.d": {"install": [["a", "e0"]], "uninstall": [["a", "e0"]]}}),
        ("a: {phase: post-install.d}\n", {}, {"post-install.d": {"install": [["a", "e0"]]}}),
        ("a: {installtype: source}\n", {}, INSTALLED),
        ("a: {installtype: package}\n", {}, {}),
        ("a: {installtype: package}\n", {"DIB_INSTALLTYPE_e0": "package"}, INSTALLED),
        ("a: {installtype: package}\n", {"DIB_DEFAULT_INSTALLTYPE": "package"}, INSTALLED),
        ("a: {arch: amd64}\n", {}, INSTALLED),
        ("a: {arch: 'arm64,amd64'}\n", {}, INSTALLED),
        ("a: {arch: 'arm64, amd64'}\n", {}, {}),
        ("a: {arch: 'amd64, arm64'}\n", {}, INSTALLED),
        ("a: {not-arch: amd64}\n", {}, {}),
        ("a: {not-arch: 'arm64,amd64'}\n", {}, {}),
        ("a: {not-arch: 'arm64, amd64'}\n", {}, INSTALLED),
        ("a: {not-arch: arm64}\n", {}, INSTALLED),
        ("a: {dib_python_version: '3'}\n", {"DIB_PYTHON_VERSION": "3"}, INSTALLED),
        ("a: {dib_python_version: 3}\n", {"DIB_PYTHON_VERSION": "3"}, INSTALLED),
        ("a: {dib_python_version: 2}\n", {"DIB_PYTHON_VERSION": "3"}, {}),
        ("a: {when: X=1}\n", {"X": "1"}, INSTALLED),
        ("a: {when: 'X  !=  1'}\n", {"X": "1"}, {}),
        ("a: {when: X = a=b c}\n", {"X": "a=b c"}, INSTALLED),
        ("a: {when: X!=1}\n", {"X": "2"}, INSTALLED),
        ("a: {when: [X=1, Y=2 3]}\n", {"X": "1", "Y": "2 3"}, INSTALLED),
        ("a: {when: [X=1, Y=2]}\n", {"X": "1", "Y": "2 3"}, {}),
        ("a: {nosuch: 1}\n", {}, INSTALLED),
        ("a: [{phase: pre-install.d}, {arch: arm64}, {uninstall: 1}]\n", {},
         {"pre-install.d": {"install": [["a", "e0"]]}, "install.d": {"uninstall": [["a", "e0"]]}}),
    ],
)  # fmt: skip
def test_a_package_is_planned(declared, given, plan, tmp_path):
    found = squashed(tmp_path, declared, given=given)
    filled = {phase: {k: v for k, v in lists.items() if v} for phase, lists in found.items()}
    assert {phase: lists for phase, lists in filled.items() if lists} == plan


@pytest.mark.parametrize(
    ("declared", "told"),
    [
        ("a: {arch: amd64, not-arch: arm64}\n", "arch and not_arch"),
        ("a: {when: nonsense}\n", "Malformed when line"),
        ("a: {when: NOSUCH=1}\n", "The variable <NOSUCH> is not set"),
    ],
)
def test_what_makes_no_sense_ends_the_plan(declared, told, tmp_path):
    failed = squashed(tmp_path, declared, check=False)
    assert failed.returncode == 1
    assert told in failed.stdout + failed.stderr


@pytest.mark.parametrize(
    "files", [("a:\n", "a: {uninstall: 1}\n"), ("a: {uninstall: 1}\n", "a:\n")]
)
def test_who_installs_wins_over_who_removes(files, tmp_path):
    plan = squashed(tmp_path, *files)["install.d"]
    assert [pair[0] for pair in plan["install"]] == ["a"]
    assert plan["uninstall"] == []


def test_what_is_needed_to_build_and_wanted_by_another_stays(tmp_path):
    plan = squashed(tmp_path, "a:\n", "a: {build-only: 1}\n")["install.d"]
    assert plan["install"] == [["a", "e0"], ["a", "e1"]]
    assert plan["uninstall"] == []


def test_json_comes_before_yaml_and_an_overridden_element_still_counts(tmp_path):
    for path, name, text in (("p/e", "package-installs.json", '{"a": null}'),
                             ("p/e", "package-installs.yaml", "b:\n"),
                             ("q/e", "package-installs.yaml", "c:\n")):  # fmt: skip
        (tmp_path / path).mkdir(parents=True, exist_ok=True)
        (tmp_path / path / name).write_text(text)
    run(sys.executable, SQUASH, "--elements=e", f"--path={tmp_path}/p:{tmp_path}/q",
        tmp_path / "plan.json")  # fmt: skip
    plan = json.loads((tmp_path / "plan.json").read_text())
    assert plan["install.d"]["install"] == [["a", "e"], ["b", "e"], ["c", "e"]]


@pytest.fixture
def programs(tmp_path):
    """A directory of programs of an image, where apt-get only tells what it was asked for."""
    place = tmp_path / "bin"
    place.mkdir()
    for program in (PKG_MAP, DPKG_INSTALL):
        (place / program.name).symlink_to(program)
    (place / "apt-get").write_text('#!/bin/sh\necho "apt-get $*"\n')
    (place / "apt-get").chmod(0o755)
    return {"PATH": f"{place}:{BASE['PATH']}", "DISTRO_NAME": "debian", "DIB_RELEASE": "bookworm"}


def test_packages_of_a_phase_are_installed_in_one_call(programs, tmp_path):
    plan = tmp_path / "plan.json"
    plan.write_text(json.dumps({"install.d": {"install": [["a", "x"], ["b", "y"], ["a", "y"]],
                                              "uninstall": [["c", "x"]]}}))  # fmt: skip
    dry = run(sys.executable, INSTALL, "--phase", "install.d", "-n", plan, given=programs)
    assert sorted(dry.stdout.splitlines()[-1].split()) == ["a", "b", "install-packages"]
    said = run(sys.executable, INSTALL, "--phase", "install.d", plan, given=programs).stdout
    (call,) = [line for line in said.splitlines() if "apt-get" in line]
    assert sorted(call.split()[-3:]) == ["a", "b", "install"]
    said = run(sys.executable, INSTALL, "--phase", "install.d", "--uninstall", plan,
               given=programs).stdout  # fmt: skip
    assert "--assume-yes remove c" in said
    said = run(sys.executable, INSTALL, "--phase", "post-install.d", plan, given=programs).stdout
    assert said == "Nothing to install\n"


def test_the_program_of_packages_is_called_for_an_empty_list_too(programs, tmp_path):
    plan = tmp_path / "plan.json"
    plan.write_text(json.dumps({"install.d": {"install": [], "uninstall": []}}))
    for words, call in (([], "install-packages\n"), (["--uninstall"], "install-packages -e\n")):
        said = run(sys.executable, INSTALL, "--phase", "install.d", *words, "-n", plan,
                   given=programs).stdout  # fmt: skip
        assert said == call


def test_packages_that_are_dropped_or_several_are_so_in_the_call(programs, tmp_path):
    """A name of several packages stays one word here, and is split by the shell behind it."""
    plan = tmp_path / "plan.json"
    plan.write_text(json.dumps({"install.d": {"install": [["a", "x"]]}}))
    pkg_map = tmp_path / "bin/pkg-map"
    pkg_map.unlink()
    pkg_map.write_text("#!/bin/sh\necho -a1 a2\n")
    pkg_map.chmod(0o755)
    said = run(sys.executable, INSTALL, "--phase", "install.d", plan, given=programs).stdout
    assert "--assume-yes install a1 a2\n" in said


def test_packages_come_in_one_order_in_our_builds_alone(programs, tmp_path):
    """They are those of a set: its order follows from a number that hooks are given here."""
    packages = [[f"package-{number}", "x"] for number in range(12)]
    plan = tmp_path / "plan.json"
    plan.write_text(json.dumps({"install.d": {"install": packages}}))

    def orders(given):
        words = [sys.executable, INSTALL, "--phase", "install.d", "-n", plan]
        return {run(*words, given={**programs, **given}).stdout for _ in range(5)}

    (tmp_path / "elements/system").mkdir(parents=True)
    (tmp_path / "elements/system/element-provides").write_text("operating-system\n")
    asked = Description(
        elements=("system",), environment={"ELEMENTS_PATH": str(tmp_path / "elements")}
    )
    hooks = in_tree(hook_environment(asked, set_up(asked), places_below(tmp_path)))
    assert len(orders({})) > 1
    assert len(orders({"PYTHONHASHSEED": hooks["PYTHONHASHSEED"]})) == 1


@pytest.mark.parametrize(
    ("words", "call"),
    [
        (["a", "b"], "install a b"), (["-e", "a"], "remove a"), (["-u"], "dist-upgrade"),
        (["-e"], None), ([], None),
    ],
)  # fmt: skip
def test_install_packages_of_debian(words, call, programs):
    said = run("/bin/bash", DPKG_INSTALL, *words, given=programs).stdout
    if call is None:
        assert said.startswith("Not running install-packages")
    else:
        assert said == (
            "apt-get --option Dpkg::Options::=--force-confold --option "
            f"Dpkg::Options::=--force-confdef --assume-yes {call}\n"
        )


MAP = {
    "default": {"a": "default-a", "b": "default-b", "none": "none"},
    "family": {"debian": {"b": "family-b", "c": "c1 c2"}},
    "distro": {"debian": {"none": ""}},
    "release": {"debian": {"bookworm": {"a": "release-a"}}, "centos": {"8": {"a": "eight"}}},
}


@pytest.mark.parametrize(
    ("words", "distro", "release", "status", "said"),
    [
        (["a", "b", "c"], "debian", "bookworm", 0, "release-a\nfamily-b\nc1 c2\n"),
        (["a", "b"], "ubuntu", "jammy", 0, "default-a\nfamily-b\n"),
        (["a", "none", "b"], "debian", "trixie", 0, "default-a\nfamily-b\n"),
        (["none"], "fedora", "40", 0, "none\n"),
        (["a"], "centos", "8-stream", 0, "eight\n"),
        (["x"], "debian", "bookworm", 1, ""),
        (["--missing-ok", "x", "a"], "debian", "bookworm", 0, "x\nrelease-a\n"),
        (["--prefix", "-", "a"], "debian", "bookworm", 0, "-release-a\n"),
    ],
)
def test_the_most_specific_name_of_a_package_is_taken(
    words, distro, release, status, said, tmp_path
):
    (tmp_path / "map").write_text(json.dumps(MAP))
    done = run(sys.executable, PKG_MAP, "--pkg-map", tmp_path / "map", *words, check=False,
               given={"DISTRO_NAME": distro, "DIB_RELEASE": release})  # fmt: skip
    assert (done.returncode, done.stdout) == (status, said)


def test_without_a_map_names_stay_or_end_it():
    given = {"DISTRO_NAME": "debian"}
    words = [sys.executable, PKG_MAP, "--element", "no-such-element-of-this-host"]
    assert run(*words, "a", given=given, check=False).returncode == 2
    assert run(*words, "--missing-ok", "a", given=given).stdout == "a\n"
    assert run(*words, "a", check=False).returncode == 1


@pytest.mark.parametrize(
    ("given", "links"),
    [
        ({}, {"10-one-source", "20-two-source"}),
        ({"DIB_DEFAULT_INSTALLTYPE": "package"}, {"10-one-package"}),
        ({"DIB_INSTALLTYPE_one_x": "package"}, {"10-one-package", "20-two-source"}),
        ({"DIB_INSTALLTYPE_two": "nosuch"}, {"10-one-source"}),
    ],
)
def test_install_types_become_links(given, links, tmp_path):
    for place in ("one-x-source-install/10-one-source", "one-x-package-install/10-one-package",
                  "two-source-install/20-two-source"):  # fmt: skip
        target = tmp_path / "install.d" / place
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text("")
    run("/bin/bash", ELEMENTS / "install-types/extra-data.d/99-enable-install-types",
        given={"TMP_HOOKS_PATH": str(tmp_path), "DIB_DEFAULT_INSTALLTYPE": "source",
               "DIB_DEBUG_TRACE": "0", **given})  # fmt: skip
    assert {p.name for p in (tmp_path / "install.d").iterdir() if p.is_symlink()} == links


@pytest.mark.parametrize(
    ("declared", "names"),
    [
        (["a: {default: x, debian: y}\n"], {"a": "y"}),
        (["a: {default: x, rhel: y}\n"], {"a": "x"}),
        (["a: {rhel: y}\n"], {"a": "a"}), (["a: {default: x}\n", "b: {debian: z}\n"],
         {"a": "x", "b": "z"}), (["a: {default: x}\n", "a: {debian: z}\n"], None),
    ],
)  # fmt: skip
def test_services_of_all_elements_have_one_name_each(declared, names, tmp_path):
    (tmp_path / "mnt/tmp").mkdir(parents=True)
    trees = {}
    for number, text in enumerate(declared):
        place = tmp_path / f"e{number}"
        place.mkdir()
        (place / "svc-map").write_text(text)
        trees[place.name] = str(place)
    done = run(sys.executable, next((ELEMENTS / "svc-map/extra-data.d").glob("10-*")), check=False,
               given={"IMAGE_ELEMENT_YAML": json.dumps(trees), "DISTRO_NAME": "debian",
                      "TMP_MOUNT_PATH": str(tmp_path / "mnt")})  # fmt: skip
    if names is None:
        assert (done.returncode, "already found in services list" in done.stdout) == (1, True)
        return
    said = (tmp_path / "mnt/tmp/svc-map-services").read_text()
    assert dict(line.split(": ") for line in said.splitlines()) == names
