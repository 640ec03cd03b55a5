"""What Go's own text/template answered to templates written for this project.

Struct types are called "struct" in the recorded messages. Left out are answers that differ on
purpose: Go's internal panics (`len` of no value, an index equal to the length), `%p`, and the type
of a map's element, which goldsmith names by its value.
"""

import json
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from goldsmith.gotemplate import packer_functions
from goldsmith.gotemplate.data import LenientMap
from goldsmith.gotemplate.errors import GoTemplateError, TemplateFunctionError
from goldsmith.gotemplate.go_time import format_time
from goldsmith.gotemplate.quoting import to_bytes
from goldsmith.gotemplate.template import Template

CASES = json.loads((Path(__file__).parent / "data" / "gotemplate_language.json").read_text())[
    "cases"
]
ZONE = timezone(-timedelta(hours=3, minutes=25, seconds=7), "XYZ")
MOMENT = datetime(2024, 2, 3, 14, 5, 6, tzinfo=ZONE)
DATA = {
    "nil": None,
    "map": LenientMap(
        {
            "a": "x", "n": 3, "f": 1.5, "l": ["p", 2, None], "m": LenientMap({"k": "v", "b": 1}),
            "nil": None, "t": True, "e": "", "el": [], "em": LenientMap({}),
        }
    ),
    "struct": {
        "A": "x", "B": 3, "C": {"D": "d", "E": 1.5}, "L": ["p", 2, None],
        "M": LenientMap({"k": "v"}), "N": None,
    },
}  # fmt: skip


def fail() -> str:
    raise TemplateFunctionError("bad thing")


def a_float(value: float):
    return value


def a_bool(value: bool):
    return value


def an_int(value: int):
    return value


def count(first: str, *rest: int):
    return len(rest)


def split(text: str, separator: str):
    return text.split(separator) if separator else list(text)


FUNCTIONS = {
    **packer_functions.text_functions(),
    "fail": fail, "fl": a_float, "bo": a_bool, "in": an_int, "vs": count, "nilf": lambda: None,
    "split": split, "layout": lambda text: format_time(MOMENT, text, nanosecond=7008009),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['template'][:40]}")
def test_case(case):
    def render():
        return Template.parse(case["template"], FUNCTIONS).render(DATA[case["data"]])

    if "error" in case:
        with pytest.raises(GoTemplateError) as caught:
            render()
        assert str(caught.value) == case["error"]
    elif "bytes" in case:
        assert to_bytes(render()).hex() == case["bytes"]
    else:
        assert render() == case["text"]


def test_the_data_are_there():
    assert len(CASES) > 250
