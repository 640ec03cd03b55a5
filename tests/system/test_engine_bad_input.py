"""Builds without a machine that meet what they cannot read, as an ordinary user does."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from ordinary_user import OrdinaryUser, ordinary_user

pytestmark = pytest.mark.root
NULL = 'source "null" "n" {\n  communicator = "none"\n}\n'
SCRIPT = '  provisioner "shell-local" {\n    script = "s.sh"\n  }\n'


@pytest.fixture(scope="module")
def user(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OrdinaryUser]:
    home = Path(os.environ["TMPDIR"]) / f"engine-home-{os.getpid()}"
    with ordinary_user(home) as made:
        yield made


@pytest.fixture
def place(user: OrdinaryUser, request: pytest.FixtureRequest) -> Path:
    return user.directory(request.node.name.replace("[", "-").rstrip("]"))


def write(user: OrdinaryUser, path: Path, text: str, mode: int = 0o644) -> None:
    """A file of the user's that has this mode."""
    path.write_text(text)
    os.chown(path, user.uid, user.uid)
    path.chmod(mode)


def build(*parts: str) -> str:
    return f'{NULL}build {{\n  sources = ["source.null.n"]\n{"".join(parts)}}}\n'


@pytest.mark.parametrize("mode", [0o000, 0o644, 0o300])
def test_a_script_that_cannot_be_read_or_run_is_named(
    user: OrdinaryUser, place: Path, mode: int
) -> None:
    write(user, place / "s.sh", "#!/bin/sh\necho never\n", mode)
    write(user, place / "t.pkr.hcl", build(SCRIPT))
    done = user.run("build", "-color=false", "t.pkr.hcl", cwd=place)
    assert done.returncode == 1
    assert "s.sh" in done.stdout and "Permission denied" in done.stdout
    assert "never" not in done.stdout.replace("echo never", "")
    assert "Traceback" not in done.stdout


@pytest.mark.parametrize("name", ["t.pkr.hcl", "v.pkrvars.hcl", "s.json"])
@pytest.mark.parametrize("verb", ["validate", "build"])
def test_a_file_of_the_template_that_cannot_be_read_is_named(
    user: OrdinaryUser, place: Path, name: str, verb: str
) -> None:
    text = 'locals {\n  s = file("s.json")\n}\n' + build(
        '  provisioner "shell-local" {\n    inline = ["echo ${local.s}"]\n  }\n'
    )
    files = {"t.pkr.hcl": text, "v.pkrvars.hcl": "", "s.json": "{}"}
    for file, content in files.items():
        write(user, place / file, content, 0o000 if file == name else 0o644)
    done = user.run(verb, "-var-file=v.pkrvars.hcl", "t.pkr.hcl", cwd=place)
    assert done.returncode == 1
    assert name in done.stdout
    assert "Traceback" not in done.stdout and "defect" not in done.stdout


def test_a_script_that_vanishes_after_validate_is_named(user: OrdinaryUser, place: Path) -> None:
    write(user, place / "s.sh", "#!/bin/sh\necho never\n", 0o755)
    write(user, place / "t.pkr.hcl", build(SCRIPT))
    assert user.run("validate", "t.pkr.hcl", cwd=place).returncode == 0
    (place / "s.sh").unlink()
    done = user.run("build", "-color=false", "t.pkr.hcl", cwd=place)
    assert done.returncode == 1
    assert "s.sh" in done.stdout and "there is no such file" in done.stdout
    assert "t.pkr.hcl:" in done.stdout


def test_a_directory_that_cannot_be_written_stops_only_what_writes_there(
    user: OrdinaryUser, place: Path
) -> None:
    (place / "locked").mkdir(mode=0o555)
    text = (
        'source "file" "a" {\n  target  = "locked/a"\n  content = "x"\n}\n'
        'source "file" "b" {\n  target  = "b"\n  content = "x"\n}\n'
        'build {\n  sources = ["source.file.a", "source.file.b"]\n'
        '  post-processor "checksum" {\n    output = "locked/sums"\n    only   = ["file.b"]\n  }\n'
        '  post-processor "manifest" {\n  }\n}\n'
    )
    write(user, place / "t.pkr.hcl", text)
    done = user.run("build", "-color=false", "t.pkr.hcl", cwd=place)
    assert done.returncode == 1
    assert "cannot write locked/a: Permission denied" in done.stdout
    assert "locked" in done.stdout.partition("--> file.b: ")[2]
    assert (place / "b").read_text() == "x"
    assert '"name": "b"' in (place / "packer-manifest.json").read_text()
    assert "Traceback" not in done.stdout and "defect" not in done.stdout
    assert user.runs() == [".lock"]
