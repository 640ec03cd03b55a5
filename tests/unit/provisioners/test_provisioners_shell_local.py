"""What `shell-local` accepts, and how it writes variables and commands."""

from contextlib import nullcontext

import pytest
from pydantic import ValidationError

from goldsmith.communicators.local import LocalScripts, ShellLocalOptions
from goldsmith.errors import GoldsmithError
from goldsmith.events import Emitter
from goldsmith.host import process
from goldsmith.host.process import Completed
from goldsmith.provisioners.shell_local import ShellLocalProvisioner


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Runs a block whose programs are only noted; tells their words, environments and scripts."""

    def go(status=0, **options):
        noted, events = [], []

        def note(words, *, env, cwd, check, on_line):
            script = next(tmp_path.glob("packer-shell*"), None)
            text = script.read_text() if script else None
            mode = script.stat().st_mode & 0o777 if script else None
            noted.append((words, env, text, mode))
            return Completed(tuple(words), status, b"", (), 0.0)

        monkeypatch.setattr(process, "run", note)
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
        LocalScripts(
            options=ShellLocalOptions(**options), emitter=Emitter("null.a", events.append),
            directory=tmp_path, build_name="a", builder_type="null", run_uuid="uuid",
            scratch_file=nullcontext,
        ).run()  # fmt: skip
        return noted, [event.text for event in events]

    return go


@pytest.mark.parametrize(
    "wrong",
    [
        {}, {"inline": []}, {"inline": ["a"], "script": "b"}, {"command": "a", "inline": ["b"]},
        {"script": "a", "scripts": ["b"]}, {"inline": ["a"], "environment_vars": ["novalue"]},
        {"inline": ["a"], "environment_vars": ["=x"]}, {"inline": ["a"], "env": {"a=b": "c"}},
        {"inline": ["a"], "only_on": ["plan9"]}, {"inline": ["a"], "execute_command": []},
        {"inline": ["a"], "execute_command": ["{{.Nope}}"]},
        {"inline": ["a"], "env_var_format": "%s"}, {"inline": ["a"], "use_linux_pathing": True},
        {"inline": ["a"], "tempfile_extension": "/x"},
    ],
)  # fmt: skip
def test_what_is_refused(wrong):
    with pytest.raises(ValidationError):
        ShellLocalOptions(**wrong)


def test_inline_commands_become_a_script_that_only_the_owner_reads(run):
    ((words, env, text, mode),), said = run(inline=["echo a", "echo b"])
    assert text == "#!/bin/sh -e\necho a\necho b\n"
    assert mode == 0o700
    assert words[:2] == ["/bin/sh", "-c"]
    assert said == [f"Running local shell script: {words[2]}"]
    assert (env["PACKER_BUILD_NAME"], env["PACKER_BUILDER_TYPE"]) == ("a", "null")
    assert env["PACKER_RUN_UUID"] == "uuid"


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"command": "echo a"}, "#!/bin/sh -e\necho a\n"),
        ({"inline": ["x"], "inline_shebang": "/bin/zsh"}, "#!/bin/zsh\nx\n"),
        ({"inline": ["x"], "inline_shebang": ""}, "x\n"),
        ({"inline": ["#!/usr/bin/python3", "x"]}, "#!/usr/bin/python3\nx\n"),
        ({"inline": ["#!/a"], "inline_shebang": "/b"}, "#!/b\n#!/a\n"),
    ],
)
def test_the_interpreter(run, options, text):
    assert run(**options)[0][0][2] == text


def test_the_name_of_the_script_may_have_an_end(run):
    ((words, *_),), _ = run(inline=["x"], tempfile_extension=".py")
    assert words[2].endswith(".py")


def test_secrets_stand_in_no_list_of_processes(run):
    ((words, env, *_),), _ = run(
        inline=["x"], environment_vars=["A=list", "B=it's"], env={"A": "map"}
    )
    assert (env["A"], env["B"]) == ("map", "it's")
    assert not any("it's" in word or "map" in word for word in words)


def test_an_own_command_gets_the_variables_as_text(run):
    options = {"script": "s.sh", "environment_vars": ["B=it's", "A=1"]}
    ((words, env, *_),), said = run(execute_command=["sh", "-c", "{{.Vars}}{{.Script}}"], **options)
    assert words[:2] == ["sh", "-c"]
    assert words[2].startswith("A='1' B='it'\"'\"'s' PACKER_BUILDER_TYPE='null' PACKER_BUILD_NAME=")
    assert words[2].endswith("/s.sh")
    assert "A" not in env
    assert said == ["Running local shell script: s.sh"]


def test_the_format_of_variables(run):
    options = {"inline": ["x"], "env_var_format": "export %s=%s;", "env": {"A": "1"}}
    ((words, *_),), _ = run(**options)
    assert words[2].startswith("export A=1;export PACKER_BUILDER_TYPE=null;")


def test_a_single_word_goes_to_a_shell(run):
    ((words, *_),), _ = run(inline=["x"], execute_command=["run {{.Script}}"])
    assert words[:2] == ["/bin/sh", "-c"]
    assert words[2].startswith("run /")


@pytest.mark.parametrize(("only_on", "runs"), [(["linux"], 1), (["windows", "linux"], 1),
                                               (["windows"], 0), ([], 1)])  # fmt: skip
def test_other_systems_are_skipped(run, only_on, runs):
    noted, said = run(inline=["x"], only_on=only_on)
    assert len(noted) == runs
    assert runs or said == ["Skipping shell-local due to runtime OS"]


@pytest.mark.parametrize(("status", "shown"), [(3, "3"), (-9, "137"), (127, "127")])
def test_a_status_that_is_not_allowed(run, status, shown):
    with pytest.raises(GoldsmithError, match=rf"exit status: {shown}\. Allowed .*\[0 1\]"):
        run(status, inline=["x"], valid_exit_codes=[0, 1])


def test_a_status_that_is_allowed(run):
    run(3, inline=["x"], valid_exit_codes=[3])


def test_scripts_must_be_there(tmp_path):
    (tmp_path / "a.sh").touch()
    made = ShellLocalProvisioner(ShellLocalOptions(scripts=["a.sh", "b.sh"]))
    (found,) = made.check(tmp_path)
    assert (found.path, "b.sh" in found.message) == (("scripts", 1), True)
    assert ShellLocalProvisioner(ShellLocalOptions(script="a.sh")).check(tmp_path) == []


def test_it_leaves_the_tree_alone_and_has_no_key(tmp_path):
    made = ShellLocalProvisioner(ShellLocalOptions(inline=["make it", "x"]))
    assert made.changes_tree is False
    assert made.key(tmp_path) is None
    assert made.label == "Provisioning with local shell: make it"
