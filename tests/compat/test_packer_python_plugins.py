"""The real packer runs components written in Python: every callback, error and interrupt."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

PACKER = "/usr/bin/packer"
MODULES = Path(__file__).parent / "data/python_plugin"
ENDS_WITHIN_S = 120

pytestmark = pytest.mark.skipif(
    not Path(PACKER).exists(), reason=f"the real packer is not installed: no {PACKER}"
)


@pytest.fixture
def place(tmp_path):
    """A directory in which packer finds the plugin, whole and in single programs."""
    program = (
        f"#!{sys.executable} -P\nimport sys\nsys.path.insert(0, {str(MODULES)!r})\n"
        "from compat_plugin import plugins\nplugins.serve()\n"
    )
    for name in ("packer-plugin-py", "packer-builder-solo", "packer-provisioner-solo",
                 "packer-post-processor-solo"):  # fmt: skip
        (tmp_path / name).write_text(program)
        (tmp_path / name).chmod(0o755)
    return tmp_path


def environment(place):
    given = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    return {**given, "HOME": str(place), "PACKER_CONFIG_DIR": str(place), "TMPDIR": str(place),
            "CHECKPOINT_DISABLE": "1", "PACKER_NO_COLOR": "1"}  # fmt: skip


@contextmanager
def started(place, *words):
    """Packer in a process group of its own, as a terminal starts it; killed at the end."""
    with open(place / "printed", "wb") as printed:
        running = subprocess.Popen(
            [PACKER, *words], cwd=place, env=environment(place), stdin=subprocess.DEVNULL,
            stdout=printed, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
    try:
        yield running
    finally:
        with suppress(ProcessLookupError):
            os.killpg(running.pid, signal.SIGKILL)
        running.wait()


def packer(place, template, *flags, verb="build", status=0):
    with started(place, verb, *flags, template) as running:
        ended = running.wait(ENDS_WITHIN_S)
    text = (place / "printed").read_text()
    assert ended == status, text
    assert "Traceback" not in text
    return text


HCL = """
source "py-machine" "m" {
  text   = "hello"
  count  = 2
  secret = "hidden"
  switch = true
  tags   = { a = "1" }
  disk {
    name  = "d0"
    sizes = [1, 2]
  }
  disk {
    name = "d1"
  }
}
build {
  sources = ["source.py-machine.m"]
  provisioner "py-work" {
    note = "of ${build.ID}"
  }
  provisioner "shell" {
    inline         = ["echo shell >made-by-shell", "echo from the shell"]
    remote_folder  = "."
    inline_shebang = "/bin/sh -e"
  }
  provisioner "file" {
    source      = "t.pkr.hcl"
    destination = "template"
  }
  post-processors {
    post-processor "py-copy" {
      suffix = ".second"
    }
    post-processor "checksum" {
      checksum_types = ["md5"]
      output         = "sums"
    }
  }
  post-processor "manifest" {
  }
}
"""

WORK_DONE = ("status 3, stdin 300000", "same bytes True", "directory leaf")


def test_a_whole_build_in_hcl(place):
    (place / "t.pkr.hcl").write_text(HCL)
    packer(place, "t.pkr.hcl", verb="validate")
    text = packer(place, "t.pkr.hcl")
    for told in (
        "text hello, secret <sensitive>, count 2", "tags [('a', '1')], switch True",
        "disks [('d0', (1, 2)), ('d1', ())]", "note of m-1, number 7", *WORK_DONE,
        "from the shell", "compat.machine id-hello: a machine of 3 file(s)",
        "generated ['Directory', 'ID'], unknown state None", "copy machine/made-by-shell.second",
    ):  # fmt: skip
        assert told in text, told
    assert (place / "machine/template").read_text() == HCL
    assert (place / "machine/uploaded.bin").stat().st_size == 512_000
    assert (place / "sums").read_text().endswith("made-by-shell.second\n")
    manifest = json.loads((place / "packer-manifest.json").read_text())["builds"][0]
    assert (manifest["builder_type"], manifest["artifact_id"]) == ("py-machine", "id-hello")
    assert len(manifest["files"]) == 3


def test_a_whole_build_in_json_with_single_programs(place):
    template = {
        "variables": {"g": "by-variable", "s": "top-secret"},
        "sensitive-variables": ["s"],
        "builders": [{
            "type": "solo", "text": "{{user `g`}}", "secret": "{{user `s`}}", "COUNT": "3",
            "disk": [{"name": "{{build_name}}", "sizes": [1.0]}], "switch": "true",
        }],
        "provisioners": [
            {"type": "solo", "note": "{{build `ID`}} in {{build `Directory`}}"},
            {"type": "shell", "inline": ["echo x >by-shell"], "remote_folder": "."},
        ],
        "post-processors": [{"type": "solo", "suffix": "-{{build_type}}",
                             "keep_input_artifact": False}],
    }  # fmt: skip
    (place / "t.json").write_text(json.dumps(template))
    packer(place, "t.json", verb="validate")
    text = packer(place, "t.json")
    for told in (
        "text by-variable, secret <sensitive>, count 3", "disks [('solo', (1,))], switch"[:22],
        "note m-1 in machine, number 7", *WORK_DONE, "copy machine/by-shell-solo",
    ):  # fmt: skip
        assert told in text, told
    assert "top-secret" not in text
    # The input was not to be kept, so packer has asked the plugin to destroy it.
    assert sorted(path.name for path in (place / "machine").iterdir()) == [
        "by-shell-solo", "copied"
    ]  # fmt: skip


def test_a_post_processor_takes_the_artifact_of_packers_own_builder(place):
    (place / "t.json").write_text(json.dumps({
        "builders": [{"type": "file", "content": "x", "target": "made"}],
        "post-processors": [{"type": "py-copy"}],
    }))  # fmt: skip
    text = packer(place, "t.json")
    assert "packer.file File: Stored file: made" in text
    assert (place / "made.copy").read_text() == "x"


@pytest.mark.parametrize(
    ("builder", "provisioner", "post_processor", "told"),
    [
        ({"text": "x", "count": 0, "nonsense": 1}, {}, {},
         ("at least 2", "greater than or equal to 1", '"nonsense"', "3 problems")),
        ({}, {"note": ["not", "text"], "no": 1}, {}, ('"note"', '"no"')),
        ({}, {}, {"sufix": ""}, ('"sufix"', 'Did you mean "suffix"')),
    ],
    ids=["builder", "provisioner", "post-processor"],
)  # fmt: skip
def test_every_mistake_is_told_by_validate(builder, provisioner, post_processor, told, place):
    (place / "t.json").write_text(json.dumps({
        "builders": [{"type": "py-machine", "text": "ab", **builder}],
        "provisioners": [{"type": "py-work", **provisioner}],
        "post-processors": [{"type": "py-copy", **post_processor}],
    }))  # fmt: skip
    text = " ".join(packer(place, "t.json", verb="validate", status=1).split())
    for part in told:
        assert part in text, part


def test_what_only_check_finds(place):
    source = 'source "py-machine" "m" {\n  text = "wrong"\n}\n'
    (place / "t.pkr.hcl").write_text(f'{source}build {{\n  sources = ["source.py-machine.m"]\n}}')
    assert "wrong is no text" in packer(place, "t.pkr.hcl", verb="validate", status=1)


@pytest.mark.parametrize(
    ("builder", "provisioner", "post_processor", "told"),
    [
        ({"fail": "error", "secret": "hidden"}, {}, {}, "the machine refuses <sensitive>"),
        ({"fail": "defect"}, {}, {}, "MachineBuilder has a defect: KeyError: 'nothing'"),
        ({}, {"fail": "status"}, {}, "ended with status 9: broken"),
        ({}, {}, {"fail": "not today"}, "not today"),
    ],
    ids=["builder", "defect", "provisioner", "post-processor"],
)
def test_errors_while_building(builder, provisioner, post_processor, told, place):
    (place / "t.json").write_text(json.dumps({
        "builders": [{"type": "py-machine", "text": "ab", **builder}],
        "provisioners": [{"type": "py-work", **provisioner}],
        "post-processors": [{"type": "py-copy", **post_processor}],
    }))  # fmt: skip
    text = packer(place, "t.json", status=1)
    assert told in text
    assert "hidden" not in text


def test_a_builder_without_an_artifact(place):
    (place / "t.json").write_text(json.dumps({
        "builders": [{"type": "py-machine", "text": "ab", "fail": "nothing"}],
    }))  # fmt: skip
    assert "finished" in packer(place, "t.json")


@pytest.mark.parametrize(
    ("builder", "provisioner", "seen"),
    [({"fail": "slow"}, {}, "sleeping"), ({}, {"fail": "slow"}, "waiting")],
    ids=["builder", "provisioner"],
)
def test_an_interrupt_ends_the_build_cleanly(builder, provisioner, seen, place):
    (place / "t.json").write_text(json.dumps({
        "builders": [{"type": "py-machine", "text": "ab", **builder}],
        "provisioners": [{"type": "py-work", **provisioner}],
    }))  # fmt: skip
    with started(place, "build", "t.json") as running:
        deadline_s = time.monotonic() + ENDS_WITHIN_S
        while seen not in (place / "printed").read_text():
            assert time.monotonic() < deadline_s, (place / "printed").read_text()
            assert running.poll() is None, (place / "printed").read_text()
            time.sleep(0.02)
        os.killpg(running.pid, signal.SIGINT)
        assert running.wait(ENDS_WITHIN_S) == 1
    text = (place / "printed").read_text()
    assert "Cleanly cancelled builds after being interrupted" in text
    assert "Traceback" not in text
    assert not (place / "machine").exists()
