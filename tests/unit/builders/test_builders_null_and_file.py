"""The sources `null` and `file`: what they accept, warn of and leave behind."""

import os
from pathlib import Path

import pytest
from pydantic import ValidationError

from goldsmith.builders.file import FileBuilder, FileSourceOptions
from goldsmith.builders.null import NullBuilder, NullOptions
from goldsmith.core.builder import BuildContext
from goldsmith.core.provisioner import ProvisionerCall
from goldsmith.errors import GoldsmithError, Interrupted, Severity
from goldsmith.events import Emitter
from goldsmith.host.journal import RunDirectory


class Fails:
    def __init__(self, error):
        self.error = error

    def provision(self, context):
        raise self.error


class Looks:
    def __init__(self, path):
        self.path, self.seen = path, None

    def provision(self, context):
        self.seen = self.path.read_text()


@pytest.fixture
def context(tmp_path):
    """Makes the context of a build in an empty directory, with these provisioners."""
    run = tmp_path / "run"
    run.mkdir()
    (tmp_path / "work").mkdir()

    def make(*provisioners):
        events = []
        made = BuildContext(
            name="file.f", source_name="f", emitter=Emitter("file.f", events.append),
            run=RunDirectory(run, -1), work=run / "build",
            provisioners=lambda values: [ProvisionerCall(p) for p in provisioners],
            directory=tmp_path / "work", force=False, epoch_s=0, environment={},
            ask=lambda question, choices: None, on_error="cleanup", run_uuid="uuid",
        )  # fmt: skip
        return made, events

    return make


def null(**options):
    return NullBuilder(NullOptions(**options), "a")


def file(**options):
    return FileBuilder(FileSourceOptions(**options), "f")


def test_null_without_a_machine(context):
    builder = null(communicator="none")
    assert (builder.check(), builder.communicates, builder.needs_worker) == ([], False, False)
    artifact = builder.build(context()[0])
    assert (artifact.builder_id, artifact.id, artifact.files) == ("fnoeding.null", "Null", ())
    assert artifact.string == "Did not export anything. This is the null builder"
    assert artifact.run_values == {"ID": "Null", "PackerRunUUID": "uuid"}


def test_an_unknown_communicator_is_named():
    (found,) = null(communicator="pigeon").check()
    assert "pigeon" in found.message and "yet" not in found.message


def test_ssh_options_have_no_meaning_without_a_machine():
    (found,) = null(communicator="none", ssh_host="h").check()
    assert found.path == ("ssh_host",)


def test_the_text_of_a_file(context, tmp_path):
    made, events = context()
    artifact = file(target="x/y/o.txt", content="a\nb\udcff").build(made)
    path = tmp_path / "work/x/y/o.txt"
    assert path.read_bytes() == b"a\nb\xff"
    assert path.stat().st_mode & 0o777 == 0o600
    assert (artifact.builder_id, artifact.id) == ("packer.file", "File")
    assert (artifact.string, artifact.files) == ("Stored file: x/y/o.txt", ("x/y/o.txt",))
    assert (artifact.native, artifact.run_values, events) == (False, None, [])
    assert sorted(p.name for p in path.parent.iterdir()) == ["o.txt"]


def test_a_copy(context, tmp_path):
    (tmp_path / "work/in").write_bytes(b"x" * 3_000_000)
    made, events = context()
    file(target="o", source="in").build(made)
    assert (tmp_path / "work/o").read_bytes() == b"x" * 3_000_000
    assert [event.text for event in events] == ["Copying in to o", "Copied 3000000 bytes"]


def test_a_copy_has_the_mode_that_the_umask_leaves(context, tmp_path):
    (tmp_path / "work/in").touch()
    before = os.umask(0o027)
    try:
        file(target="o", source="in").build(context()[0])
    finally:
        os.umask(before)
    assert (tmp_path / "work/o").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("mode", [0o644, 0o755])
def test_a_file_that_is_replaced_keeps_its_mode(context, tmp_path, mode):
    path = tmp_path / "work/o"
    path.write_text("a longer text")
    path.chmod(mode)
    file(target="o", content="new").build(context()[0])
    assert (path.read_text(), path.stat().st_mode & 0o777) == ("new", mode)


def test_a_link_stays_and_its_file_is_replaced(context, tmp_path):
    work = tmp_path / "work"
    (work / "real").write_text("old")
    (work / "link").symlink_to("real")
    file(target="link", content="new").build(context()[0])
    assert (work / "link").is_symlink()
    assert (work / "real").read_text() == "new"


def test_a_missing_source_leaves_nothing(context, tmp_path):
    with pytest.raises(GoldsmithError, match=r"nosuch\.txt"):
        file(target="x/o", source="nosuch.txt").build(context()[0])
    assert list((tmp_path / "work").iterdir()) == []


def test_a_directory_in_the_way_is_a_clear_error(context, tmp_path):
    (tmp_path / "work/o").mkdir()
    with pytest.raises(GoldsmithError, match="it is not a file"):
        file(target="o", content="x").build(context()[0])


def test_a_parent_that_is_a_file_is_a_clear_error(context, tmp_path):
    (tmp_path / "work/x").touch()
    with pytest.raises(GoldsmithError, match="cannot write x/o"):
        file(target="x/o", content="x").build(context()[0])


def test_provisioners_see_the_file(context, tmp_path):
    looks = Looks(tmp_path / "work/o")
    file(target="o", content="x").build(context(looks)[0])
    assert looks.seen == "x"


@pytest.mark.parametrize("error", [GoldsmithError("no"), Interrupted()])
def test_a_provisioner_that_fails_takes_the_file_with_it(context, tmp_path, error):
    with pytest.raises(type(error)):
        file(target="o", content="x").build(context(Fails(error))[0])
    assert list((tmp_path / "work").iterdir()) == []


def test_what_a_file_needs():
    assert file(target="o", content="x").check() == []
    (found,) = file(target="o").check()
    assert found.severity is Severity.WARNING
    assert "file.f" in found.message
    for wrong in ({}, {"target": ""}, {"target": "o", "content": "x", "source": "y"}):
        with pytest.raises(ValidationError):
            FileSourceOptions(**wrong)


def test_destroying_the_artifact_removes_the_file(context, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path / "work")
    artifact = file(target="o", content="x").build(context()[0])
    artifact.destroy()
    artifact.destroy()
    assert not Path("o").exists()
