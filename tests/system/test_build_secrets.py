"""No secret of a template is left anywhere: output, logs, cache, manifests, lists of processes."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shlex
import tarfile
import threading
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from small_image import ROOT_PARTITION, hcl

pytestmark = pytest.mark.root

WORD = "pa'ss+w0rd/\"<4711>"
KEY = "-----BEGIN TEST KEY-----\nMIIbVwIBAAJhAKt+\nq/Zw5rYb8XkCAwEAAQ==\n-----END TEST KEY-----\n"
LEFT = (
    WORD, json.dumps(WORD)[1:-1], shlex.quote(WORD), urllib.parse.quote(WORD),
    urllib.parse.quote(WORD, safe=""), base64.b64encode(WORD.encode()).decode().rstrip("="),
    WORD.encode().hex(), "MIIbVwIBAAJhAKt+", "q/Zw5rYb8XkCAwEAAQ==",
    base64.b64encode(KEY.encode()).decode()[:40],
)  # fmt: skip


def template(tree: Path, body: str, *, more: str = "") -> str:
    return f"""\
variable "word" {{
  type      = string
  sensitive = true
}}
variable "key" {{
  type      = string
  sensitive = true
}}
source "image" "small" {{
  bootstrap {{
    method = "tar"
    source = "{tree}"
  }}
  disk {{
{ROOT_PARTITION}  }}
  firmware   = []
  formats    = ["raw"]
  image_name = "small"
{more}
}}
build {{
  sources = ["source.image.small"]
{body}
}}
"""


PRINTS = """\
  provisioner "shell" {
    environment_vars = ["WORD=${var.word}", "KEY=${var.key}"]
    inline = [
      "echo plain $WORD; echo \\"$KEY\\"; echo quoted ${jsonencode(var.word)} >&2",
      "echo ${base64encode(var.word)} ${base64encode(var.key)} ${urlencode(var.word)}",
      "printf '%065530d' 0; printf '%s and a line that does not end ' \\"$WORD\\"; echo",
      "head -c 70000 /dev/zero | tr '\\\\0' x; echo \\"$WORD\\"",
      "test ! -e /fails || exit 1",
    ]
  }
  provisioner "shell-local" {
    env    = { WORD = var.word }
    inline = ["echo \\"local $WORD\\"; sleep 1"]
  }
  post-processor "manifest" {
    output      = "packer-manifest.json"
    custom_data = { word = var.word, also = "x${var.key}x" }
  }
  post-processor "checksum" {
    checksum_types = ["sha256"]
  }
"""
FAILS = """\
  provisioner "shell" {
    inline = ["echo ${base64encode(var.word)}", "exec /no/such/${urlencode(var.word)}"]
  }
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    place = tmp_path / "project"
    place.mkdir()
    given = f"word = {hcl(WORD)}\nkey = {hcl(KEY)}\n"
    variables = place / "secret.pkrvars.hcl"
    variables.write_text(given)
    return place


def holders(*places: Path) -> list[str]:
    """The files below these places that hold a secret in some form, in name or content."""
    wanted = [text.encode() for text in LEFT]
    found = []
    for place in places:
        for directory, _, names in os.walk(place):
            for name in names:
                path = Path(directory, name)
                text = os.fsencode(str(path)) + b"\n"
                if path.is_file() and not path.is_symlink() and name != "secret.pkrvars.hcl":
                    text += path.read_bytes()
                found += [f"{path}: {one.decode()}" for one in wanted if one in text]
    return found


def leaks(text: str) -> list[str]:
    return [one for one in LEFT if one in text]


FLAGS = {
    "people": (), "machines": ("-machine-readable",), "JSON": ("-log-format=jsonl",),
    "no color": ("-color=false", "-timestamp-ui"),
}  # fmt: skip


