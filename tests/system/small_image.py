"""A template of a very small image, and what a build of it may and may not leave behind."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from private_namespace import run_privately

ROOT_PARTITION = """\
    partition "root" {
      type       = "root"
      size       = "100%"
      filesystem = "ext4"
      mount      = "/"
    }
"""


def hcl(text: str) -> str:
    """A string of the template language that means exactly this text."""
    for plain, escaped in (
        ("\\", "\\\\"), ('"', '\\"'), ("\n", "\\n"), ("\t", "\\t"), ("\r", "\\r"),
        ("${", "$${"), ("%{", "%%{"),
    ):  # fmt: skip
        text = text.replace(plain, escaped)
    return f'"{text}"'


def shell(*commands: str, more: str = "") -> str:
    """A shell provisioner of these commands."""
    lines = ", ".join(map(hcl, commands))
    return f'  provisioner "shell" {{\n    inline = [{lines}]\n{more}\n  }}\n'


def file(more: str = "", **options: str) -> str:
    """A file provisioner with these options, each a text."""
    lines = "".join(f"    {name} = {hcl(text)}\n" for name, text in options.items())
    return f'  provisioner "file" {{\n{lines}{more}  }}\n'


class Project:
    """A directory with a template, and goldsmith (the fixture of that name) run in it."""

    def __init__(self, path: Path, tree: Path, goldsmith: Any) -> None:
        self.path = path
        self.tree = tree
        self.state: Path = goldsmith.state
        self.output = path / "output"
        self._goldsmith = goldsmith
        self._names: set[str] = set()

    def write(
        self,
        provisioners: str = "",
        *,
        disk: str = ROOT_PARTITION,
        options: str = 'formats = ["raw"]',
        more: str = "",
        before: str = "",
        tree: Path | None = None,
    ) -> str:
        """Write `t.pkr.hcl`, of an image "small" from a tar; returns its text."""
        text = (
            f'{before}source "image" "small" {{\n  bootstrap {{\n    method = "tar"\n'
            f"    source = {hcl(str(tree or self.tree))}\n  }}\n  disk {{\n{disk}  }}\n"
            f"  firmware = []\n  {options}\n}}\n"
            f'build {{\n  sources = ["source.image.small"]\n{provisioners}{more}}}\n'
        )
        (self.path / "t.pkr.hcl").write_text(text)
        return text

    def build(self, *flags: str, env: dict[str, str] | None = None) -> Any:
        """Run `goldsmith build` and remember what was there before it."""
        self._names = self._listing()
        environment = {"GOLDSMITH_CACHE_DIR": str(self.state), **(env or {})}
        return self._goldsmith("build", *flags, "t.pkr.hcl", cwd=self.path, env=environment)

    def built(self, *flags: str, env: dict[str, str] | None = None) -> Any:
        """Build, and insist that it works and leaves nothing but its outputs."""
        result = self.build(*flags, env=env)
        assert result.status == 0, result.stdout + result.stderr
        assert self.leftovers() == []
        return result

    def failed(self, *flags: str, env: dict[str, str] | None = None) -> str:
        """Build, and insist that it fails as it should and leaves no file; returns its words."""
        result = self.build(*flags, env=env)
        text: str = result.stdout + result.stderr
        assert result.status == 1, text
        assert "Traceback" not in text
        assert "defect of goldsmith" not in text
        assert self._listing() == self._names
        assert self.leftovers() == []
        return text

    def _listing(self) -> set[str]:
        return {str(path) for path in self.path.rglob("*") if not path.is_relative_to(self.state)}

    def leftovers(self) -> list[str]:
        """What should not be there after any build: half-written files and run directories."""
        runs = self.state / "runs"
        found = [path for path in self.path.rglob("*.partial")]
        if runs.is_dir():
            found += [path for path in runs.iterdir() if path.name != ".lock"]
        return [str(path) for path in found]

    def image(self, name: str = "small.raw") -> Path:
        """A file of the output directory."""
        return self.output / name

    def manifest(self, name: str = "small") -> Any:
        """The manifest of an image."""
        return json.loads((self.output / f"{name}.manifest.json").read_text())

    def look(self, body: Callable[[Path], Any], name: str = "small") -> Any:
        """What `body` finds in the root file system of the finished image, mounted read-only."""
        partitions = self.manifest(name)["disk"]["partitions"]
        (offset,) = [p["offset_bytes"] for p in partitions if p["mount"] == "/"]
        return look_into(self.image(f"{name}.raw"), offset, body)


def look_into(image: Path, offset_bytes: int, body: Callable[[Path], Any]) -> Any:
    """Mount a file system of a raw image read-only, where only `body` sees it, and ask `body`."""

    def mounted() -> Any:
        with tempfile.TemporaryDirectory() as name:
            options = f"ro,noload,loop,offset={offset_bytes}"
            subprocess.run(["mount", "-t", "ext4", "-o", options, image, name], check=True)
            try:
                return body(Path(name))
            finally:
                subprocess.run(["umount", name], check=True)

    return run_privately(mounted)
