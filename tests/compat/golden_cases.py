"""The recorded answers of Packer 1.16.0, and what it means to answer like them.

`data/golden` has the cases as they were recorded: `functions` (the console, one expression each),
`templates` (whole runs), `fmt`, and `legacy-json-engine` (Go templates of JSON templates). Values
of `expected`: exit (1 is any but 0; not judged with `any_exit`), stdout exactly (with `sorted` in
any order), `pattern`, `clock`, `gunzip`, `diagnostics` (words, file and line that a message must
tell; its sentence is free), `lines` in order, `absent`, `files` left behind. `differences.json` has
the cases that goldsmith answers otherwise, each with its reason.
"""

import base64
import bz2
import gzip
import io
import json
import lzma
import os
import re
import sys
import tarfile
import tempfile
import zipfile
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from goldsmith.cli import app

HERE = Path(__file__).parent
KINDS = ("functions", "templates", "fmt", "legacy-json-engine")
DIFFERENCES = json.loads((HERE / "differences.json").read_text())
UNIT = r"\d+ (?:hour|minute|second|millisecond|microsecond)s?"
NORMAL = (
    (r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "<UUID>"),
    (rf"\bafter {UNIT}(?: {UNIT})*", "after <DURATION>"),
    (r"packer-shell\d+", "packer-shell<N>"),
    (r"(?m)^\d{10},", "<TS>,"),
    (r'("build_time": )\d{10}', r"\1<TS>"),
)
NOT_COMPARED = re.compile(r".*\.lock")


def cases(kind):
    """The cases of a kind."""
    return json.loads((HERE / f"data/golden/{kind}.json").read_text())["cases"]


def builds(case):
    """Whether a case runs `build`."""
    argvs = case["input"].get("run", [])
    return any(next((word for word in argv if word[0] != "-"), "") == "build" for argv in argvs)


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


@contextmanager
def standard_input(place, text):
    """Standard input for Python and for programs, with this text."""
    path = place / "stdin"
    path.write_bytes(text.encode())
    before, python = os.dup(0), sys.stdin
    with path.open("rb") as file:
        os.dup2(file.fileno(), 0)
        sys.stdin = io.TextIOWrapper(io.BytesIO(text.encode()), "utf-8")
        try:
            yield
        finally:
            sys.stdin = python
            os.dup2(before, 0)
            os.close(before)


def text_of(spec):
    """The text of an input file."""
    spec = spec["text"] if isinstance(spec, dict) else spec
    return "".join(f"{line}\n" for line in spec) if isinstance(spec, list) else spec


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


def asked(kind, given):
    """The files, command lines and standard input of a case."""
    files = dict(given.get("files", {}))
    if kind == "functions" and "local" in given:
        files["t.pkr.hcl"] = "locals {\n  x = " + given["local"] + "\n}\n"
        return files, [["console", "t.pkr.hcl"]], "local.x\n"
    if kind == "functions":
        return files, [given.get("argv", ["console", "-config-type=hcl2"])], given["expr"] + "\n"
    if kind == "legacy-json-engine" and "template" in given:
        return files, [given.get("argv", ["console"])], given["template"] + "\n"
    if kind == "fmt":
        name = given.get("name", "in.pkr.hcl")
        argvs = [["fmt", "-check", name], ["fmt", "-check", "-diff", name], ["fmt", "-"]]
        return {name: given["text"]}, [*argvs, ["fmt", name]], given["text"]
    return files, given.get("run", []), given.get("stdin", "")


def answer(kind, case, place, capsys, monkeypatch):
    """Run a case in place/work; gives (status, stdout, stderr) of each run, and the files left."""
    files, argvs, stdin = asked(kind, case["input"])
    given = {}
    for name, spec in files.items():
        path = place / "work" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        given[name] = {"text": text_of(spec).replace("<TMP>", str(place))}
        path.write_bytes(given[name]["text"].encode("utf-8", "surrogateescape"))
        path.chmod(int(spec.get("mode", "0644"), 8) if isinstance(spec, dict) else 0o644)
    for name, text in case["input"].get("env", {}).items():
        monkeypatch.setenv(name, text.replace("<TMP>", str(place)))
    said = []
    for argv in argvs:
        with standard_input(place, stdin):
            status = app.run([word.replace("<TMP>", str(place)) for word in argv])
        out = capsys.readouterr()
        said.append((status, normal(out.out, place), normal(out.err, place)))
    return said, left_behind(given, place / "work", place)


