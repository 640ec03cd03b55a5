"""A checkout with a template, planned and built against one store: what ran, and why."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from small_image import ROOT_PARTITION

EPOCH = "1700000000"

TEMPLATE = """\
variable "greeting" {
  default = "hello"
}
source "image" "small" {
  bootstrap {
    method = "tar"
    source = "%(tree)s"
  }
  disk {
%(disk)s  }
  firmware         = []
  formats          = ["raw"]
  hostname         = "golden"
  image_name       = "small"
  output_directory = "output"
}
build {
  sources = ["source.image.small"]
  provisioner "shell" {
    inline           = ["echo ${var.greeting} > /greeting"]
    environment_vars = ["COLOUR=red"]
    network          = false
  }
  provisioner "file" {
    source      = "files"
    destination = "/opt"
  }
  provisioner "shell" {
    script  = "scripts/setup.sh"
    network = false
  }
  provisioner "file" {
    source      = "motd"
    destination = "/etc/motd"
  }
  provisioner "shell" {
    inline = ["env | sort > /environment"]
  }
  provisioner "shell" {
    inline  = ["echo last > /last"]
    network = false
  }
}
"""
STEPS = ("bootstrap", "configure", *(f"provisioner-{n}" for n in range(1, 7)), "finish", "image")


@dataclass(frozen=True)
class Told:
    """What a build told of one of its steps."""

    cache: str | None
    reason: str
    key: str | None
    parent: str | None


@dataclass
class Checkout:
    """A directory with all that the template names, and the commands that are run in it."""

    path: Path
    goldsmith: Any
    state: Path
    env: dict[str, str] = field(default_factory=dict)
    flags: tuple[str, ...] = ()

    @classmethod
    def make(cls, path: Path, tree: Path, goldsmith: Any, state: Path) -> Checkout:
        """Write a template with a step of every kind, and its files."""
        path.mkdir(parents=True)
        (path / "tree.tar").write_bytes(tree.read_bytes())
        for name in ("files/sub", "scripts"):
            (path / name).mkdir(parents=True)
        (path / "files/a").write_text("a\n")
        (path / "files/sub/b").write_text("b\n")
        (path / "files/link").symlink_to("a")
        (path / "motd").write_text("welcome\n")
        (path / "scripts/setup.sh").write_text("#!/bin/sh\necho setup > /setup\n")
        checkout = cls(path, goldsmith, state)
        checkout.write(TEMPLATE % {"tree": "tree.tar", "disk": ROOT_PARTITION})
        return checkout

    def write(self, template: str) -> None:
        """Write the template."""
        (self.path / "t.pkr.hcl").write_text(template)

    def edit(self, old: str, new: str) -> None:
        """Replace the one place of the template that has this text."""
        text = (self.path / "t.pkr.hcl").read_text()
        assert text.count(old) == 1, f"{old!r} is there {text.count(old)} times"
        self.write(text.replace(old, new))

    def _run(self, *words: str, flags: tuple[str, ...] = ()) -> Any:
        environment: Mapping[str, str | None] = {
            "GOLDSMITH_CACHE_DIR": str(self.state), "SOURCE_DATE_EPOCH": EPOCH,
            "http_proxy": None, "https_proxy": None, "no_proxy": None, "HTTP_PROXY": None,
            "HTTPS_PROXY": None, "NO_PROXY": None, **self.env,
        }  # fmt: skip
        return self.goldsmith(*words, *self.flags, *flags, "t.pkr.hcl", cwd=self.path,
                              env=environment)  # fmt: skip

    def plan(self, *flags: str) -> dict[str, dict[str, Any]]:
        """Every step as `goldsmith plan -json` has it, by name."""
        result = self._run("plan", "-json", flags=flags)
        assert result.status == 0, result
        (build,) = json.loads(result.stdout)["builds"]
        return {step["name"]: step for step in build["steps"]}

    def build(self, *flags: str, fails: bool = False) -> dict[str, Told]:
        """What `goldsmith build` told of every step that began, by name."""
        result = self._run("build", "-log-format=jsonl", flags=flags)
        assert result.status == (1 if fails else 0), result
        assert "Traceback" not in result.stdout + result.stderr, result
        return steps_told(result.stdout)

    def command(self, *words: str, flags: tuple[str, ...] = ()) -> Any:
        """Any command on the template."""
        return self._run(*words, flags=flags)


def steps_told(lines: str) -> dict[str, Told]:
    """The steps that begin in a stream of JSON lines."""
    events = [json.loads(line) for line in lines.splitlines()]
    return {
        event["step"]: Told(event["cache"], event["reason"] or "", event["key"], event["parent"])
        for event in events
        if event["type"] == "step-started"
    }


def ran(told: Mapping[str, Told]) -> list[str]:
    """The steps that were not taken from the cache."""
    return [name for name, step in told.items() if step.cache != "hit"]
