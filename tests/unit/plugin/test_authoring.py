"""Components of authors: their options in every form that hosts send, and what runs them."""

import io
import os
import threading

import pytest
from tests.unit.plugin import authored

from goldsmith.errors import GoldsmithError
from goldsmith.plugin import Builder, Communicator, ConfigError, Options, PluginSet
from goldsmith.plugin.authoring.served import plain
from goldsmith.plugin.cancel import Cancel
from goldsmith.plugin.draining import Drain
from goldsmith.plugin.testing import RecordingHooks, RecordingUi
from goldsmith.plugin.wire.hcl_spec import AttributeSpec, BlockListSpec
from goldsmith.values.types import NUMBER, STRING, ListType, MapType
from goldsmith.values.value import boolean, null, number, object_of, string, to_python, unknown

PLACEHOLDER = "To set this dynamically in the Packer template, you must use the `build` function"


def configured(*layers, of=authored.ImageBuilder):
    component = of()
    component.configure(list(layers))
    return component


def problems(*layers):
    with pytest.raises(ConfigError) as error:
        configured(*layers)
    return error.value.problems


def test_layers_of_a_json_template():
    user = {
        "GREETING": "{{user `g`}} from {{build_name}}", "times": 3.0, "items": "a,b",
        "tags": [{"a": "1"}, {"b": 2.0}], "disk": {"size": "5"}, "token": None,
    }  # fmt: skip
    packer = {
        "packer_build_name": "img", "packer_builder_type": "mine", "packer_debug": False,
        "packer_force": True, "packer_on_error": "", "packer_user_variables": {"g": "hi", "": ""},
        "packer_sensitive_variables": ["g"], "packer_core_version": "1.6.6",
    }  # fmt: skip
    made = configured(user, packer)
    assert made.options.greeting == "hi from img"
    assert made.options.times == 3
    assert made.options.items == ("a", "b")
    assert made.options.tags == {"a": "1", "b": "2"}
    assert [disk.size for disk in made.options.disk] == [5]
    assert (made.build.force, made.build.debug) == (True, False)
    assert made.build.secrets == {"hi"}


def test_layers_of_hcl():
    body = object_of({
        "greeting": string("hello"), "times": number(2), "items": null(), "token": null(),
        "disk": null(), "tags": null(), "target": null(),
    })  # fmt: skip
    made = configured({"packer_debug": "true", "packer_force": "false"}, body, None)
    assert made.options.times == 2
    assert made.options.target == "out.txt"
    assert (made.build.debug, made.build.force) == (True, False)


def test_a_later_layer_wins_and_another_configuration_replaces():
    made = configured({"greeting": "one", "times": 2}, {"greeting": "two"})
    assert (made.options.greeting, made.options.times) == ("two", 2)
    made.configure({"greeting": "three"})
    assert (made.options.greeting, made.options.times) == ("three", 1)


def test_all_mistakes_come_at_once():
    found = problems({"greeting": "x", "times": "many", "gretting": 1, "target": "{{nonsense}}"})
    text = "\n".join(found)
    assert len(found) == 4
    for part in ('"times": a number is required', '"gretting"', "at least 2", "nonsense"):
        assert part in text


@pytest.mark.parametrize("greeting", ["wrong", "<unknown>"])
def test_what_check_finds(greeting):
    if greeting == "wrong":
        assert problems({"greeting": greeting}) == ("the greeting is wrong",)
    else:
        configured({}, object_of({"greeting": string(greeting)}))


def test_values_that_packer_does_not_know_yet_are_not_refused():
    body = object_of({"greeting": string("<unknown>"), "times": number(0)})
    made = configured({"packer_build_name": "b"}, body)
    with pytest.raises(ConfigError, match="greater than or equal to 1"):
        made.make_ready()
    made.configure([object_of({"greeting": string("known"), "times": number(2)})])
    made.make_ready()
    assert made.options.times == 2


def test_unknown_values_of_goldsmith_are_not_refused_either():
    made = configured(object_of({"greeting": unknown(STRING), "times": unknown(NUMBER)}))
    with pytest.raises(ConfigError, match="not known although the build runs"):
        made.make_ready()


def test_what_is_wrong_beside_unknown_values_is_told():
    body = object_of({"greeting": string("x"), "times": number(0), "nonsense": boolean(True)})
    assert len(problems(body)) == 2


