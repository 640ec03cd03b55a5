"""JSON templates: the builds that come out, and every mistake at its place, all of them at once."""

import json

import pytest

from goldsmith.errors import GoldsmithError, TemplateError
from goldsmith.template import load as by_name
from goldsmith.template.legacy_json import loader
from goldsmith.template.legacy_json.console import open_session
from goldsmith.values.world import LiveWorld, RecordingWorld, ReplayedWorld

NULL = {"type": "null", "communicator": "none"}


@pytest.fixture(autouse=True)
def work(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def load(work, template, variables=(), files=(), world=None):
    text = template if isinstance(template, str) else json.dumps(template)
    (work / "t.json").write_text(text)
    return by_name.load(
        "t.json", variables=variables, variable_files=files, world=world or LiveWorld()
    )


def findings(work, template, **given):
    with pytest.raises(TemplateError) as caught:
        load(work, template, **given)
    return [(one.range.start.line if one.range else 0, one.summary) for one in
            caught.value.diagnostics]  # fmt: skip


def test_all_mistakes_are_told_at_once(work):
    text = """{
  "builders": [
    {"type": "null", "name": "p"},
    {"type": "null", "name": "p"},
    {"nme": "q"},
    5
  ],
  "variables": {"a": 1, "r": null},
  "provisioners": [
    {"type": "shell-local", "only": ["zz"], "except": ["p"], "pause_before": "soon"},
    {"type": "shell-local", "max_retries": "x", "override": {"q": {}}}
  ],
  "post-processors": [[["manifest"]], 5, {"type": "manifest", "keep_input_artifact": "yes"}],
  "bogus": 1,
  "_comment": 2,
  "min_packer_version": "99"
}"""
    assert findings(work, text) == [
        (4, 'Duplicate builder "p"'),
        (5, "Missing type of a builder"),
        (6, "Invalid builder"),
        (8, 'Wrong type of "a"'),
        (8, "Required variable not set: r"),
        (10, 'Unknown builder "zz"'),
        (10, "Conflicting arguments"),
        (10, "Invalid duration"),
        (11, "Invalid number of retries"),
        (11, 'Unknown builder "q"'),
        (13, "Invalid post-processor"),
        (13, "Invalid post-processor"),
        (13, 'Wrong type of "keep_input_artifact"'),
        (14, 'Unknown root level key "bogus"'),
        (15, "Invalid root level key"),
        (16, "Unsupported Packer version"),
    ]


def test_a_build_has_what_applies_to_its_builder(work):
    template = load(work, {
        "builders": [{**NULL, "name": "p"}, NULL],
        "provisioners": [
            {"type": "shell-local", "inline": "a", "only": ["p"], "pause_before": "2s"},
            {"type": "shell-local", "inline": "b", "except": ["p"], "max_retries": "3",
             "override": {"null": {"inline": ["c"]}}},
        ],
        "post-processors": [["manifest", {"type": "checksum", "name": "sum", "only": ["p"]}]],
    })  # fmt: skip
    first, second = template.builds
    assert (first.name, first.selected_by, second.name) == ("null.p", "p", "null")
    assert [one.pause_before_s for one in first.provisioners] == [2.0]
    (provisioner,) = second.provisioners
    assert provisioner.max_retries == 3
    inline = provisioner.config.resolve(None).attributes["inline"]
    assert [one.text for one in inline.elements] == ["c"]
    assert [one.announced for one in first.post_processors[0]] == [
        "manifest",
        "sum (type checksum)",
    ]
    assert [one.type for one in second.post_processors[0]] == ["manifest"]


def test_values_of_variables(work):
    (work / "v.json").write_text('{"file": "v", "both": "v"}')
    variables = {"a": "{{user `b`}}!", "b": "{{user `given`}}", "given": None, "file": "x",
                 "both": "x", "where": "{{template_dir}}", "up": "{{ `x` | upper }}"}  # fmt: skip
    template = load(work, {"builders": [NULL], "variables": variables},
                    [("given", "{{upper `q`}}"), ("both", "line")], ["v.json"])  # fmt: skip
    assert template.builds[0].go_names.user == {
        "a": "Q!", "b": "Q", "given": "Q", "file": "v", "both": "line", "where": str(work),
        "up": "X",
    }  # fmt: skip


def test_a_cycle_is_told_with_its_members(work):
    variables = {"a": "{{user `b`}}", "b": "{{user `c`}}", "c": "{{user `a`}}", "d": "{{user `a`}}"}
    with pytest.raises(TemplateError) as caught:
        load(work, {"builders": [NULL], "variables": variables})
    details = {one.summary[-2]: one.detail for one in caught.value.diagnostics}
    assert sorted(details) == ["a", "b", "c", "d"]
    assert "a -> b -> c -> a" in details["a"]
    assert "->" not in details["d"]


def test_a_long_cycle_is_told_once(work):
    variables = {f"v{n}": f"{{{{user `v{(n + 1) % 400}`}}}}" for n in range(400)}
    with pytest.raises(TemplateError) as caught:
        load(work, {"builders": [NULL], "variables": variables})
    assert len(caught.value.diagnostics) == 400
    (whole,) = [one.detail for one in caught.value.diagnostics if "->" in one.detail]
    assert whole.count("->") == 400


def test_growth_without_end_is_bounded(work):
    doubling = {f"v{n}": f"{{{{user `v{n - 1}`}}}}" * 2 for n in range(1, 60)} | {"v0": "x" * 100}
    summaries = [one for _, one in findings(work, {"builders": [NULL], "variables": doubling})]
    assert 'Invalid value of the variable "v59"' in summaries
    again = '{{`{{user `}}{{`"s"`}}{{`}}`}}'
    assert findings(work, {"builders": [NULL], "variables": {"s": again}})


def test_sensitive_values_are_in_no_message(work):
    template = {"builders": [NULL], "variables": {"s": "hush-hush", "t": "{{nosuch `hush-hush`}}"},
                "sensitive-variables": ["s"]}  # fmt: skip
    with pytest.raises(TemplateError) as caught:
        load(work, template)
    assert "hush" not in str(caught.value)
    assert "hush" not in str(caught.value.sources)
    del template["variables"]["t"]
    assert load(work, template).secrets == {"hush-hush"}


def test_a_replay_gives_the_same_template(work):
    world = RecordingWorld(LiveWorld())
    template = {"builders": [NULL], "variables": {"t": "{{timestamp}} {{uuid}} {{env `HOME`}}"}}
    first = load(work, template, world=world)
    (work / "t.json").unlink()
    again = by_name.load("t.json", world=ReplayedWorld(world.record()))
    assert again.builds[0].go_names == first.builds[0].go_names


@pytest.mark.parametrize("name", ["absent.json", "d"])
def test_what_is_no_file(work, name):
    (work / "d").mkdir()
    with pytest.raises(GoldsmithError):
        by_name.load(name, world=LiveWorld())
    with pytest.raises(TemplateError) as caught:
        loader.load(name, world=LiveWorld())
    assert name in str(caught.value)


def test_a_console_without_values_tells_why(work):
    (work / "t.json").write_text('{"variables": {"a": null, "b": "x"}}')
    session = open_session("t.json", world=LiveWorld())
    assert session.answer("[{{user `b`}}]") == "[]"
    assert "Required variable" in str(session.problem)
    session = open_session("t.json", variables=[("a", "1")], world=LiveWorld())
    assert session.answer("[{{user `b`}}]") == "[x]"
