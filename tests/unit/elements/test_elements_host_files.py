"""Files of the host that count because a variable or a hook names them."""

import pytest
from making_elements import OPERATING_SYSTEM, described, inputs, make, places

from goldsmith.elements.apt_releases import apt_sources
from goldsmith.elements.hook_environment import hook_environment
from goldsmith.elements.host_files import file_inputs
from goldsmith.provisioners.elements import ElementsOptions, ElementsProvisioner

SOURCES = "deb http://mirror.example/debian stable main\n"


def named(directory, **environment):
    return file_inputs(environment, [], directory=directory, leave_out=frozenset())


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ("sources.list", "file:A"),
        ("./sources.list", "file:A"),
        ("../d/sources.list", "file:A"),
        ("none sources.list", "file:A 2"),
        ("file://{d}/sources.list", "file:A"),
        ("{d}/none:{d}/sources.list", "file:A 2"),
        ("none::sources.list", "file:A 2"),
        ("sources.list:ro", "file:A"),
        ("~/d/sources.list", "file:A"),
        (".", "file:A"),
    ],
)
def test_a_change_of_the_file_that_a_value_names_counts(tmp_path, value, name):
    directory = tmp_path / "d"
    directory.mkdir()
    (directory / "sources.list").write_text("one")
    given = {"A": value.format(d=directory), "HOME": str(tmp_path)}
    before = named(directory, **given)
    (directory / "sources.list").write_text("two")
    after = named(directory, **given)
    assert before[name] != after[name]


def test_a_file_whose_name_has_a_colon_counts(tmp_path):
    (tmp_path / "a:b").write_text("one")
    assert len(named(tmp_path, A="a:b", HOME="/none")) == 1


@pytest.mark.parametrize("value", ["/", ":", "none", "http://h.example/x", "a" * 300, "a/" * 4000])
def test_what_is_not_there_counts_for_nothing(tmp_path, value):
    assert named(tmp_path, A=value, HOME="/none") == {}


@pytest.mark.parametrize(
    ("line", "counts"),
    [
        ("cp /etc/passwd $TARGET_ROOT/x", True),
        ("x='/etc/passwd'", True),
        ("open('/etc/passwd')", True),
        ("--from=/etc/passwd", True),
        ("cat $TARGET_ROOT/etc/passwd", False),
        ('cat "$TARGET_ROOT"/etc/passwd', False),
        ("cat ${TARGET_ROOT}/etc/passwd", False),
        ("date >/etc/passwd", False),
        ("cp -r /etc/apt x", False),
        ("cat /etc/../etc/passwd", False),
        ("cat /etc/" + "a" * 5000, False),
    ],
)
def test_a_file_that_a_hook_of_the_user_names_by_its_path_counts(tmp_path, line, counts):
    hook = tmp_path / "hook"
    hook.write_text(f"#!/usr/local/bin/bash\n{line}\n")
    found = file_inputs({}, [hook], directory=tmp_path, leave_out=frozenset(), by_path=[hook])
    assert list(found) == ["file:/etc/passwd"] * counts
    assert named(tmp_path) == {}


def test_it_is_in_the_keys_of_phases_beside_the_tree(tmp_path):
    hooks = {place: "#!/bin/bash\ncat /etc/passwd\n" for place in ("root.d/20-a", "install.d/10-a")}
    make(tmp_path, {"my-os": {**OPERATING_SYSTEM, **hooks}})
    description, setup = described(tmp_path, "my-os")
    told = hook_environment(description, setup, places(tmp_path))
    found = {phase: "file:/etc/passwd" in inputs(description, setup, phase, told)
             for phase in ("root.d", "install.d", "post-root.d")}  # fmt: skip
    assert found == {"root.d": True, "install.d": False, "post-root.d": False}


def test_a_relative_file_is_in_the_keys_of_phases_beside_the_tree(tmp_path):
    make(tmp_path / "elements", {"my-os": OPERATING_SYSTEM})
    description, setup = described(
        tmp_path / "elements", "my-os", environment={"DIB_APT_SOURCES": "my.list"}
    )
    told = hook_environment(description, setup, places(tmp_path))
    (tmp_path / "my.list").write_text("one")
    found = inputs(description, setup, "root.d", told, tmp_path)
    assert "file:DIB_APT_SOURCES" in found
    assert "file:DIB_APT_SOURCES" not in inputs(description, setup, "install.d", told, tmp_path)


def test_a_relative_file_is_in_the_key_of_the_provisioner(tmp_path):
    make(tmp_path / "elements", {"mine": {"extra-data.d/10-a": "#!/bin/bash\n"}})
    options = ElementsOptions(
        elements=("mine",), elements_path=("elements",), environment={"DIB_A": "my.list"}
    )
    keys = []
    for text in ("one", "two"):
        (tmp_path / "my.list").write_text(text)
        key = ElementsProvisioner(options).key(tmp_path)
        assert key is not None
        keys.append(key.digest)
    assert keys[0] != keys[1]


def test_apt_sources_are_read_where_hooks_read_them(tmp_path):
    make(tmp_path / "elements", {"my-os": {**OPERATING_SYSTEM, "element-deps": "dpkg\n"}})
    _, setup = described(tmp_path / "elements", "my-os")
    (tmp_path / "my.list").write_text(SOURCES)
    (found,) = apt_sources(setup, {"DIB_APT_SOURCES": "my.list"}, tmp_path)
    assert found.uris == ("http://mirror.example/debian",)


REACHING = {
    "my-os": {
        **OPERATING_SYSTEM,
        "environment.d/10-files": "export MY_FILES=$TMP_HOOKS_PATH/my-files\n"
        "export MY_TREES=$ELEMENTS_PATH\nexport MY_KEY=~/my.key\n",
        "extra-data.d/10-a": "#!/bin/bash\ncp $MY_FILES/a $TMP_MOUNT_PATH\n",
        "extra-data.d/20-a": "#!/bin/bash\ncp $MY_KEY $TMP_MOUNT_PATH\n",
        "post-root.d/10-a": "#!/bin/bash\necho nothing\n",
        "my-files/a": "one\n",
        "my-list": "one\n",
    },
    "more": {"my-list": "one\n"},
}


@pytest.mark.parametrize(
    ("place", "phases"),
    [
        ("my-os/my-files/a", ["extra-data.d"]),
        ("my-os/my-list", ["extra-data.d"]),
        ("more/my-list", ["extra-data.d"]),
        ("my.key", ["extra-data.d", "post-root.d"]),
    ],
)
def test_what_hooks_reach_by_a_variable_of_a_snippet_counts(tmp_path, place, phases):
    make(tmp_path, REACHING)
    (tmp_path / "my.key").write_text("one\n")
    given = {"HOME": str(tmp_path)}
    description, setup = described(tmp_path, "my-os", "more", environment=given)
    told = hook_environment(description, setup, places(tmp_path))

    def look():
        return {
            phase: inputs(description, setup, phase, told, tmp_path / "none")
            for phase in ("extra-data.d", "post-root.d")
        }

    before = look()
    (tmp_path / place).write_text("two\n")
    after = look()
    assert [phase for phase in before if before[phase] != after[phase]] == phases
