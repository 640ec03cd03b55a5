"""Which elements take part in images of odd and of random elements, beside upstream's own answer.

Upstream's answer may be another one in every run, as it goes through sets: ours is one of them.
"""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from goldsmith.elements import catalog, expansion

ASK = """
import json, sys
from diskimage_builder import element_dependencies
answers = []
for path, names in json.load(sys.stdin):
    try:
        found = element_dependencies.get_elements(names, path)
        answers.append(sorted(name for name, _ in found))
    except Exception as e:
        answers.append(type(e).__name__)
json.dump(answers, sys.stdout)
"""
SEEDS = ("0", "1", "2", "3")
SYSTEM = {"os": ("", "operating-system\n")}
ODD = {
    "needs itself": ({"a": ("a\n", "")}, ["a"]),
    "need each other": ({"a": ("b\n", ""), "b": ("a\n", "")}, ["a"]),
    "provides itself": ({"a": ("", "a\n")}, ["a"]),
    "provides what it needs": ({"a": ("b\n", "b\n"), "b": ("", "")}, ["a"]),
    "provide each other": ({"a": ("", "b\n"), "b": ("", "a\n")}, ["a"]),
    "provide each other, both named": ({"a": ("", "b\n"), "b": ("", "a\n")}, ["a", "b"]),
    "provided twice": ({"a": ("", "x\n"), "b": ("", "x\n")}, ["a", "b"]),
    "provided twice, one needed": ({"a": ("b\n", "x\n"), "b": ("", "x\n")}, ["a"]),
    "a named one is provided": ({"a": ("b\n", ""), "b": ("", "c\n"), "c": ("", "")}, ["a", "c"]),
    "virtual": ({"a": ("block-device\n", ""), "b": ("", "block-device\n")}, ["b", "a"]),
    "virtual, later": ({"a": ("block-device\n", ""), "b": ("", "block-device\n")}, ["a", "b"]),
    "virtual, missing": ({"a": ("block-device\n", "")}, ["a"]),
    "no comments": ({"a": ("# b\n", "")}, ["a"]),
    "an element with such a name": ({"a": ("# b\n", ""), "# b": ("", "")}, ["a"]),
    "blanks": ({"a": ("\n  b \n\n\tc\r\n", ""), "b": ("", ""), "c": ("", "")}, ["a"]),
    "no last line": ({"a": ("b\nc", ""), "b": ("", ""), "c": ("", "")}, ["a"]),
    "twice in a list": ({"a": ("b\nb\n", ""), "b": ("", "x\nx\n")}, ["a"]),
    "two systems": ({"a": ("", "operating-system\n")}, ["a"]),
}


def write(directory, elements):
    for name, (deps, provides) in elements.items():
        place = directory / name
        place.mkdir(parents=True)
        (place / "element-deps").write_text(deps)
        (place / "element-provides").write_text(provides)
    return directory


def upstream(asked):
    """What it says to each question: one answer by seed."""
    answers = []
    for seed in SEEDS:
        run = subprocess.run(
            [sys.executable, "-c", ASK], input=json.dumps(asked), capture_output=True, text=True,
            check=True, timeout=300,
            env={"PATH": os.environ["PATH"], "PYTHONHASHSEED": seed},
        )  # fmt: skip
        answers.append(json.loads(run.stdout))
    return list(zip(*answers, strict=True))


def ours(directory, names):
    try:
        found = expansion.expand(catalog.Catalog.read([directory]), names)
    except catalog.ElementError as e:
        for told, kind in (("already provided", "AlreadyProvidedException"),
                           ("not found", "MissingElementException"),
                           ("operating system", "MissingOSException")):  # fmt: skip
            if told in str(e):
                return kind
        raise
    return sorted(found.names)


@pytest.fixture(scope="module")
def odd(tmp_path_factory):
    """By case: a directory of elements, those that are asked for, and upstream's answers."""
    top = tmp_path_factory.mktemp("odd")
    asked = []
    for number, (elements, names) in enumerate(ODD.values()):
        write(top / str(number), {**SYSTEM, **elements})
        asked.append((str(top / str(number)), ["os", *names]))
    answers = upstream(asked)
    return {case: (Path(directory), names, theirs) for case, (directory, names), theirs
            in zip(ODD, asked, answers, strict=True)}  # fmt: skip


@pytest.mark.parametrize("case", ODD)
def test_odd_declarations_mean_the_same(case, odd):
    directory, names, theirs = odd[case]
    assert ours(directory, names) in theirs


def test_random_declarations_mean_the_same(tmp_path):
    chance = random.Random(11)
    names = "abcdefgh"
    asked = []
    for number in range(120):
        elements = dict(SYSTEM)
        for name in names[: chance.randint(2, 8)]:
            deps = chance.sample(names + "x", chance.choice((0, 0, 1, 1, 2, 3)))
            provides = chance.sample(names + "xy", chance.choice((0, 0, 0, 1)))
            elements[name] = ("".join(f"{one}\n" for one in deps),
                              "".join(f"{one}\n" for one in provides))  # fmt: skip
        directory = write(tmp_path / str(number), elements)
        given = ["os", *chance.sample(sorted(set(elements) - {"os"}), chance.randint(1, 2))]
        asked.append((str(directory), given))
    answers = upstream(asked)
    for (directory, given), theirs in zip(asked, answers, strict=True):
        assert ours(Path(directory), given) in theirs, (directory, given)
    # Images that can be, and mistakes of each kind, are among them.
    kinds = {str(one) if isinstance(one, str) else "image" for all_ in answers for one in all_}
    assert {"image", "MissingElementException", "AlreadyProvidedException"} <= kinds
