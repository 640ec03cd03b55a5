"""Events as JSON lines, held against the schema that is published for them."""

import json

import pytest

from goldsmith.core.artifact import Artifact
from goldsmith.core.engine import BuildResult
from goldsmith.errors import (
    Diagnostic,
    GoldsmithError,
    Position,
    SourceRange,
    TemplateError,
    WorkerError,
)
from goldsmith.events import (
    IN_BUILDS,
    OF_RUNS,
    Asked,
    Emitter,
    Output,
    Progress,
    Said,
    decode,
    encode,
)
from goldsmith.ui.event_schema import event_schema
from goldsmith.ui.jsonl import ENVELOPE, JsonLinesRenderer

NAME = "image.debian"
SCHEMA = event_schema()
PYTHON_TYPES = {
    "string": str, "integer": int, "number": (int, float), "boolean": bool, "object": dict,
    "array": list, "null": type(None),
}  # fmt: skip


def conforms(value, schema):
    """Whether a value is as a schema of the few keywords that ours has; unknown ones are errors."""
    assert set(schema) <= {"type", "const", "enum", "items", "description", "format"}, schema
    if "const" in schema or "enum" in schema:
        return value in schema.get("enum", [schema.get("const")])
    names = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    fits = any(
        isinstance(value, PYTHON_TYPES[name]) and (name == "boolean" or value is not True)
        for name in names
    )
    return fits and all(conforms(item, schema["items"]) for item in value if "items" in schema)\
        if isinstance(value, list) else fits  # fmt: skip


def checked(line):
    """The event of a line, which is exactly as its schema says: no field more, none less."""
    event = json.loads(line)
    schema = SCHEMA["$defs"][event["type"]]
    assert list(event)[: len(ENVELOPE)] == list(ENVELOPE)
    assert set(event) == set(schema["properties"]) == set(schema["required"])
    wrong = [name for name, value in event.items()
             if not conforms(value, schema["properties"][name])]  # fmt: skip
    assert not wrong
    return event


@pytest.fixture
def printed(capsys):
    return lambda: [checked(line) for line in capsys.readouterr().out.splitlines()]


@pytest.fixture
def renderer(printed):
    renderer = JsonLinesRenderer()
    renderer.announce([NAME])
    (begun,) = printed()
    assert (begun["type"], begun["builds"], begun["schema"]) == ("run-started", [NAME], 1)
    assert begun["build"] is None
    return renderer


def test_every_kind_of_event_has_a_schema():
    kinds = {cls.kind for cls in (*IN_BUILDS, *OF_RUNS)}
    assert set(SCHEMA["$defs"]) == kinds
    assert [one["$ref"] for one in SCHEMA["oneOf"]] == [
        f"#/$defs/{kind}" for kind in SCHEMA["$defs"]
    ]
    for kind, schema in SCHEMA["$defs"].items():
        assert schema["properties"]["type"] == {"const": kind}
        assert schema["description"]


def test_a_schema_has_the_types_of_the_fields():
    step = SCHEMA["$defs"]["step-finished"]["properties"]
    assert step["duration_s"] == {"type": "number"}
    assert step["cache"]["enum"] == ["hit", "miss", "none", None]
    assert SCHEMA["$defs"]["run-started"]["properties"]["builds"] == {
        "type": "array", "items": {"type": "string"},
    }  # fmt: skip
    assert SCHEMA["$defs"]["build-finished"]["properties"]["log"] == {"type": ["string", "null"]}
    assert SCHEMA["$defs"]["output"]["properties"]["routine"] == {"type": "boolean"}


def test_what_happens_in_a_step_has_its_key_and_parent(renderer, printed):
    """The same through the pipe of a worker as from a thread."""
    emitter = Emitter(NAME, lambda event: renderer.render(decode(encode(event))))
    emitter.say("before")
    with emitter.running("b", "Bootstrap", key="k1", parent="p1", cache="miss", reason="new"):
        emitter.output("x", "stderr", routine=True)
        emitter.say("within")
    with emitter.running("c", "Configure", key="k2", parent="p2", cache="hit", reason="same"):
        pass
    emitter.say("after")
    events = printed()
    assert [(e["type"], e["step"], e["key"], e["parent"], e["cache"], e["reason"])
            for e in events] == [
        ("said", None, None, None, None, None),
        ("step-started", "b", "k1", "p1", "miss", "new"),
        ("output", "b", "k1", "p1", "miss", "new"),
        ("said", "b", "k1", "p1", "miss", "new"),
        ("step-finished", "b", "k1", "p1", "miss", "new"),
        ("step-started", "c", "k2", "p2", "hit", "same"),
        ("step-finished", "c", "k2", "p2", "hit", "same"),
        ("said", None, None, None, None, None),
    ]  # fmt: skip
    assert [e["outcome"] for e in events if e["type"] == "step-finished"] == ["ran", "cached"]
    assert {e["build"] for e in events} == {NAME}


