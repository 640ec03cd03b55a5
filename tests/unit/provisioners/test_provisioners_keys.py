"""What identifies the effect of the `shell` and `file` provisioners on a tree."""

from __future__ import annotations

import pytest

from goldsmith.provisioners.file import FileOptions, FileProvisioner
from goldsmith.provisioners.shell import ShellOptions, ShellProvisioner


@pytest.fixture
def here(tmp_path):
    for name in ("here/files", "x/a", "y/a"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("here/one", "here/two", "here/one (1)", "here/files/f", "x/a/f", "y/a/f"):
        (tmp_path / name).write_text(name)
    return tmp_path / "here"


def shell(here, **options):
    return ShellProvisioner(ShellOptions(**options)).key(here)


def file(here, **options):
    return FileProvisioner(FileOptions(destination="/d", **options)).key(here)


BASE = {"inline": ("true",)}


@pytest.mark.parametrize(
    "change",
    [{"inline": ("true", "true")}, {"environment_vars": ("A=1",)}, {"env": {"A": "1"}},
     {"execute_command": "sh {{.Path}}"}, {"inline_shebang": "/bin/sh"}, {"skip_clean": True},
     {"remote_folder": "/tmp"}, {"remote_file": "x"}, {"remote_path": "/x"}, {"binary": True},
     {"valid_exit_codes": (0, 1)}, {"network": False}],
)  # fmt: skip
def test_options_of_shell_that_count(here, change):
    assert shell(here, **{**BASE, **change}) != shell(here, **BASE)


def test_options_of_shell_that_do_not(here):
    assert shell(here, **BASE, pause_after="1s") == shell(here, **BASE)


def test_the_order_of_scripts_counts_and_a_script_may_run_twice(here):
    keys = [shell(here, scripts=names).digest for names in (
        ("one", "two"), ("two", "one"), ("one", "one"), ("one",), ("one", "two", "one"),
    )]  # fmt: skip
    assert len(set(keys)) == 5


def test_scripts_whose_names_look_alike_all_count(here):
    names = ("one (1)", "one", "one")
    assert len(shell(here, scripts=names).inputs) == 4
    before = shell(here, scripts=names)
    (here / "one (1)").write_text("changed")
    assert shell(here, scripts=names) != before


def test_sources_outside_of_the_directory_all_count(here):
    sources = ("../x/a", "../y/a")
    before = file(here, sources=sources)
    (here.parent / "x/a/f").write_text("changed")
    between = file(here, sources=sources)
    (here.parent / "y/a/f").write_text("changed too")
    assert len({key.digest for key in (before, between, file(here, sources=sources))}) == 3
    assert file(here, sources=sources) != file(here, sources=sources[::-1])


def test_the_name_of_a_source_counts_where_it_arrives(here):
    assert file(here, source="files") != file(here, source="files/")
    assert file(here, source="files/").inputs["config:source 0"] == "/"
    assert file(here, source=".").inputs["config:source 0"] == "here"
    assert file(here, source="one/").inputs["config:source 0"] == "one"


def test_the_path_of_the_directory_does_not_count(here, tmp_path):
    moved = here.rename(tmp_path / "there")
    first = file(moved, source="files"), shell(moved, script="one")
    back = moved.rename(tmp_path / "here")
    assert (file(back, source="files"), shell(back, script="one")) == first


def test_a_download_has_no_key(here):
    assert file(here, source="/etc/passwd", direction="download") is None