def judge(kind, case, said, left):
    """Assert that the answers are the recorded ones."""
    wanted = case["expected"]
    if kind == "fmt":
        judge_fmt(wanted, said, left, case["input"])
        return
    for one, (status, out, error) in zip(wanted.get("run", [wanted]), said, strict=True):
        judge_run(one, status, out, error)
    if "files" in wanted:
        assert comparable(left, wanted) == comparable(wanted["files"], wanted)


def comparable(files, wanted):
    """The files without what follows from the clock; only their code where only that counts."""
    # The sum of an archive, which holds the time at which it was made.
    shown = {
        name: re.sub(r"(?m)^[0-9a-f]{32}\t(.*\.(?:tar|tar\.gz|zip))$", r"<SUM>\t\1", text)
        if isinstance(text, str) else text
        for name, text in files.items()
    }  # fmt: skip
    if not wanted.get("code_only"):
        return shown
    return {name: re.sub(r"(?m)^[ \t]*(#.*)?\n", "", text) for name, text in shown.items()}


def judge_run(wanted, status, out, error):
    """Assert that one run answered as recorded."""
    text = out + error
    if not wanted.get("any_exit"):
        assert status == wanted["exit"] or (wanted["exit"] == 1 and status != 0), text
    assert "Traceback" not in text
    for one in wanted.get("diagnostics", []):
        told(one, text)
    if "stdout" in wanted:
        pair = wanted["stdout"], out
        if wanted.get("sorted"):
            pair = sorted(pair[0].split("\n")), sorted(pair[1].split("\n"))
        assert pair[1] == pair[0]
    if "pattern" in wanted:
        assert re.fullmatch(wanted["pattern"], out, re.DOTALL)
    if "gunzip" in wanted:
        assert gzip.decompress(base64.b64decode(out)).decode() == wanted["gunzip"]
    if "clock" in wanted:
        assert any(at(wanted["clock"], seconds, out) for seconds in range(-5, 2))
    lines = text.split("\n")
    if wanted.get("sorted"):
        assert set(wanted.get("lines", [])) <= set(lines)
    else:
        rest = iter(lines)
        for line in wanted.get("lines", []):
            assert line in rest, f"missing or out of order: {line}\n{text}"
    for piece in wanted.get("absent", []):
        assert piece not in text


def at(layout, seconds, text):
    """Whether a text is the time so many seconds from now; %f stands for any digits."""
    moment = datetime.now(UTC) + timedelta(seconds=seconds)
    parts = [re.escape(moment.strftime(part)) if part else "" for part in layout.split("%f")]
    return re.fullmatch(r"\d+".join(parts), text) is not None


def told(wanted, text):
    """Assert that a message has the words, file and line that it must tell."""
    flat = re.sub(r"\s+", " ", text)
    assert flat.strip()
    if wanted["severity"] == "warning":
        assert "warn" in flat.lower()
    for name in wanted.get("names", []):
        assert mentions(flat, re.sub(r"\s+", " ", name)), name
    file = os.path.basename(wanted.get("file", ""))
    assert file in flat
    if "line" in wanted:
        given = wanted["line"]
        first, last = given if isinstance(given, list) else (given, given)
        places = re.findall(rf"\bline (\d+)\b|{re.escape(file)}:(\d+)\b", flat)
        numbers = [int(a or b) for a, b in places]
        assert any(first <= number <= last for number in numbers), numbers


def mentions(text, name):
    """Whether a text contains a name as a whole word."""
    left = r"(?<![A-Za-z0-9_])" if name[:1].isalnum() else ""
    right = r"(?![A-Za-z0-9_])" if name[-1:].isalnum() else ""
    return re.search(left + re.escape(name) + right, text) is not None


def judge_fmt(wanted, said, left, given):
    """Assert that a file was formatted as recorded."""
    check, diff, piped, written = said
    after = left.get(given.get("name", "in.pkr.hcl"), given["text"])
    assert after == wanted["formatted"]
    if "diagnostics" in wanted:
        for status, out, error in (check, written):
            assert status not in (0, 3)
            for one in wanted["diagnostics"]:
                told(one, out + error)
        return
    assert (check[0], written[0]) == (wanted["check_exit"], wanted["exit"])
    assert written[1] == wanted["stdout"]
    if "piped" in wanted:
        assert piped[1] == wanted["piped"]
    if "diff" in wanted:
        dated = r"(?m)^(---|\+\+\+) ([^\t\n]+)\t.*$"
        assert re.sub(dated, r"\1 \2", diff[1]) == re.sub(dated, r"\1 \2", wanted["diff"])
