"""`fmt`: which files it takes, what it does to them, and how it ends."""

import io
import sys

import pytest

from goldsmith.cli import app


@pytest.fixture(autouse=True)
def work(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def fmt(capsys, *words):
    status = app.run(["fmt", *words])
    said = capsys.readouterr()
    return status, said.out, said.err


def test_a_file_keeps_its_mode_and_a_link_stays_one(work, capsys):
    (work / "real.pkr.hcl").write_text("a=1\n")
    (work / "real.pkr.hcl").chmod(0o640)
    (work / "link.pkr.hcl").symlink_to("real.pkr.hcl")
    assert fmt(capsys, "link.pkr.hcl")[:2] == (0, "link.pkr.hcl\n")
    assert (work / "link.pkr.hcl").is_symlink()
    assert (work / "real.pkr.hcl").read_text() == "a = 1\n"
    assert (work / "real.pkr.hcl").stat().st_mode & 0o777 == 0o640
    assert sorted(path.name for path in work.iterdir()) == ["link.pkr.hcl", "real.pkr.hcl"]


def test_one_bad_file_does_not_stop_the_others(work, capsys):
    (work / "a.pkr.hcl").write_text("a = [\n")
    (work / "b.pkr.hcl").write_bytes(b"b = \xff\n")
    (work / "c.pkr.hcl").write_text("c=1\n")
    status, out, error = fmt(capsys, ".", "absent", "t.txt")
    assert (status, out) == (1, "c.pkr.hcl\n")
    assert "a.pkr.hcl:" in error
    assert "b.pkr.hcl:1" in error
    assert "absent" in error
    assert (work / "c.pkr.hcl").read_text() == "c = 1\n"


def test_what_a_directory_leaves_out(work, capsys):
    for name in (".hidden.pkr.hcl", "b.pkr.hcl~", "d/in.pkr.hcl", ".d/in.pkr.hcl", "x.txt"):
        (work / name).parent.mkdir(exist_ok=True)
        (work / name).write_text("a=1\n")
    assert fmt(capsys, "-check", ".")[:2] == (0, "")
    assert fmt(capsys, "-check", "-recursive", ".")[:2] == (3, "d/in.pkr.hcl\n")


@pytest.mark.parametrize(
    ("flags", "text", "status", "out"),
    [
        ((), "a=1\n", 0, "a = 1\n"),
        (("-check",), "a=1\n", 3, ""),
        (("-check",), "a = 1\n", 0, "a = 1\n"),
        (("-write=false",), "a=1\n", 0, ""),
        (("-diff",), "a=1\n", 0, "a = 1\n"),
        ((), "a = [\n", 1, ""),
    ],
)
def test_standard_input(capsys, monkeypatch, flags, text, status, out):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode()), "utf-8"))
    assert fmt(capsys, *flags, "-")[:2] == (status, out)


def test_a_path_is_needed(capsys):
    status, out, _ = fmt(capsys)
    assert status == 1
    assert "no path" in out
