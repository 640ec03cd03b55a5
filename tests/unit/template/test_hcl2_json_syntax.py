"""Templates in JSON syntax: the same builds as from HCL's own, with exact places."""

import json

import pytest

from goldsmith.core.loose import tightened
from goldsmith.core.options import Options, build_options
from goldsmith.errors import TemplateError
from goldsmith.template.hcl2.json_syntax import parse_json_file
from goldsmith.template.hcl2.loader import load, load_scope
from goldsmith.values.value import to_python
from goldsmith.values.world import LiveWorld

BASE = {"source": {"null": {"a": {"communicator": "none"}}}, "build": {"sources": ["null.a"]}}


@pytest.fixture(autouse=True)
def work(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def loaded(content):
    with open("t.pkr.json", "w") as file:
        file.write(content if isinstance(content, str) else json.dumps(content, indent=1))
    return load("t.pkr.json", world=LiveWorld())


def resolved(component):
    body = component.config.resolve(None)
    return {name: to_python(value) for name, value in body.attributes.items()}


def test_a_whole_template():
    template = loaded({
        "//": "a comment",
        "packer": {"required_version": ">= 1.7"},
        "variable": {"l": {"type": "list(number)", "default": [1, 2]}, "s": {"default": "v"}},
        "variables": {"t": "w"},
        "locals": [{"up": "${upper(var.s)}"}, {"all": "${var.l}"}],
        "local": {"one": {"expression": "%{ if true }yes%{ endif }", "sensitive": True}},
        "data": {"null": {"n": {"input": "${local.up}!"}}},
        **BASE,
        "build": [{
            "name": "b",
            "source": {"null.a": {"name": "own", "//": "note"}},
            "provisioner": [
                {"first": {"inline": ["${local.up} ${var.t} ${data.null.n.output}"], "n": 5}},
                {"second": {"m": {"k-${var.s}": "${local.all[1]}"}, "z": None}},
            ],
            "post-processors": [{"post-processor": [{"p": {}}, {"q": {"name": "x"}}]}],
            "post-processor": {"r": {"keep_input_artifact": True}},
            "error-cleanup-provisioner": {"c": {}},
        }],
    })  # fmt: skip
    (build,) = template.builds
    assert (build.name, build.error_cleanup.type) == ("b.null.own", "c")
    first, second = build.provisioners
    assert (first.type, resolved(first)) == ("first", {"inline": ["V w V!"], "n": 5})
    assert resolved(second) == {"m": {"k-v": 2}, "z": None}
    assert [[one.type for one in chain] for chain in build.post_processors] == [["p", "q"], ["r"]]
    assert build.post_processors[1][0].keep_input_artifact is True
    assert "yes" in template.secrets


def test_dynamic_blocks():
    template = loaded({
        **BASE,
        "build": {"sources": ["null.a"], "dynamic": {
            "provisioner": {"for_each": ["1", "2"], "iterator": "it", "labels": ["p"],
                            "content": {"x": "${it.value}"}},
        }},
    })  # fmt: skip
    assert [resolved(one) for one in template.builds[0].provisioners] == [{"x": "1"}, {"x": "2"}]


class Part(Options):
    labels = ("name",)
    name: str
    size: str


class Disk(Options):
    part: tuple[Part, ...] = ()
    label: str = ""


class Whole(Options):
    disk: Disk
    count: int = 0


def test_objects_stand_for_the_blocks_of_a_component():
    content = {"disk": {"label": "gpt", "part": [{"a": {"size": "1"}}, {"b": {"size": "2"}}]}}
    template = loaded({**BASE, "source": {"null": {"a": {**content, "count": 3}}}})
    body = tightened(template.builds[0].source.config.resolve(None), Whole)
    options, findings = build_options(Whole, body)
    assert (findings, options.count, options.disk.label) == ([], 3, "gpt")
    assert [(part.name, part.size) for part in options.disk.part] == [("a", "1"), ("b", "2")]
    template = loaded({**BASE, "source": {"null": {"a": {**content, "Count": 3}}}})
    body = tightened(template.builds[0].source.config.resolve(None), Whole)
    _, (finding,) = build_options(Whole, body)
    assert 'An argument named "Count" is not expected' in finding.detail  # no loose names here


@pytest.mark.parametrize(
    ("text", "place", "summary"),
    [
        ("{", "1:1", "Invalid JSON"),
        ("[]", "1:1", "Invalid template"),
        ('{\n "nonsense": {}\n}', "2:2", "Unsupported block type"),
        ('{\n "locals": {"a": "x${upper(}"}\n}', "2:28", "Missing expression"),
        ('{\n "locals": {"a": "é ${var.nope}"}\n}', "2:27", "Unsupported attribute"),
        ('{\n "locals": {\n  "a": "\\n${var.nope}"}\n}', "3:8", "Unsupported attribute"),
        ('{\n "variable": {"a": {"type": "strin", "default": "x"}}\n}', "2:30",
         "Invalid type specification"),
        ('{\n "source": "x"\n}', "2:12", "Invalid block"),
        ('{\n "source": {"null": {"a": 5}}\n}', "2:27", "Invalid block"),
        ('{\n "build": {"bogus": 5}\n}', "2:12", "Unsupported argument"),
        ('{\n "build": {}\n}', "2:2", "Missing build source"),
        ('{\n "locals": {"a": 1, "a": 2}\n}', "2:21", "Duplicate key"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_at_its_place(text, place, summary):
    with pytest.raises(TemplateError) as caught:
        loaded(text)
    one = caught.value.diagnostics[0]
    assert (str(one.range), one.summary) == (f"t.pkr.json:{place}", summary)


def test_a_directory_holds_both_syntaxes_the_own_one_first(work):
    (work / "a.pkr.json").write_text(json.dumps({"build": {"name": "j", "sources": ["null.a"]}}))
    (work / "b.pkr.hcl").write_text(
        'source "null" "a" {}\nbuild {\n  name = "h"\n  sources = ["null.a"]\n}\n'
    )
    (work / "x.auto.pkrvars.json").write_text("{}")
    assert [one.build_name for one in load(".", world=LiveWorld()).builds] == ["h", "j"]


def test_places_behind_letters_of_several_bytes():
    text = '{"locals": {"ä": "é${1 + \\"x\\"}", "b": "é${nope}"}}'
    parsed = parse_json_file(text, "t.pkr.json")
    assert parsed.diagnostics == ()
    with pytest.raises(TemplateError) as caught:
        with open("t.pkr.json", "w") as file:
            file.write(text)
        load_scope("t.pkr.json", world=LiveWorld())
    summaries = [(one.range.start.column, one.summary) for one in caught.value.diagnostics]
    assert (text.index("nope") + 1, "Unknown variable") in summaries


def test_keys_of_blocks_and_labels_may_be_repeated():
    template = loaded("""{
      "source": {"null": {"a": {"communicator": "none"}}, "null": {"b": {"communicator": "none"}}},
      "locals": {"x": 1}, "locals": {"y": 2},
      "build": {"sources": ["null.a", "null.b"],
                "provisioner": {"one": {"n": "${local.x}"}},
                "provisioner": {"two": {"n": "${local.y}"}}, "//": "a note", "//": "another"}
    }""")
    assert [build.name for build in template.builds] == ["null.a", "null.b"]
    assert [one.type for one in template.builds[0].provisioners] == ["one", "two"]
    assert [resolved(one) for one in template.builds[0].provisioners] == [{"n": 1}, {"n": 2}]


@pytest.mark.parametrize(
    "text",
    ['{\n "locals": {"a": {"b": 1,\n "b": 2}}\n}', '{\n "build": {"name": "x",\n "name": "y"}\n}',
     '{\n "source": {"null": {"a": {"communicator": "none",\n "communicator": "ssh"}}}\n}'],
    ids=["object", "argument", "option"],
)  # fmt: skip
def test_no_other_key_may_be_repeated(text):
    with pytest.raises(TemplateError) as caught:
        loaded(text)
    places = [str(one.range) for one in caught.value.diagnostics if one.summary == "Duplicate key"]
    assert places == ["t.pkr.json:3:2"]
