"""Whole runs of `build` and `validate` with Packer's own components, as Packer 1.16 answered them.

The data are recorded: files, command lines, and what came out of them. Sentences of errors are
free; names, files and lines that they must tell are not.
"""

import bz2
import gzip
import io
import json
import lzma
import os
import re
import shutil
import tarfile
import tempfile
import zipfile
from pathlib import Path

import pytest

from goldsmith.cli import app

CASES = json.loads((Path(__file__).parent / "data/components.json").read_text())
DIFFERS = {
    "build_file-009": "a file that a provisioner failed on is removed",
    "errors-018": "a provisioner that cannot work without a machine is refused before the build",
    "errors-019": "a provisioner that cannot work without a machine is refused before the build",
}
SAME = [case for case in CASES if case["id"] not in DIFFERS]
NEEDS = {"post-019": "lz4"}
UNIT = r"\d+ (?:hour|minute|second|millisecond|microsecond)s?"
NORMAL = (
    (r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "<UUID>"),
    (rf"\bafter {UNIT}(?: {UNIT})*", "after <DURATION>"),
    (r"packer-shell\d+", "packer-shell<N>"),
    (r"(?m)^\d{10},", "<TS>,"),
    (r'("build_time": )\d{10}', r"\1<TS>"),
)
NOT_COMPARED = re.compile(r".*\.lock")


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A directory with work/, home/ and tmp/, and an environment of nothing else."""
    for name in ("work", "home", "tmp"):
        (tmp_path / name).mkdir()
    for name in list(os.environ):
        if name.startswith(("PKR_VAR_", "PACKER_", "GOLDSMITH_LOG", "SOURCE_DATE_EPOCH")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.setenv("PACKER_NO_COLOR", "1")
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.chdir(tmp_path / "work")
    before = os.umask(0o022)
    yield tmp_path
    os.umask(before)


def normal(text: str, root: Path) -> str:
    """The text without what differs from run to run."""
    text = text.replace(str(root), "<TMP>")
    for pattern, instead in NORMAL:
        text = re.sub(pattern, instead, text)
    # The summary's order of names is random in Packer.
    return re.sub(
        r"(?m)(?:^--> .*\n)+", lambda m: "".join(sorted(m[0].splitlines(keepends=True))), text
    )


def content(data: bytes, root: Path) -> object:
    """What is in a file: text, or what a packed one holds."""
    for magic, kind, unpack in (
        (b"\x1f\x8b", "gzip", gzip.decompress), (b"BZh", "bzip2", bz2.decompress),
        (b"\xfd7zXZ\x00", "xz", lzma.decompress),
    ):  # fmt: skip
        if data.startswith(magic):
            return {kind: content(unpack(data), root)}
    if data.startswith(b"\x04\x22\x4d\x18"):
        return {"lz4": None}
    if data.startswith(b"PK\x03\x04"):
        with zipfile.ZipFile(io.BytesIO(data)) as box:
            return {"zip": {name: content(box.read(name), root) for name in box.namelist()}}
    if data[257:262] == b"ustar":
        with tarfile.open(fileobj=io.BytesIO(data)) as box:
            return {"tar": {m.name: content(box.extractfile(m).read(), root) for m in box}}
    return normal(data.decode(), root)


def left_behind(given: dict, work: Path, root: Path) -> dict:
    """Files that are new or changed, and None for those that have gone."""
    found = {}
    for path in sorted(work.rglob("*")):
        name = str(path.relative_to(work))
        same = name in given and given[name]["text"].encode() == path.read_bytes()
        if path.is_dir() or same or NOT_COMPARED.fullmatch(name):
            continue
        mode, inside = path.stat().st_mode & 0o777, content(path.read_bytes(), root)
        shown = inside if mode == 0o644 else {"mode": f"{mode:04o}", "content": inside}
        found[normal(name, root)] = shown
    return found | {name: None for name in given if not (work / name).exists()}


def assert_told(wanted: dict, text: str) -> None:
    """An error or warning with the names, file and line that it must tell."""
    flat = re.sub(r"\s+", " ", text)
    assert flat.strip()
    if wanted["severity"] == "warning":
        assert "warning" in flat.lower()
    for name in wanted.get("names", []):
        assert re.search(rf"(?<!\w){re.escape(name)}(?!\w)", flat), name
    if "file" in wanted:
        assert wanted["file"] in flat
    if "line" in wanted:
        given = wanted["line"]
        first, last = given if isinstance(given, list) else (given, given)
        name = re.escape(wanted.get("file", ""))
        places = [int(n) for n in re.findall(rf"{name}:(\d+)", flat)]
        assert any(first <= place <= last for place in places), places


def assert_answered(wanted: dict, status: int, text: str) -> None:
    """One run answered as recorded."""
    assert (status != 0) == (wanted["exit"] != 0), text
    assert "Traceback" not in text
    for one in wanted.get("diagnostics", []):
        assert_told(one, text)
    if "stdout" in wanted:
        given, expected = text.split("\n"), wanted["stdout"].split("\n")
        if wanted.get("sorted"):
            given, expected = sorted(given), sorted(expected)
        assert given == expected
    if "pattern" in wanted:
        assert re.fullmatch(wanted["pattern"], text, re.DOTALL)
    rest = iter(text.split("\n"))
    for line in wanted.get("lines", []):
        assert line in rest, f"missing or out of order: {line}\n{text}"
    for piece in wanted.get("absent", []):
        assert piece not in text


def answer(case: dict, root: Path, capsys) -> list[tuple[int, str]]:
    """Run a case's command lines one after the other; gives statuses and output."""
    for name, file in case["files"].items():
        (root / "work" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "work" / name).write_bytes(file["text"].replace("<TMP>", str(root)).encode())
        (root / "work" / name).chmod(int(file.get("mode", "0644"), 8))
    answers = []
    for argv in case["argv"]:
        status = app.run([word.replace("<TMP>", str(root)) for word in argv])
        said = capsys.readouterr()
        answers.append((status, normal(said.out + said.err, root)))
    return answers


@pytest.mark.parametrize("case", SAME, ids=[case["id"] for case in SAME])
def test_it_answers_like_packer(case, root, capsys, monkeypatch):
    if (tool := NEEDS.get(case["id"])) and shutil.which(tool) is None:
        pytest.skip(f"{tool} is not installed")
    for name, text in case.get("env", {}).items():
        monkeypatch.setenv(name, text)
    for wanted, (status, text) in zip(case["runs"], answer(case, root, capsys), strict=True):
        assert_answered(wanted, status, text)
    if "left" in case:
        assert left_behind(case["files"], root / "work", root) == case["left"]
    assert list((root / "tmp").iterdir()) == []


def test_a_file_goes_with_a_provisioner_that_failed(root, capsys):
    case = next(case for case in CASES if case["id"] == "build_file-009")
    ((status, text),) = answer(case, root, capsys)
    assert_answered(case["runs"][0], status, text)
    assert left_behind(case["files"], root / "work", root) == {}


@pytest.mark.parametrize("name", ["errors-018", "errors-019"])
def test_a_provisioner_without_a_machine_is_refused_before_anything_runs(name, root, capsys):
    case = next(case for case in CASES if case["id"] == name)
    ((status, text),) = answer(case, root, capsys)
    assert status == 1
    assert "communicator none" in re.sub(r"\s+", " ", text)
    assert "Wait completed" not in text
