"""Hooks merged, arguments expanded and all elements set up, beside upstream's own functions."""

import os
import subprocess
import sys

import pytest
import yaml

from goldsmith.elements import catalog, environment, expansion, hook_directory, hooks
from goldsmith.elements.description import Description
from goldsmith.elements.hook_environment import hook_environment
from goldsmith.elements.places import Places
from goldsmith.elements.setup import set_up

LIB = catalog.upstream_package() / "lib"
ELEMENTS = sorted(path.name for path in LIB.with_name("elements").iterdir()
                  if path.is_dir() and path.name != "__pycache__")  # fmt: skip
SYSTEMS = ("debian-minimal", "ubuntu-minimal", "fedora-minimal", "centos-minimal", "gentoo",
           "opensuse-minimal", "rhel")  # fmt: skip
DANGLING = {"deploy-kexec"}
"""Elements that depend on one which no longer exists."""


def bash(script, *words, **variables):
    """What a script says that has upstream's functions."""
    run = subprocess.run(
        ["/bin/bash", "-c", f"set -e; source {LIB}/common-functions; {script}", "bash", *words],
        capture_output=True, text=True, check=True, timeout=300,
        env={"PATH": os.environ["PATH"], "LC_ALL": "C", "_LIB": str(LIB),
             "DIB_PYTHON_EXEC": sys.executable, **variables},
    )  # fmt: skip
    return run.stdout


def tree(directory):
    """Each file below a directory with its mode and content, or where it leads."""
    found = {}
    for path in sorted(directory.rglob("*")):
        place = str(path.relative_to(directory))
        if "__pycache__" in place:
            continue
        if path.is_symlink():
            found[place] = os.readlink(path)
        elif path.is_file():
            found[place] = (path.stat().st_mode, path.read_bytes())
        else:
            found[place] = None
    return found


def merged_by_both(elements, tmp_path):
    hook_directory.write(hooks.merge(elements), tmp_path / "ours", {}, tmp_path / "records")
    pairs = " ".join(f"[{one.name}]={one.path}" for one in elements)
    bash(f"get_image_element_array() {{ echo '{pairs}'; }}; generate_hooks",
         TMP_HOOKS_PATH=str(tmp_path / "theirs"))  # fmt: skip
    return tree(tmp_path / "ours"), tree(tmp_path / "theirs")


@pytest.mark.parametrize("words", [
    ["vm", "debian-minimal", "cloud-init", "growroot", "devuser", "pip-and-virtualenv"],
    ["vm", "ubuntu-minimal", "block-device-efi", "simple-init", "dhcp-all-interfaces"],
    ["baremetal", "fedora-minimal", "dracut-ramdisk", "source-repositories", "svc-map"],
], ids=lambda words: words[1])  # fmt: skip
def test_the_hooks_of_an_image_are_those_that_upstream_merges(words, tmp_path):
    found = catalog.Catalog.read(catalog.search_directories(""))
    elements = expansion.expand(found, expansion.asked_for(words)).elements
    ours, theirs = merged_by_both(elements, tmp_path)
    # Of files in the root of several elements any one may stay upstream.
    roots = [place for place in ours if "/" not in place and ours[place] is not None]
    assert {**theirs, **{place: ours[place] for place in roots}} == ours
    assert set(roots) <= set(theirs)


def made(directory, files):
    for place, text in files.items():
        target = directory / place
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
    return catalog.Element(directory.name, directory)


def test_odd_elements_are_merged_as_upstream_does_it(tmp_path):
    one = made(tmp_path / "elements/one", {
        "install.d/10-a": "a", "install.d/.gitkeep": "", "static/etc/x": "1", "bin/tool": "t",
        "tests/t": "", "install.d/deeper/20-b": "b", ".hidden": "h", "shared/30-c": "c",
    })  # fmt: skip
    two = made(tmp_path / "elements/two", {
        "install.d/20-b": "b", "install.d/.gitkeep": "", "static/etc/y": "2", "x.pyc": "",
    })  # fmt: skip
    (tmp_path / "elements/two/post-install.d").symlink_to(tmp_path / "elements/one/shared")
    (tmp_path / "elements/two/install.d/30-link").symlink_to("20-b")
    (tmp_path / "elements/two/notes").symlink_to(tmp_path / "elements/one/.hidden")
    ours, theirs = merged_by_both([one, two], tmp_path)
    assert ours == theirs
    assert "post-install.d/30-c" in ours
    assert "install.d/.gitkeep" not in ours


def test_a_duplicate_ends_both(tmp_path):
    both = [made(tmp_path / f"elements/{name}", {"install.d/10-a": name}) for name in "ab"]
    with pytest.raises(catalog.ElementError, match="There is a duplicated hook in your elements"):
        hooks.merge(both)
    pairs = f"[a]={both[0].path} [b]={both[1].path}"
    with pytest.raises(subprocess.CalledProcessError) as caught:
        bash(f"get_image_element_array() {{ echo '{pairs}'; }}; generate_hooks",
             TMP_HOOKS_PATH=str(tmp_path / "theirs"))  # fmt: skip
    assert "There is a duplicated hook in your elements" in caught.value.stdout


