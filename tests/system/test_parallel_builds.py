"""Builds of both kinds at once: what happens to one of them is no matter of the others."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import pytest
from small_image import ROOT_PARTITION, hcl
from test_components_threads import processes_in, read_until, wait_until

pytestmark = pytest.mark.root
NULLS = ("n1", "n2", "n3", "n4")
IMAGES = ("i1", "victim")
FILES = ("f1", "f2")
SLEEPS = "2998877"


def file(name: str) -> str:
    return f'source "file" "{name}" {{\n  target  = "{name}"\n  content = "{name}"\n}}\n'


def image(name: str, tree: Path) -> str:
    return (
        f'source "image" "{name}" {{\n  bootstrap {{\n    method = "tar"\n'
        f"    source = {hcl(str(tree))}\n  }}\n  disk {{\n{ROOT_PARTITION}  }}\n"
        f'  firmware = []\n  formats = ["raw"]\n  output_directory = "out-{name}"\n}}\n'
    )


def text(tree: Path) -> str:
    """Eight builds: one fails by its status, one in its post-processor, and one is killed."""
    nulls = "".join(f'source "null" "{n}" {{\n  communicator = "none"\n}}\n' for n in NULLS)
    files = "".join(
        f'source "file" "{n}" {{\n  target = "{n}"\n  content = "x"\n}}\n' for n in FILES
    )
    images = "".join(image(name, tree) for name in IMAGES)
    kinds = {"null": NULLS, "file": FILES, "image": IMAGES}
    listed = ", ".join(f'"source.{kind}.{n}"' for kind, names in kinds.items() for n in names)
    return f"""{nulls}{files}{images}
build {{
  sources = [{listed}]
  provisioner "shell" {{
    inline = ["echo working; [ $PACKER_BUILD_NAME != victim ] || sleep {SLEEPS}"]
    only   = ["image.i1", "image.victim"]
  }}
  provisioner "shell-local" {{
    inline = ["while ! test -e killed; do sleep 0.1; done"]
    except = ["image.victim"]
  }}
  provisioner "shell-local" {{
    inline = ["exit 7"]
    only   = ["null.n2"]
  }}
  provisioner "shell-local" {{
    inline = ["echo done > done-${{source.name}}"]
  }}
  post-processor "shell-local" {{
    inline = ["exit 9"]
    only   = ["file.f2"]
  }}
  post-processor "checksum" {{
    output = "sums-{{{{.BuildName}}}}"
    except = ["null.n1", "null.n2", "null.n3", "null.n4"]
  }}
}}
"""


def worker_of(program: str, engine: int) -> int:
    """The child of the engine that a program with this word on its command line is below."""
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            if program.encode() not in (entry / "cmdline").read_bytes().split(b"\0"):
                continue
            pid = int(entry.name)
            while (parent := parent_of(pid)) not in (engine, 0):
                pid = parent
        except OSError:
            continue
        if parent == engine:
            return pid
    return 0


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def test_of_eight_builds_three_fail_in_different_ways(
    tmp_path: Path, small_tree: Path, goldsmith
) -> None:
    (tmp_path / "t.pkr.hcl").write_text(text(small_tree))
    with goldsmith.start("build", "-color=false", "t.pkr.hcl", cwd=tmp_path) as running:
        read_until(running, ": working", 2)
        wait_until(lambda: worker_of(SLEEPS, running.pid), "no worker runs it")
        os.kill(worker_of(SLEEPS, running.pid), signal.SIGKILL)
        (tmp_path / "killed").touch()
        said = running.stdout.read()
        assert running.wait(120) == 1, said
    good = ["file.f1", "image.i1", "null.n1", "null.n3", "null.n4"]
    bad = ["file.f2", "image.victim", "null.n2"]
    assert sorted(re.findall(r"^Build '(.*)' finished after", said, re.MULTILINE)) == good
    assert sorted(re.findall(r"^Build '(.*)' errored after", said, re.MULTILINE)) == bad
    summary = said.partition("==> Wait completed")[2]
    failed = re.findall(r"^--> (file.f2|image.victim|null.n2): ", summary, re.MULTILINE)
    assert len(failed) == 3
    assert "null.n2: Script exited with non-zero exit status: 7." in summary
    assert "file.f2: Script exited with non-zero exit status: 9." in summary
    assert "image.victim: the build worker died (signal 9)" in summary
    for name in ("n1", "n3", "n4", "i1", "f1"):
        assert (tmp_path / f"done-{name}").exists()
    assert not (tmp_path / "done-n2").exists() and not (tmp_path / "done-victim").exists()
    # The other chain of a build whose post-processor failed goes on.
    for name in ("i1", "f1", "f2"):
        assert (tmp_path / f"sums-{name}").is_file()
    assert (tmp_path / "out-i1/i1.raw").is_file()
    assert not list(tmp_path.glob("out-victim/*"))
    assert "Traceback" not in said
    wait_until(lambda: not processes_in(tmp_path), "processes are left")
    goldsmith("clean", check=True)
    assert [p.name for p in (goldsmith.state / "runs").iterdir() if p.name != ".lock"] == []


def test_no_more_run_at_once_than_the_user_wants(tmp_path: Path, goldsmith) -> None:
    names = [f"n{number}" for number in range(6)]
    nulls = "".join(f'source "null" "{n}" {{\n  communicator = "none"\n}}\n' for n in names)
    listed = ", ".join(f'"source.null.{n}"' for n in names)
    count = "mkdir $PACKER_BUILD_NAME.here; ls -d *.here | wc -l >> counts; sleep 0.2"
    (tmp_path / "t.pkr.hcl").write_text(
        f"{nulls}build {{\n  sources = [{listed}]\n"
        f'  provisioner "shell-local" {{\n    inline = ["{count}"]\n  }}\n'
        '  post-processor "shell-local" {\n    inline = ["rmdir $PACKER_BUILD_NAME.here"]\n  }\n}\n'
    )
    goldsmith("build", "-parallel-builds=2", "t.pkr.hcl", cwd=tmp_path, check=True)
    counts = [int(line) for line in (tmp_path / "counts").read_text().split()]
    assert len(counts) == 6 and max(counts) <= 2
    assert not list(tmp_path.glob("*.here"))


def test_a_post_processor_that_takes_long_stops_no_other_build(tmp_path: Path, goldsmith) -> None:
    """The first build's post-processor waits for what the second one writes in the end."""
    (tmp_path / "t.pkr.hcl").write_text("""
source "file" "a" {
  target  = "a"
  content = "x"
}
source "null" "b" {
  communicator = "none"
}
build {
  sources = ["source.file.a", "source.null.b"]
  provisioner "shell-local" {
    inline = ["while ! test -e begun; do sleep 0.05; done; seq 2000; touch over"]
    only   = ["null.b"]
  }
  post-processor "shell-local" {
    inline = ["touch begun; while ! test -e over; do sleep 0.05; done"]
    only   = ["file.a"]
  }
}
""")
    done = goldsmith("build", "-color=false", "t.pkr.hcl", cwd=tmp_path, check=True, timeout_s=120)
    assert done.stdout.count("==> null.b: ") == 2001


