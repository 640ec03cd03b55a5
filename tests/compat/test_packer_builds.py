"""Templates of the project's own, built by goldsmith and by the real `packer` side by side.

Compared are exit statuses, files with their content, Packer's lines and its machine-readable
records. The program is Debian's 1.6.6 where it is on PATH, and what GOLDSMITH_PACKER names besides.
"""

import os
import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest
from golden_cases import comparable as without_sums
from golden_cases import left_behind, normal, root  # noqa: F401
from packer_builds import CASES

from goldsmith.cli import app

ACCEPTED = (
    # Of Packer 1.6.6: 1.16 says it as goldsmith does.
    ("details of a build have the same prefix as everything else",
     r"^(<TS>,,ui,\w+,|)    (?=[\w.]+(?: \([\w-]+\))?:)", r"\1==> "),
    ("details of a build are records of the same kind", r"^<TS>,,ui,message,", "<TS>,,ui,say,"),
    ("a blank is missing between two sentences", r"(exit status: \d+\.)(?=Allowed)", r"\1 "),
    ("a file is named by its own name, not by that of the archive", r"(Archiving) \S+", r"\1 FILE"),
    ("xz takes one core", r" \(library does not support MT\)", ""),
    # Of goldsmith.
    ("an error names the script", r"(exit codes are: \[[\d ]+\]) \([^()\s]+\)", r"\1"),
    ("lz4 takes one core", r"(Using lz4 compression with) \d+ cores?", r"\1 N cores"),
    ("errors of post-processors are not counted",
     r"\d+ error\(s\) occurred:(?:\n\n|\\n\\n)\* Post-processor failed: ", ""),
    ("remedies and logs are named", r"^ +(?:->|Log:) .*\n", ""),
    ("it is told why nobody is asked", r"\n +\(nobody can be asked: .*", ""),
    ("a file that is missing is told in other words",
     r"cannot read the source (\S+): there is no such file", r"open \1: no such file or directory"),
    ("the empty file is told in other words",
     r"(?s)\A(<TS>,,ui,say,)?Warning: .*?\n(?=[^\n]*Build )", ""),
)  # fmt: skip
"""What may differ in the lines, and why: a pattern, and what stands for it in both."""
DIFFERENT = {
    ("a secret", "records"): "1.6.6 shows secrets in its records",
    ("json: secrets", "records"): "1.6.6 shows secrets in its records",
    ("a manifest that is forced", "lines"): "-force reaches no manifest of HCL2 in 1.6.6",
    ("a manifest that is forced", "records"): "-force reaches no manifest of HCL2 in 1.6.6",
    ("a breakpoint and nobody to press a key", "records"): "one text says that nobody is there",
}
"""What is answered otherwise in more than words; the statuses are the same."""
NEEDS = {"an lz4 file": "lz4"}
MODES = {"lines": ("-color=false",), "records": ("-machine-readable",)}


def programs():
    found = [os.environ.get("GOLDSMITH_PACKER"), shutil.which("packer")]
    return list(dict.fromkeys(one for one in found if one))


@pytest.fixture(scope="module", params=programs() or [None],
                ids=lambda path: path and os.path.basename(path))  # fmt: skip
def theirs(request, tmp_path_factory):
    """What packer answers, by case and mode: all that this session compares, two at once."""
    if request.param is None:
        pytest.skip("NOTHING IS COMPARED: packer is not installed and GOLDSMITH_PACKER is not set")
    here = [item.callspec.params for item in request.session.items
            if item.path == request.path and hasattr(item, "callspec")]  # fmt: skip
    wanted = sorted({(one["name"], one["mode"]) for one in here if "mode" in one})
    # Nothing of this process but threads that wait: goldsmith forks later, when they have ended.
    with ThreadPoolExecutor(2) as pool:
        places = [tmp_path_factory.mktemp("packer") for _ in wanted]
        answers = pool.map(lambda one, place: of_packer(request.param, *one, place), wanted, places)
        return dict(zip(wanted, answers, strict=True))