@pytest.mark.parametrize("ramdisk_element", ["", "ramdisk", "dracut-ramdisk"])
@pytest.mark.parametrize("skip_base", [False, True])
@pytest.mark.parametrize("arch", ["amd64", "arm64", "aarch64", "ppc64el"])
@pytest.mark.parametrize("words", ["x", "vm x", "x vm block-device-gpt", "vm block-device-x-y"])
def test_arguments_become_elements_as_upstream_does_it(words, arch, skip_base, ramdisk_element):
    told = bash(
        'arg_to_elements "$@"', *words.split(), ARCH=arch, DIB_PYTHON_EXEC="true",
        SKIP_BASE="1" if skip_base else "", IS_RAMDISK="1" if ramdisk_element else "0",
        RAMDISK_ELEMENT=ramdisk_element,
    )  # fmt: skip
    theirs = told.splitlines()[0].removeprefix("Building elements: ").split()
    ours = expansion.asked_for(
        words.split(), ramdisk_element=ramdisk_element, skip_base=skip_base, arch=arch
    )
    assert sorted(ours) == sorted(theirs)


@pytest.fixture
def places(tmp_path):
    return Places(
        **{name: tmp_path / name for name in ("build", "image", "cache", "locks", "directory")}
    )


def description(*names):
    return Description(elements=expansion.asked_for(names), environment={"HOME": "/root"})