def test_sums_of_many_builds_in_one_file_are_all_there(tmp_path: Path, goldsmith) -> None:
    names = [f"f{number}" for number in range(20)]
    files = "".join(
        f'source "file" "{n}" {{\n  target = "{n}"\n  content = "{n}"\n}}\n' for n in names
    )
    listed = ", ".join(f'"source.file.{n}"' for n in names)
    (tmp_path / "t.pkr.hcl").write_text(
        f'{files}build {{\n  sources = [{listed}]\n  post-processor "checksum" {{\n'
        '    output = "sums"\n  }\n  post-processor "manifest" {\n  }\n}\n'
    )
    goldsmith("build", "t.pkr.hcl", cwd=tmp_path, check=True)
    lines = (tmp_path / "sums").read_text().splitlines()
    assert sorted(line.partition("\t")[2] for line in lines) == sorted(names)
    assert (tmp_path / "packer-manifest.json").read_text().count('"artifact_id"') == 20


def test_post_processors_of_a_worker_know_the_run_also_when_the_image_stands(
    tmp_path: Path, small_tree: Path, goldsmith
) -> None:
    (tmp_path / "t.pkr.hcl").write_text(
        image("i", small_tree) + 'build {\n  sources = ["source.image.i"]\n'
        '  post-processor "shell-local" {\n'
        '    inline = ["echo run ${build.PackerRunUUID} $PACKER_RUN_UUID"]\n  }\n}\n'
    )
    runs = set()
    for _ in range(2):
        done = goldsmith("build", "-color=false", "t.pkr.hcl", cwd=tmp_path, check=True)
        found = re.search(r"==> image\.i \(shell-local\): run ([0-9a-f-]{36}) \1$", done.stdout,
                          re.MULTILINE)  # fmt: skip
        assert found, done.stdout
        runs.add(found[1])
    assert len(runs) == 2