def prepared(name, place):
    """The files of a case in place/work; returns them as `left_behind` wants them."""
    for directory in ("work", "home", "tmp"):
        (place / directory).mkdir(exist_ok=True)
    for file, text in CASES[name].files.items():
        path = place / "work" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755 if file.endswith(".sh") else 0o644)
    return {file: {"text": text} for file, text in CASES[name].files.items()}


def words_of(mode, words):
    return ["build", *MODES[mode], *words]


def of_packer(program, name, mode, place):
    """Statuses and output of packer's runs, and the files that it leaves."""
    given = prepared(name, place)
    environment = {
        "PATH": os.environ["PATH"], "HOME": str(place / "home"), "TMPDIR": str(place / "tmp"),
        "CHECKPOINT_DISABLE": "1", "PACKER_NO_COLOR": "1", **CASES[name].env,
    }  # fmt: skip
    said = []
    for words in CASES[name].runs:
        done = subprocess.run(
            [program, *words_of(mode, words)], cwd=place / "work", env=environment, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            check=False, timeout=300,
        )  # fmt: skip
        said.append((done.returncode, normal(done.stdout, place)))
    return said, left_behind(given, place / "work", place)


def of_goldsmith(name, mode, place, capsys, monkeypatch):
    """The same of goldsmith, in this process."""
    given = prepared(name, place)
    for variable, text in CASES[name].env.items():
        monkeypatch.setenv(variable, text)
    said = []
    for words in CASES[name].runs:
        status = app.run(words_of(mode, words))
        said.append((status, normal(capsys.readouterr().out, place)))
    return said, left_behind(given, place / "work", place)


def comparable(text, *, named_by_type):
    """What is said, build by build, without what may differ."""
    for _, pattern, instead in ACCEPTED:
        text = re.sub(pattern, instead, text, flags=re.MULTILINE)
    if named_by_type:
        # 1.16 puts the type before the names that JSON templates give.
        text = re.sub(r"\b(?:null|file)\.(?=[a-z]+\b(?!\.))", "", text)
    lines = text.split("\n")
    # Builds that run at once speak in any order, each for itself in its own.
    owner = re.compile(r"^(?:<TS>,,ui,\w+,)?(?:==> |Build '|--> |<TS>,)([\w.]+)")
    groups = {}
    for line in lines:
        found = owner.match(line)
        groups.setdefault(found[1] if found else "", []).append(line.rstrip())
    return groups


@pytest.mark.parametrize(
    ("name", "mode"),
    [(name, mode) for name, case in CASES.items() for mode in MODES
     if mode == "lines" or not case.refused],
)  # fmt: skip
def test_it_builds_like_packer(name, mode, theirs, root, capsys, monkeypatch):  # noqa: F811
    if (tool := NEEDS.get(name)) and shutil.which(tool) is None:
        pytest.skip(f"{tool} is not installed")
    said, left = of_goldsmith(name, mode, root, capsys, monkeypatch)
    packer_said, packer_left = theirs[name, mode]
    told = f"{said}\n---- packer\n{packer_said}"
    assert [status for status, _ in said] == [status for status, _ in packer_said], told
    if (name, mode) in DIFFERENT:
        assert "s3cr3t" not in str(said)
        return
    assert without_sums(left, {}) == without_sums(packer_left, {})
    assert "Traceback" not in told
    if CASES[name].refused:
        return
    for (_, ours), (_, of_them) in zip(said, packer_said, strict=True):
        plain = name.startswith("json: ")
        pair = [comparable(text, named_by_type=plain) for text in (ours, of_them)]
        if any(">&2" in text for text in CASES[name].files.values()):
            # Two streams of one script are read each by itself: in which order is chance.
            pair = [{build: sorted(lines) for build, lines in one.items()} for one in pair]
        assert pair[0] == pair[1]


def test_there_are_enough_of_them():
    assert sum(not case.refused for case in CASES.values()) >= 60