def test_what_the_build_tells_is_rendered_when_it_runs():
    layers = (
        {"line": "{{build `ID`}} {{ build `GoVar` }} {{timestamp}}"},
        {"packer_build_name": "b"},
        {"ID": f"Build_ID. {PLACEHOLDER}", "GoVar": f"Build_GoVar. {PLACEHOLDER}"},
    )
    made = configured(*layers, of=authored.LineProvisioner)
    made.make_ready({"ID": "i-1", "GoVar": "v"})
    assert made.options.line.startswith("i-1 v 1")


def test_a_default_may_be_a_template():
    class Named(Options):
        name: str = "{{build_name}}.tar"

    class NamedProvisioner(authored.LineProvisioner):
        options_model = Named

    assert configured({"packer_build_name": "b"}, of=NamedProvisioner).options.name == "b.tar"
    given = configured({"NAME": "x"}, {"packer_build_name": "b"}, of=NamedProvisioner)
    assert given.options.name == "x"


def test_the_schema_of_options():
    entries = plain("builder", authored.ImageBuilder).config_spec().entries
    assert entries["greeting"] == AttributeSpec("greeting", STRING, True)
    assert entries["items"] == AttributeSpec("items", ListType(STRING))
    assert entries["tags"] == AttributeSpec("tags", MapType(STRING))
    assert isinstance(entries["disk"], BlockListSpec)
    assert entries["disk"].nested.entries["size"] == AttributeSpec("size", NUMBER)


def test_options_that_no_host_can_be_told_are_refused_before_anything_is_served():
    class Odd(Options):
        anything: object = None

    class OddBuilder(Builder[Odd]):
        def run(self, ui, hooks):
            return None

    with pytest.raises(GoldsmithError, match=r"Odd\.anything"):
        PluginSet(builders={"x": OddBuilder}).plain_component("builder", "x")
    with pytest.raises(GoldsmithError, match="cannot be loaded"):
        PluginSet(builders={"x": "no.such.module:X"}).plain_component("builder", "x")
    with pytest.raises(GoldsmithError, match="is no goldsmith"):
        PluginSet(builders={"x": authored.TellingHook}).plain_component("builder", "x")


def run_builder(tmp_path, cancel=None, **options):
    served = plain("builder", authored.ImageBuilder)
    ui, hooks = RecordingUi(), RecordingHooks()
    given = {"target": str(tmp_path / "out"), "token": "hidden-token", **options}
    prepared = served.prepare([given, {"packer_build_name": "b"}])
    return served.run(ui, hooks, cancel or Cancel()), ui, hooks, prepared


def test_a_builder_runs_and_tells_no_secret(tmp_path):
    artifact, ui, hooks, prepared = run_builder(tmp_path, greeting="hello")
    assert prepared.generated == ("Greeting",)
    assert ui.said == ["hello with <sensitive>"]
    assert hooks.events == [("packer_provision", {"Greeting": "hello", "Number": 3})]
    assert artifact.state("generated_data") == {"Greeting": "hi"}
    assert artifact.state("nothing") is None
    artifact.destroy()
    artifact.destroy()
    assert not (tmp_path / "out").exists()


def test_an_error_of_a_builder_tells_no_secret(tmp_path):
    with pytest.raises(GoldsmithError, match="refused, <sensitive>"):
        run_builder(tmp_path, greeting="refused")


def test_a_defect_is_one_line_with_its_place(tmp_path, capsys, caplog):
    caplog.set_level("INFO", "goldsmith.plugin")
    with pytest.raises(GoldsmithError, match=r"defect: KeyError: 'nothing' \(.*authored.py:\d+\)"):
        run_builder(tmp_path, greeting="defect")
    assert "Traceback" in caplog.text
    assert capsys.readouterr().err == ""


def test_a_builder_is_cancelled(tmp_path):
    """Over the wire it runs on a thread of its own."""
    cancel, raised = Cancel(), []

    def run():
        with pytest.raises(GoldsmithError) as error:
            run_builder(tmp_path, cancel, greeting="slow")
        raised.append(str(error.value))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    cancel.cancel()
    thread.join(60)
    assert raised == ["context canceled"]


def test_a_builder_cannot_tell_what_packer_refuses():
    with pytest.raises(GoldsmithError, match=r"build\.Parts cannot be a list"):
        RecordingHooks().hooks().provision(None, {"Parts": []})