def test_a_post_processor_is_a_step_of_its_build(renderer, printed):
    announcer = Emitter(NAME, renderer.render)
    inner = Emitter(f"{NAME} (compress)", renderer.render)
    with announcer.running("compress", "Running post-processor"):
        inner.step = "compress"
        inner.progress("compress", 1, 2, unit="bytes")
        inner.say("x")
    assert {(e["build"], e["step"]) for e in printed()} == {(NAME, "compress")}


def test_times_are_in_utc(renderer, printed):
    renderer.render(Said(build=NAME, text="x", at_s=0.5))
    assert printed()[0]["time"] == "1970-01-01T00:00:00.500Z"


def test_a_progress_is_printed_when_a_percentage_or_the_work_changes(renderer, printed):
    def tell(what, done, total=1000):
        renderer.render(Progress(build=NAME, step="s", what=what, done=done, total=total))

    for done in (1, 2, 9, 10, 11, 1000):
        tell("a", done)
    tell("b", 1000)
    tell("c", 0, 0)
    assert [(e["what"], e["done"]) for e in printed()] == [
        ("a", 1), ("a", 10), ("a", 1000), ("b", 1000), ("c", 0),
    ]  # fmt: skip


def test_the_end_of_a_build_that_failed(renderer, printed, tmp_path):
    error = WorkerError("CommandFailed", "mkfs failed", hint="look")
    error.add_note("and more")
    renderer.result(BuildResult(NAME, errors=[error], duration_s=2.0), tmp_path / "x.log")
    failed, ended = printed()
    assert (failed["error"], failed["message"], failed["hint"], failed["exit_code"]) == (
        "CommandFailed", "mkfs failed\nand more", "look", 1,
    )  # fmt: skip
    assert (ended["outcome"], ended["errors"], ended["log"]) == (
        "failed", 1, str(tmp_path / "x.log"),
    )  # fmt: skip


def test_the_end_of_a_build_that_made_something_hides_its_values(renderer, printed):
    state = {"generated_data": {"Password": "s3cret"}, "digests": {"a.raw": "abc"}}
    artifact = Artifact(builder_id="g", id="i", string="Image", files=("/o/a.raw",), state=state)
    renderer.result(BuildResult(NAME, [artifact], duration_s=1.5))
    made, ended = printed()
    assert made["artifact"] == {
        "builder_id": "g", "id": "i", "string": "Image", "files": ["/o/a.raw"], "native": False,
        "digests": {"a.raw": "abc"},
    }  # fmt: skip
    assert (ended["outcome"], ended["artifacts"], ended["duration_s"]) == ("ok", 1, 1.5)


@pytest.mark.parametrize(
    ("results", "outcome"),
    [([BuildResult("a")], "ok"), ([BuildResult("a", errors=[GoldsmithError("x")])], "failed")],
)
def test_the_end_of_the_run(renderer, printed, results, outcome):
    renderer.summary(results, 3.0)
    (ended,) = printed()
    assert (ended["type"], ended["outcome"], ended["duration_s"]) == ("run-finished", outcome, 3.0)


def test_findings_about_a_template_are_events_with_places(printed):
    renderer = JsonLinesRenderer()
    where = SourceRange("t.pkr.hcl", Position(3, 5, 20), Position(3, 9, 24))
    renderer.error(TemplateError([Diagnostic("Bad", "so", where), Diagnostic("Worse")]))
    bad, worse, ended = printed()
    assert (bad["severity"], bad["summary"], bad["file"], bad["line"], bad["column"]) == (
        "error", "Bad", "t.pkr.hcl", 3, 5,
    )  # fmt: skip
    assert (worse["file"], worse["line"]) == ("", 0)
    assert ended["outcome"] == "failed"


def test_other_ends(printed):
    renderer = JsonLinesRenderer()
    renderer.error(GoldsmithError("no", hint="yes"))
    renderer.cancelled()
    renderer.warnings([], {})
    renderer.line("\nnote")
    renderer.close()
    failed, ended, cancelled, said = printed()
    assert (failed["build"], failed["message"], failed["hint"]) == (None, "no", "yes")
    assert (ended["outcome"], cancelled["outcome"]) == ("failed", "cancelled")
    assert said["text"] == "note"


def test_any_text_is_one_line(renderer, printed):
    text = "a\nb\u2028c\udc80"
    renderer.render(Output(build=NAME, step="s", stream="stdout", line=text))
    renderer.render(Asked(build=NAME, id=1, question="?", choices=("a", "b")))
    output, asked = printed()
    assert output["line"] == text
    assert asked["choices"] == ["a", "b"]


def test_the_checks_of_this_test_find_what_is_wrong():
    assert not conforms(True, {"type": "integer"})
    assert not conforms(None, {"type": "string"})
    assert not conforms([1], {"type": "array", "items": {"type": "string"}})
    assert not conforms("x", {"enum": ["hit", None]})
    assert conforms(None, {"type": ["string", "null"]})
    line = json.dumps({**dict.fromkeys(ENVELOPE), "type": "said"})
    with pytest.raises(AssertionError):
        checked(line)