@pytest.mark.parametrize("sink", FLAGS)
@pytest.mark.parametrize("ends", ["well", "badly"])
def test_nothing_of_a_secret_is_left(goldsmith, small_tree, project, sink, ends):
    body = PRINTS + (FAILS if ends == "badly" else "")
    (project / "t.pkr.hcl").write_text(template(small_tree, body))
    words = ("build", *FLAGS[sink], "-var-file=secret.pkrvars.hcl", "t.pkr.hcl")
    with watching() as seen:
        built = goldsmith(*words, cwd=project, env={"GOLDSMITH_LOG": "debug"})
    assert built.status == (1 if ends == "badly" else 0), built
    assert "<sensitive>" in built.stdout
    assert leaks(built.stdout + built.stderr) == []
    assert holders(goldsmith.state, project) == []
    assert seen.of_goldsmith, "goldsmith was seen running"
    assert leaks("\n".join(seen.arguments)) == []
    assert leaks("\n".join(seen.of_goldsmith)) == []
    if ends == "well":
        manifest = json.loads((project / "packer-manifest.json").read_text())
        assert manifest["builds"][0]["custom_data"] == {
            "word": "<sensitive>", "also": "x<sensitive>x"
        }  # fmt: skip


@pytest.mark.parametrize("how", ["option", "flag"])
@pytest.mark.parametrize(
    ("leave", "path"),
    [
        ("mkdir -p /opt/a; printf '%s' \"$WORD\" > /opt/a/word", "opt/a/word"),
        ("printf '%s' \"$KEY\" > /etc/key", "etc/key"),
        ("echo token=${base64encode(var.word)} > /etc/word64", "etc/word64"),
    ],
)
def test_a_secret_in_the_image_fails_the_build(goldsmith, small_tree, project, how, leave, path):
    body = f"""\
  provisioner "shell" {{
    environment_vars = ["WORD=${{var.word}}", "KEY=${{var.key}}"]
    inline = [{hcl(leave).replace("$${base64", "${base64")}]
  }}
"""
    more = '  secrets_in_image = "error"' if how == "option" else ""
    flags = ("-secrets-in-image=error",) if how == "flag" else ()
    (project / "t.pkr.hcl").write_text(template(small_tree, body, more=more))
    words = ("build", *flags, "-var-file=secret.pkrvars.hcl", "t.pkr.hcl")
    built = goldsmith(*words, cwd=project)
    assert built.status == 1, built
    assert f"a secret of this template is in /{path} of the image" in built.stdout + built.stderr
    assert leaks(built.stdout + built.stderr) == []
    assert not list(project.glob("output/*"))


def test_a_secret_that_came_with_the_tree_is_found_where_it_was_not_sought_before(
    goldsmith, small_tree, project
):
    holding = project / "tree.tar"
    with tarfile.open(small_tree) as old, tarfile.open(holding, "w") as new:
        for member in old:
            new.addfile(member, old.extractfile(member) if member.isfile() else None)
        (project / "word").write_text(WORD)
        new.add(project / "word", "./srv/word")
    (project / "word").unlink()
    words = ("-var-file=secret.pkrvars.hcl", "t.pkr.hcl")
    (project / "t.pkr.hcl").write_text(template(holding, ""))
    assert goldsmith("build", *words, cwd=project).status == 0
    sought = goldsmith("build", "-secrets-in-image=error", *words, cwd=project)
    assert sought.status == 1, sought
    assert "in /srv/word of the image" in sought.stdout + sought.stderr
    (project / "t.pkr.hcl").write_text(
        template(holding, "", more='  secrets_in_image = "error"\n  seed = "x"')
    )
    assert goldsmith("build", *words, cwd=project).status == 1


class Seen:
    """The argument lists of all processes, and the environments of goldsmith's own."""

    def __init__(self) -> None:
        self.arguments: set[str] = set()
        self.of_goldsmith: set[str] = set()

    def look(self) -> None:
        for entry in os.listdir("/proc"):
            if entry.isdecimal():
                with contextlib.suppress(OSError):
                    words = Path("/proc", entry, "cmdline").read_bytes().decode(errors="replace")
                    self.arguments.add(words)
                    if "-m\0goldsmith\0" in words:
                        environment = Path("/proc", entry, "environ").read_bytes()
                        self.of_goldsmith.add(environment.decode(errors="replace"))


@contextlib.contextmanager
def watching() -> Iterator[Any]:
    """What can be seen of processes at any time within the block."""
    seen, ended = Seen(), threading.Event()

    def watch() -> None:
        while not ended.wait(0.02):
            seen.look()

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield seen
    finally:
        ended.set()
        watcher.join()