def test_what_element_info_says_is_what_hooks_are_told(places):
    asked = description("vm", "debian-minimal", "cloud-init")
    ours = hook_environment(asked, set_up(asked), places)
    told = bash(
        'eval "$($DIB_PYTHON_EXEC $_LIB/element-info.py --env "$@")"; echo "$IMAGE_ELEMENT;"; '
        'echo "$IMAGE_ELEMENT_YAML;"; get_image_element_array', *asked.elements,
        ELEMENTS_PATH=ours["ELEMENTS_PATH"],
    ).split(";")  # fmt: skip
    mine = subprocess.run(
        ["/bin/bash", "-c", 'eval declare -A trees=($(get_image_element_array)); '
         'for name in "${!trees[@]}"; do echo "$name ${trees[$name]}"; done'],
        env=ours, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    own = {"apt-keys", "build-settings"}
    trees = dict(line.split() for line in mine.splitlines())
    assert set(ours["IMAGE_ELEMENT"].split()) - own == set(told[0].split())
    assert {n: p for n, p in trees.items() if n not in own} == yaml.safe_load(told[1])
    assert {n: p for n, p in yaml.safe_load(ours["IMAGE_ELEMENT_YAML"]).items() if n not in own} \
        == yaml.safe_load(told[1])  # fmt: skip
    assert sorted(told[2].split()) == sorted(
        f"[{name}]={path}" for name, path in yaml.safe_load(told[1]).items()
    )


def with_a_system(name):
    """The first image of an element that can be, and how it is set up."""
    for system in (None, *SYSTEMS):
        asked = description(name, *([system] if system else []))
        try:
            return asked, set_up(asked)
        except catalog.ElementError as e:
            last = e
    raise last


@pytest.mark.parametrize("name", ELEMENTS)
def test_every_element_is_planned(name, places):
    if name in DANGLING:
        with pytest.raises(catalog.ElementError, match="which deploy-kexec depends on, not found"):
            with_a_system(name)
        return
    asked, setup = with_a_system(name)
    names = setup.expansion.names
    assert name in names
    assert set_up(asked).expansion.names == names
    for place, file in setup.hooks.files.items():
        assert file.element in names
        assert file.source.exists() or file.source.is_symlink(), place
    variables = hook_environment(asked, setup, places)
    assert variables["IMAGE_ELEMENT"].split() == list(names)


def test_dependencies_come_first_but_in_cycles():
    found = catalog.Catalog.read(with_a_system("vm")[1].directories)
    for name in ELEMENTS:
        if name in DANGLING:
            continue
        names = with_a_system(name)[1].expansion.names
        for position, one in enumerate(names):
            later = set(names[position:]) & set(found.elements[one].requires)
            assert all(one in reached(found, needed) for needed in later), (one, later)


def reached(found, start):
    seen, queue = set(), [start]
    while queue:
        for one in found.elements[queue.pop()].requires:
            if one in found.elements and one not in seen:
                seen.add(one)
                queue.append(one)
    return seen


ENVIRONMENTS = [name for name in ELEMENTS
                if (LIB.with_name("elements") / name / "environment.d").is_dir()
                and name not in DANGLING]  # fmt: skip


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_the_environment_of_every_element_is_that_of_the_real_program(name, places, tmp_path):
    asked, setup = with_a_system(name)
    variables = hook_environment(asked, setup, places)
    directory = tmp_path / "hooks"
    hook_directory.write(setup.hooks, directory, {}, tmp_path / "records")
    tell = directory / "tell.d/10-tell"
    tell.parent.mkdir()
    tell.write_text(f"#!/bin/bash\nexec env -0 > {tmp_path}/seen\n")
    tell.chmod(0o755)
    run = subprocess.run(
        ["/bin/bash", LIB / "dib-run-parts", tell.parent], env=variables, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    if run.returncode != 0:
        with pytest.raises(catalog.ElementError, match="failed with status"):
            environment.sourced(directory, variables)
        return
    theirs = environment.parse((tmp_path / "seen").read_bytes())
    theirs.pop("PROFILE_DIR", None)
    assert environment.sourced(directory, variables) == theirs


OF_DEBIAN = (
    "base block-device-mbr bootloader debian-minimal debootstrap dib-init-system dpkg install-bin "
    "install-types manifests modprobe package-installs pkg-map sysprep vm"
)


def test_the_order_is_the_same_in_every_process_here_alone():
    words = ("base", "vm", "debian-minimal", "block-device-mbr")
    program = ("import sys; from goldsmith.elements import catalog, expansion\n"
               "found = catalog.Catalog.read(catalog.search_directories(''))\n"
               "print(*expansion.expand(found, sys.argv[1:]).names)")  # fmt: skip
    theirs, ours = set(), set()
    for seed in range(5):
        given = {"PATH": os.environ["PATH"], "PYTHONHASHSEED": str(seed),
                 "ELEMENTS_PATH": str(LIB.with_name("elements"))}  # fmt: skip
        for argv, orders in (([sys.executable, LIB / "element-info.py", *words], theirs),
                             ([sys.executable, "-c", program, *words], ours)):  # fmt: skip
            run = subprocess.run(argv, env=given, capture_output=True, text=True, check=True)
            orders.add(run.stdout.strip())
    assert len(theirs) > 1
    (order,) = ours
    assert {" ".join(sorted(one.split())) for one in (*theirs, order)} == {OF_DEBIAN}


def test_an_overridden_element_is_warned_of_and_the_first_is_used(tmp_path):
    for directory in "ab":
        for name in ("one", "system"):
            (tmp_path / directory / name).mkdir(parents=True)
            (tmp_path / directory / name / "element-provides").write_text(
                "operating-system\n" if name == "system" else f"from-{directory}\n"
            )
    (tmp_path / "b/linked").symlink_to(tmp_path / "elsewhere/real")
    (tmp_path / "elsewhere/real").mkdir(parents=True)
    path = f"{tmp_path}/a:{tmp_path}/b"
    told = subprocess.run(
        [sys.executable, LIB / "element-info.py", "--env", "one", "real", "system"], text=True,
        env={"PATH": os.environ["PATH"], "ELEMENTS_PATH": path}, capture_output=True, check=True,
    )  # fmt: skip
    theirs = bash('eval "$1"; echo "$IMAGE_ELEMENT_YAML"', told.stdout)
    found = catalog.Catalog.read(catalog.search_directories(path))
    trees = {one.name: str(one.path)
             for one in expansion.expand(found, ["one", "real", "system"]).elements}  # fmt: skip
    assert yaml.safe_load(theirs) == trees
    assert trees["one"] == f"{tmp_path}/a/one"
    for name in ("one", "system"):
        line = f"Element <{tmp_path}/a/{name}> overrides <{tmp_path}/b/{name}>"
        assert line in told.stderr
        assert f"{name}: {tmp_path}/a/{name} hides {tmp_path}/b/{name}" in map(str, found.hidden)


@pytest.mark.parametrize("security", ["", "http://mirror.example/debian-security"])
def test_security_updates_have_a_mirror_of_their_own(security, places, tmp_path):
    asked = description("vm", "debian-minimal")
    given = {"DIB_DISTRIBUTION_MIRROR": "http://mirror.example/debian", "DIB_RELEASE": "bookworm",
             **({"DIB_DEBIAN_SECURITY_MIRROR": security} if security else {})}  # fmt: skip
    setup = set_up(asked)
    directory = tmp_path / "hooks"
    hook_directory.write(setup.hooks, directory, {}, tmp_path / "records")
    variables = hook_environment(asked, setup, places) | given
    told = environment.sourced(directory, variables)["DIB_APT_SOURCES_CONF"]
    sources = dict(line.split(":", 1) for line in told.splitlines())
    assert sources["default"] == "deb http://mirror.example/debian bookworm main"
    assert sources["updates"] == "deb http://mirror.example/debian bookworm-updates main"
    if security:
        assert sources["security"] == f"deb {security} bookworm-security main"
    else:
        assert "mirror.example" not in sources["security"]