@pytest.mark.parametrize(
    ("on_error", "answers", "events", "keeps"),
    [
        ("", [], ["packer_provision", "packer_cleanup_provision"], False),
        ("cleanup", [], ["packer_provision", "packer_cleanup_provision"], False),
        ("abort", [], ["packer_provision"], True),
        ("run-cleanup-provisioner", [], ["packer_provision", "packer_cleanup_provision"], True),
        ("ask", ["what", "r", "a"], ["packer_provision", "packer_provision"], True),
        ("ask", ["r", "c"], ["packer_provision"] * 2 + ["packer_cleanup_provision"], False),
        ("ask", [], ["packer_provision", "packer_cleanup_provision"], False),
    ],
)
def test_what_follows_a_failed_provisioner_is_what_the_user_wants(on_error, answers, events, keeps):
    class Broken(RecordingHooks):
        def run(self, name, *rest):
            super().run(name, *rest)
            if name == "packer_provision":
                raise GoldsmithError("it failed")

    host, ui = Broken(), RecordingUi(answers=answers)
    hooks = host.hooks(ui, on_error)
    with pytest.raises(GoldsmithError, match="it failed"):
        hooks.provision(None)
    assert ([name for name, _ in host.events], hooks.keeps) == (events, keeps)


def test_a_provisioner_sees_what_the_builder_told():
    served, ui = plain("provisioner", authored.LineProvisioner), RecordingUi()
    served.prepare([{"line": "x {{build `Greeting`}}"},
                    {"Greeting": f"Build_Greeting. {PLACEHOLDER}"}])  # fmt: skip
    served.provision(ui, None, {"Greeting": "hi", "Flag": True}, Cancel())
    assert ui.said == ["x hi of hi"]


class Given:
    """An artifact as it comes over the wire."""

    builder_id, id, string, files = "b", "i", "s", ["f"]
    destroyed = False

    def state(self, name):
        return {"generated_data": {"ID": "i-7"}}.get(name)

    def destroy(self):
        self.destroyed = True


def test_a_post_processor_hands_on_what_it_was_given():
    served, ui, given = plain("post-processor", authored.SamePostProcessor), RecordingUi(), Given()
    served.configure([{"label": "of {{build `ID`}}"}, {"ID": f"Build_ID. {PLACEHOLDER}"}])
    done = served.post_process(ui, given, Cancel())
    assert done.artifact is given
    assert (done.keep, done.force_keep) == (True, False)
    assert ui.said == ["of i-7 i {'ID': 'i-7'}"]


def test_a_post_processor_makes_a_new_artifact():
    served = plain("post-processor", authored.NewPostProcessor)
    served.configure([{}])
    done = served.post_process(RecordingUi(), Given(), Cancel())
    assert (done.artifact.id, done.keep) == ("new-i", False)


def test_a_data_source_tells_its_outputs():
    served = plain("datasource", authored.AnswerSource)
    served.configure([object_of({"name": string("you")})])
    assert sorted(served.output_spec().entries) == ["number", "parts", "text"]
    value = served.execute()
    assert to_python(value) == {"text": "for you", "number": 7, "parts": ["a", "b"]}
    assert value.type == served.output_spec().type


def test_hooks_and_commands():
    ui = RecordingUi()
    plain("hook", authored.TellingHook).run("packer_provision", ui, None, {"ID": "1"})
    command = plain("command", authored.TellingCommand)
    assert command.run(["two", "words"], ui) == 2
    assert command.synopsis == "tell words"
    assert ui.said == ["packer_provision: {'ID': '1'}", "two words"]


class EchoMachine:
    """A machine whose every command says its own text and ends with status 3."""

    def start(self, command, *, stdin=None, stdout=None, stderr=None):
        for piece in (command.encode(), b"\nsecond ", b"line"):
            stdout.write(piece)
        stderr.write(stdin.read(10) if stdin else b"")
        return self

    def wait(self):
        return 3

    def upload(self, path, content, info=None):
        self.uploaded = (path, content.read(), info)

    def download(self, path, to):
        to.write(b"content")


def test_a_communicator_is_handy():
    machine, ui = EchoMachine(), RecordingUi()
    there = Communicator(machine)
    result = there.run("say", ui=ui.ui, stdin="given", check=False)
    assert (result.status, result.stdout, result.stderr) == (3, "say\nsecond line", "given")
    assert sorted(ui.messages) == ["given", "say", "second line"]
    with pytest.raises(GoldsmithError, match="'say' ended with status 3: second line"):
        there.run("say")
    there.upload("text", "/etc/motd", mode=0o600)
    path, content, info = machine.uploaded
    assert (path, content, info.mode, info.size) == ("/etc/motd", b"text", 0o600, 4)
    assert there.read("/x") == b"content"


def test_a_daemon_that_holds_the_output_open_is_not_waited_for():
    source, held = os.pipe()
    taken = io.BytesIO()
    drain = Drain(source, taken)
    try:
        os.write(held, b"all that it said")
        drain.end()
        drain.join()
    finally:
        os.close(held)
    assert taken.getvalue() == b"all that it said"
