"""Go templates in arguments: what is rendered, what is left alone, where mistakes are found."""

from datetime import UTC, datetime
from typing import ClassVar

import pytest

from goldsmith.core.build import Component, GoNames
from goldsmith.core.deferred import RawBody
from goldsmith.core.interpolation import Interpolation
from goldsmith.core.options import Options
from goldsmith.errors import Position, SourceRange
from goldsmith.gotemplate.template import Template
from goldsmith.values.marks import SENSITIVE
from goldsmith.values.types import STRING
from goldsmith.values.value import from_python, number, string, to_python, unknown
from goldsmith.values.world import LiveWorld

WORLD = LiveWorld(now=datetime(2024, 1, 2, tzinfo=UTC))


class Rendered(Options):
    go_templates: ClassVar[bool] = True
    verbatim: ClassVar[frozenset[str]] = frozenset({"later"})


def at(line):
    return SourceRange("t.hcl", Position(line, 1, 0), Position(line, 2, 0))


def interpolated(attributes, model=Rendered, **keys):
    body = RawBody({name: value.at(at(3)) for name, value in attributes.items()}, range=at(1))
    component = Component(kind="builder", type="file", name="f", config=None, range=at(1))
    known = Interpolation(world=WORLD, template_path="d/t.hcl", build_name="f", build_type="file",
                          **keys)  # fmt: skip
    return known.body(body, model, component, 'source "file" "f"')


def text_of(text, **keys):
    body, found = interpolated({"a": string(text)}, **keys)
    assert found == []
    return body.attributes["a"].text


@pytest.mark.parametrize(
    ("text", "rendered"),
    [
        ("plain } text", "plain } text"),
        ("o-{{build_name}}.{{ build_type }}", "o-f.file"),
        ("{{upper `x`}}", "X"),
        ("{{timestamp}}", "1704153600"),
        ('{{ "{{" }}', "{{"),
    ],
)
def test_texts_are_rendered(text, rendered):
    assert text_of(text) == rendered


def test_texts_inside_lists_and_objects_too_and_nothing_else():
    deep = {"l": ["{{build_name}}", 1, None], "o": {"k": "{{build_type}}"}}
    body, found = interpolated({"a": from_python(deep), "n": number(3), "u": unknown(STRING)})
    assert found == []
    assert to_python(body.attributes["a"]) == {"l": ["f", 1, None], "o": {"k": "file"}}
    assert to_python(body.attributes["n"]) == 3
    assert not body.attributes["u"].is_known


def test_marks_and_places_stay():
    body, _ = interpolated({"a": string("{{build_name}}").with_marks([SENSITIVE])})
    assert (body.attributes["a"].marks, body.attributes["a"].range) == ({SENSITIVE}, at(3))


def test_some_are_rendered_later_by_who_knows_more():
    body, found = interpolated({"later": string("{{.Vars}} {{.Script}}")})
    assert (body.attributes["later"].text, found) == ("{{.Vars}} {{.Script}}", [])


def test_components_that_did_not_ask_for_it_get_what_was_written():
    body, found = interpolated({"a": string("{{nosuch}}")}, Options)
    assert (body.attributes["a"].text, found) == ("{{nosuch}}", [])


@pytest.mark.parametrize(
    ("text", "words"),
    [("{{nosuch}}", "nosuch"), ("{{user `x`}}", "user"), ("{{", "unclosed"), ("{{.Id}}", "Id"),
     ("{{build `Nope`}}", "Nope")],
)  # fmt: skip
def test_a_mistake_is_a_finding_at_the_argument(text, words):
    body, (found,) = interpolated({"a": string(text)})
    assert found.summary == "Invalid template in an argument"
    assert (found.range, found.subject) == (at(3), 'source "file" "f"')
    assert "a: " in found.detail and words in found.detail
    assert body.attributes["a"].text == text


def test_what_the_run_knows_is_a_placeholder_first_and_then_itself():
    announced = frozenset({"ID"})
    assert text_of("{{build `ID`}}", announced=announced) == "{{.ID}}"
    values = {"ID": string("i-1")}
    assert text_of("{{build `ID` | len}}", announced=announced, run_values=values) == "3"


def test_what_the_builder_does_not_fill_is_a_finding_when_it_runs():
    _, (found,) = interpolated({"a": string("{{build `ID`}}")}, run_values={})
    assert "does not fill ID" in found.detail


GO_NAMES = GoNames({"v": "{{.X}}"}, frozenset({"ID", "Host"}), "1.2.3")


def test_variables_of_a_language_that_has_only_go_templates():
    assert text_of("{{user `v` | len}} {{packer_version}}", go_names=GO_NAMES) == "6 1.2.3"
    body, found = interpolated({"later": string("{{user `v`}} {{.Vars}}")}, go_names=GO_NAMES)
    assert not found
    later = Template.parse(body.attributes["later"].text, {}).render({"Vars": "w"})
    assert later == "{{.X}} w"


def test_values_of_a_running_build_come_in_a_second_pass():
    text = "{{build `ID`}} {{build `ID` | len}} {{build `Host`}}"
    assert text_of(text, go_names=GO_NAMES) == "{{.ID}} 7 {{.Host}}"
    running = {"ID": string("i-1")}
    assert text_of(text, go_names=GO_NAMES, run_values=running) == "i-1 7 <no value>"
    _, (one,) = interpolated({"a": string("{{build `Nosuch`}}")}, go_names=GO_NAMES)
    assert "Nosuch" in one.detail


class Native(Options):
    """Options of a component that is no Packer's."""


def test_json_templates_have_their_variables_in_options_of_every_component():
    deep = {"bootstrap": {"elements": ["{{user `v`}}"], "environment": {"R": "{{user `v`}}-x"}}}
    names = GoNames({"v": "vm"}, frozenset(), "1.6.6")
    body, found = interpolated({"a": from_python(deep)}, Native, go_names=names)
    assert found == []
    assert to_python(body.attributes["a"]) == {
        "bootstrap": {"elements": ["vm"], "environment": {"R": "vm-x"}}
    }
    body, found = interpolated({"a": string("{{user `v`}}")}, Native)
    assert (body.attributes["a"].text, found) == ("{{user `v`}}", [])
