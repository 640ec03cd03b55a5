"""Packer's recorded answers to Go templates, and Go's rendering of time layouts.

The data are the cases of the golden set that need no legacy JSON engine (no -var, no variable that
is a template itself); templates of the console are trimmed, as Packer trims its input. "renders"
is 2 where the answer comes from the console's second rendering.
"""

import json
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from goldsmith.gotemplate.errors import GoTemplateError
from goldsmith.gotemplate.go_time import format_time
from goldsmith.gotemplate.packer_functions import PackerContext, packer_functions
from goldsmith.gotemplate.template import Template

GOLDEN = json.loads((Path(__file__).parent / "data" / "golden_gotemplate.json").read_text())
NOW = datetime(2024, 2, 3, 4, 5, 6, 7008, tzinfo=UTC)
ROOT = "/somewhere"
UUID = "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"


class FixedWorld:
    def cwd(self):
        return ROOT + "/work"

    def env(self, name):
        return None

    def now(self):
        return NOW

    def random_bytes(self, count, at):
        return bytes(range(count))


def render(case):
    context = PackerContext(
        build_name=case.get("build_name"),
        build_type=case.get("build_type"),
        template_path=case.get("template_path"),
        packer_version="1.16.0",
        user_variables=case.get("variables", {}),
    )
    functions = packer_functions(FixedWorld(), context)
    text = case["template"]
    for _ in range(case.get("renders", 1)):
        text = Template.parse(text, functions).render(None)
    return text


@pytest.mark.parametrize("case", GOLDEN["cases"], ids=lambda case: case["id"])
def test_case(case):
    if "error_names" in case:
        with pytest.raises(GoTemplateError) as caught:
            render(case)
        message = str(caught.value)
        assert message.startswith("template: root:")
        assert [name for name in case["error_names"] if name not in message] == []
    elif "pattern" in case:
        assert re.fullmatch(case["pattern"].replace("<UUID>", UUID), render(case))
    elif "clock" in case:
        assert render(case) == NOW.strftime(case["clock"])
    else:
        assert render(case) == case["stdout"].replace("<TMP>", ROOT)


def test_the_data_are_there():
    assert len(GOLDEN["cases"]) == 250
    assert len(GOLDEN["layouts"]) == 93


@pytest.mark.parametrize("layout", GOLDEN["layouts"])
def test_layout(layout):
    shown = []
    for text in GOLDEN["times"]:
        fraction = re.search(r"\.(\d+)Z", text)
        nanosecond = int(fraction[1].ljust(9, "0")) if fraction else 0
        moment = datetime.fromisoformat(re.sub(r"(\.\d+)?Z", "+00:00", text))
        shown.append(format_time(moment, layout, nanosecond=nanosecond))
    assert shown == GOLDEN["layouts"][layout]
