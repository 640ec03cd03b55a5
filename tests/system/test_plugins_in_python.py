"""One plugin in Python, unchanged: in goldsmith's own process, and in a process of its own."""

import json
import os
import shutil
import signal
import sys
import threading
from pathlib import Path

import pytest
from build_terminal import build_at_a_terminal

MODULES = Path(__file__).parents[1] / "compat/data/python_plugin"
ENDS_WITHIN_S = 120

HCL = """
data "py-answer" "a" {
  name = "you"
}
source "py-machine" "m" {
  text = data.py-answer.a.text
  tags = data.py-answer.a.table
  disk {
    name  = "d0"
    sizes = [1, 2]
  }
}
build {
  sources = ["source.py-machine.m"]
  hook "py-watch" {
    on = ["packer_provision", "packer_cleanup_provision"]
  }
  provisioner "py-work" {
    note = "of ${build.ID} in ${build.Directory}"
  }
  provisioner "shell" {
    inline = ["cat watched; echo shell >made-by-shell"]
  }
  post-processors {
    post-processor "py-copy" {
      suffix = ".second"
    }
    post-processor "checksum" {
      output = "sums"
    }
  }
}
"""
TOLD = (
    "text for you, secret , count 1", "tags [('k', 'you')], switch False",
    "disks [('d0', (1, 2))]", "packer_provision with m-1", "note of m-1 in machine, number 7",
    "status 3, stdin 300000", "same bytes True", "directory leaf", "watched",
    "compat.machine id-for you: a machine of 3 file(s)", "copy machine/made-by-shell.second",
)  # fmt: skip


@pytest.fixture(params=["package", "program"])
def plugin(request, tmp_path, goldsmith):
    """Runs goldsmith beside the plugin, as a Python package or as a program."""
    directory = tmp_path / "plugins"
    directory.mkdir()
    env = {"PACKER_PLUGIN_PATH": str(directory)}
    if request.param == "package":
        site = tmp_path / "site"
        information = site / "compat_plugin-1.0.0.dist-info"
        information.mkdir(parents=True)
        shutil.copy(MODULES / "compat_plugin.py", site)
        (information / "METADATA").write_text(
            "Metadata-Version: 2.1\nName: compat-plugin\nVersion: 1.0.0\n"
        )
        (information / "entry_points.txt").write_text(
            "[goldsmith.plugins]\npy = compat_plugin:plugins\n"
        )
        env["PYTHONPATH"] = str(site)
    else:
        program = tmp_path / "program"
        program.write_text(
            f"#!{sys.executable} -P\nimport sys\nsys.path.insert(0, {str(MODULES)!r})\n"
            "from compat_plugin import plugins\nplugins.serve()\n"
        )
        program.chmod(0o755)
        goldsmith("plugins", "install", "-path", program, "example.com/ours/py", env=env,
                  check=True)  # fmt: skip

    def run(*words, **how):
        return goldsmith(*words, env=env, **how)

    run.start = lambda *words: goldsmith.start(*words, env=env)
    run.env = env
    return run


def write(tmp_path, text, name="t.pkr.hcl"):
    (tmp_path / name).write_text(text)
    return name


def test_every_kind_of_component(plugin, tmp_path):
    template = write(tmp_path, HCL)
    plugin("validate", template, check=True)
    told = plugin("build", template, check=True).stdout
    for part in TOLD:
        assert part in told, f"{part}\n{told}"
    assert (tmp_path / "machine/uploaded.bin").stat().st_size == 512_000
    assert (tmp_path / "sums").read_text().endswith("made-by-shell.second\n")


def test_what_a_plugin_prints_goes_to_the_log(plugin, tmp_path):
    template = write(tmp_path, HCL)
    plugin.env["GOLDSMITH_LOG"] = "1"
    told = plugin("build", template, check=True)
    printed = "a print goes to the log"
    assert printed not in told.stdout
    assert printed in told.stderr


def test_a_json_template(plugin, tmp_path):
    template = {
        "variables": {"g": "by-variable", "s": "top-secret"},
        "sensitive-variables": ["s"],
        "builders": [{"type": "py-machine", "text": "{{user `g`}}", "secret": "{{user `s`}}",
                      "disk": [{"name": "{{build_name}}"}]}],
        "provisioners": [{"type": "py-work", "note": "{{build `ID`}} in {{build `Directory`}}"}],
        "post-processors": [{"type": "py-copy", "keep_input_artifact": False}],
    }  # fmt: skip
    told = plugin("build", write(tmp_path, json.dumps(template), "t.json"), check=True).stdout
    for part in ("text by-variable, secret <sensitive>", "note m-1 in machine, number 7"):
        assert part in told, told
    assert not (tmp_path / "machine/uploaded.bin").exists()
    assert (tmp_path / "machine/uploaded.bin.copy").exists()


@pytest.mark.parametrize(
    ("good", "bad", "told"),
    [
        ("text =", "count = -1\n  text =", "greater than or equal to 1"),
        ("text = data.py-answer.a.text", 'text = "wrong"', "wrong is no text"),
    ],
)
def test_mistakes_have_a_place_in_the_template(good, bad, told, plugin, tmp_path):
    result = plugin("build", write(tmp_path, HCL.replace(good, bad)))
    shown = " ".join(result.stdout.split())
    assert result.status == 1
    assert told in shown
    assert "on t.pkr.hcl:" in shown
    assert "Traceback" not in shown


MACHINE = """
source "py-machine" "m" {
  text = "ab"
  %s
}
build {
  sources = ["source.py-machine.m"]
  hook "py-watch" {
    on = ["packer_cleanup_provision"]
  }
  provisioner "py-work" {
    %s
  }
  error-cleanup-provisioner "py-work" {
    note = "after the error"
  }
}
"""


@pytest.mark.parametrize(
    ("builder", "provisioner", "told"),
    [
        ('fail = "defect"', "", "MachineBuilder has a defect: KeyError: 'nothing'"),
        ("", 'fail = "status"', "ended with status 9: broken"),
    ],
    ids=["defect", "provisioner"],
)
def test_errors_while_building(builder, provisioner, told, plugin, tmp_path):
    result = plugin("build", write(tmp_path, MACHINE % (builder, provisioner)))
    assert result.status == 1
    assert told in result.stdout
    if provisioner:
        assert "packer_cleanup_provision with m-1" in result.stdout
        assert "note after the error" in result.stdout
    assert not (tmp_path / "machine").exists()


@pytest.mark.parametrize(
    ("builder", "provisioner", "seen"),
    [('fail = "slow"', "", "sleeping"), ("", 'fail = "slow"', "waiting")],
    ids=["builder", "provisioner"],
)
def test_an_interrupt_ends_the_build_cleanly(builder, provisioner, seen, plugin, tmp_path):
    template = write(tmp_path, MACHINE % (builder, provisioner))
    with plugin.start("build", template) as running:
        hung = threading.Timer(ENDS_WITHIN_S, running.kill)
        hung.start()
        told = ""
        for line in running.stdout:
            told += line
            if seen in line:
                break
        hung.cancel()
        assert seen in told, told
        os.killpg(running.pid, signal.SIGINT)
        assert running.wait(ENDS_WITHIN_S) == 1
    assert not (tmp_path / "machine").exists()


def test_a_builder_asks_the_user_and_knows_the_command_line(plugin, tmp_path, monkeypatch):
    template = write(tmp_path, MACHINE % ('fail = "ask"', ""))
    for name, text in plugin.env.items():
        monkeypatch.setenv(name, text)
    flags = ("-on-error=abort", "-force")
    with build_at_a_terminal(tmp_path, tmp_path / "cache", *flags, template=template) as terminal:
        terminal.read_to("Which one?")
        terminal.type("the second\r")
        terminal.read_to("the answer was the second")
        terminal.read_to("debug False, on error abort, force True")
        assert terminal.end() == 0, terminal.shown
    unasked = plugin("build", template)
    assert unasked.status == 1
    assert "nobody" in unasked.stdout and "Traceback" not in unasked.stdout, unasked


def test_a_failed_provisioner_of_a_plugin_is_tried_again_on_request(plugin, tmp_path, monkeypatch):
    template = write(tmp_path, MACHINE % ("", 'fail = "status"'))
    for name, text in plugin.env.items():
        monkeypatch.setenv(name, text)
    flags = ("-on-error=ask",)
    with build_at_a_terminal(tmp_path, tmp_path / "cache", *flags, template=template) as terminal:
        for answer in ("maybe", "r", "c"):
            terminal.read_to("[r] retry")
            terminal.type(f"{answer}\r")
        assert terminal.end() == 1, terminal.shown
    assert "note after the error" in terminal.shown
    assert not (tmp_path / "machine").exists()


def test_debugging_stops_before_the_provisioners_of_a_plugin(plugin, tmp_path, monkeypatch):
    template = write(tmp_path, MACHINE % ("", 'note = "worked"'))
    for name, text in plugin.env.items():
        monkeypatch.setenv(name, text)
    with build_at_a_terminal(tmp_path, tmp_path / "cache", "-debug", template=template) as terminal:
        terminal.read_to("to continue")
        terminal.type("\r")
        terminal.read_to("note worked")
        assert terminal.end() == 0, terminal.shown


def test_a_data_source_that_fails(plugin, tmp_path):
    result = plugin("build", write(tmp_path, HCL.replace('"you"', '"nobody"')))
    assert result.status == 1
    assert "nobody answers" in " ".join(result.stdout.split())


def test_commands(plugin):
    assert "py-sum" in plugin("--help").stdout
    assert "add numbers" in plugin("--help").stdout
    assert plugin("py-sum", "-help", check=True).stdout == "Usage: goldsmith py-sum NUMBER...\n"
    assert plugin("py-sum", "1", "2", check=True).stdout == "sum 3\n"
    assert plugin("py-sum", "100").status == 3
    failed = plugin("py-sum", "fail")
    assert (failed.status, "cannot add that" in failed.stderr) == (1, True)
    defect = plugin("py-sum", "no-number")
    assert (defect.status, "Traceback" in defect.stdout) == (1, False)
    assert plugin("py-sun").status == 127


def test_a_hook_that_is_wrong_in_the_template(plugin, tmp_path):
    text = HCL.replace('"packer_cleanup_provision"]\n', '"packer_provison"]\n    no = 1\n')
    result = plugin("validate", write(tmp_path, text))
    assert result.status == 1
    assert 'Did you mean "packer_provision"' in result.stdout
    assert '"no"' in result.stdout
    text = HCL.replace('hook "py-watch"', 'hook "py-wach"')
    result = plugin("validate", write(tmp_path, text))
    assert 'Did you mean "py-watch"' in result.stdout
