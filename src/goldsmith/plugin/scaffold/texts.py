"""The files of a new plugin's project; @NAME@ and its like are replaced."""

from __future__ import annotations

from typing import Final

PYPROJECT: Final = """\
[build-system]
requires = ["hatchling>=1.21"]
build-backend = "hatchling.build"

[project]
name = "packer-plugin-@NAME@"
description = "Components for goldsmith and Packer"
version = "0.0.1"
readme = "README.md"
requires-python = ">=3.11"
dependencies = ["goldsmith"]

[project.optional-dependencies]
dev = ["pytest>=8.0"]

# What goldsmith finds once this package is installed beside it.
[project.entry-points."goldsmith.plugins"]
@NAME@ = "@MODULE@:plugins"

# The program that Packer starts, and goldsmith where the package lies elsewhere.
[project.scripts]
packer-plugin-@NAME@ = "@MODULE@:main"

[tool.hatch.build.targets.wheel]
packages = ["src/@MODULE@"]

[tool.pytest.ini_options]
testpaths = ["tests"]
pythonpath = ["src"]
"""

PACKAGE: Final = '''\
"""The plugin @NAME@: what it has. Components are imported only when they are used."""

from goldsmith.plugin import PluginSet

plugins = PluginSet(
    version="0.0.1",
    builders={"": "@MODULE@.builder:@CLASS@Builder"},
    provisioners={"": "@MODULE@.provisioner:@CLASS@Provisioner"},
    post_processors={"": "@MODULE@.post_processor:@CLASS@PostProcessor"},
)


def main() -> None:
    """The program packer-plugin-@NAME@."""
    plugins.serve()
'''

MAIN: Final = '''\
"""`python -m @MODULE@`: the same program."""

from @MODULE@ import main

main()
'''

BUILDER: Final = '''\
"""The builder: writes a greeting into a file."""

from pathlib import Path

from goldsmith.plugin import Artifact, Builder, Field, Hooks, Options, Ui, this_host


class @CLASS@Options(Options):
    """What a template may say."""

    greeting: str = Field(min_length=1, description="The text.")
    target: str = Field("@NAME@.txt", description="The file that is made.")


class @CLASS@Builder(Builder[@CLASS@Options]):
    """Makes one file; the template's provisioners run in its directory."""

    generated = ("Greeting",)

    def run(self, ui: Ui, hooks: Hooks) -> Artifact:
        """Build."""
        target = Path(self.options.target)
        ui.say(f"Writing {target}")
        target.write_text(f"{self.options.greeting}\\n")
        hooks.provision(this_host(target.parent), {"Greeting": self.options.greeting})
        return Artifact(
            builder_id="@NAME@",
            id=target.name,
            string=f"greeting in {target}",
            files=(str(target),),
        )
'''

PROVISIONER: Final = '''\
"""The provisioner: leaves a line in a file of the machine."""

from collections.abc import Mapping
from typing import Any

from goldsmith.plugin import Communicator, Field, Options, Provisioner, Ui


class @CLASS@LineOptions(Options):
    """What a template may say."""

    line: str = Field(min_length=1, description="The line.")
    file: str = Field("lines.txt", description="The file on the machine.")


class @CLASS@Provisioner(Provisioner[@CLASS@LineOptions]):
    """Adds the line."""

    def provision(self, ui: Ui, communicator: Communicator, data: Mapping[str, Any]) -> None:
        """Do the work."""
        ui.say(f"Adding a line to {self.options.file}")
        communicator.run(f"cat >> {self.options.file}", ui=ui, stdin=f"{self.options.line}\\n")
'''

POST_PROCESSOR: Final = '''\
"""The post-processor: tells the size of what was built, and hands it on."""

from pathlib import Path

from goldsmith.plugin import Artifact, Field, Options, PluginError, PostProcessor, Ui


class @CLASS@SizeOptions(Options):
    """What a template may say."""

    most_bytes: int = Field(1 << 40, ge=1, description="More than this is an error.")


class @CLASS@PostProcessor(PostProcessor[@CLASS@SizeOptions]):
    """Looks, and changes nothing."""

    def post_process(self, ui: Ui, artifact: Artifact) -> tuple[Artifact, bool]:
        """Hand on the artifact as it is, and keep it."""
        size = sum(Path(name).stat().st_size for name in artifact.files)
        ui.say(f"{len(artifact.files)} file(s), {size} bytes")
        if size > self.options.most_bytes:
            raise PluginError(f"{size} bytes are more than {self.options.most_bytes}")
        return artifact, True
'''

TESTS: Final = '''\
"""The components by themselves: no host is needed to test them."""

from pathlib import Path

import pytest
from goldsmith.plugin import Communicator, ConfigError, this_host
from goldsmith.plugin.testing import RecordingHooks, RecordingUi

from @MODULE@ import plugins
from @MODULE@.builder import @CLASS@Builder
from @MODULE@.post_processor import @CLASS@PostProcessor
from @MODULE@.provisioner import @CLASS@Provisioner


def built(directory: Path):
    builder = @CLASS@Builder()
    builder.configure({"greeting": "hello", "target": str(directory / "out.txt")})
    ui, hooks = RecordingUi(), RecordingHooks()
    return builder.run(ui.ui, hooks.hooks(ui)), ui, hooks


def test_every_component_can_be_loaded():
    for kind in ("builder", "provisioner", "post-processor"):
        for name in plugins.places(kind):
            plugins.plain_component(kind, name)


def test_the_builder_writes_and_provisions(tmp_path):
    artifact, ui, hooks = built(tmp_path)
    assert Path(artifact.files[0]).read_text() == "hello\\n"
    assert ui.said[0].startswith("Writing ")
    assert hooks.events == [("packer_provision", {"Greeting": "hello"})]


def test_every_mistake_is_told_at_once():
    with pytest.raises(ConfigError) as error:
        @CLASS@Builder().configure({"greeting": "", "nonsense": 1})
    assert len(error.value.problems) == 2


def test_the_provisioner_adds_a_line(tmp_path):
    provisioner, ui = @CLASS@Provisioner(), RecordingUi()
    provisioner.configure({"line": "one more"})
    provisioner.provision(ui.ui, Communicator(this_host(tmp_path)), {})
    assert (tmp_path / "lines.txt").read_text() == "one more\\n"


def test_the_post_processor_hands_on_what_it_was_given(tmp_path):
    artifact, _, _ = built(tmp_path)
    post_processor, ui = @CLASS@PostProcessor(), RecordingUi()
    post_processor.configure({})
    assert post_processor.post_process(ui.ui, artifact) == (artifact, True)
    assert ui.said == ["1 file(s), 6 bytes"]
'''

README: Final = """\
# packer-plugin-@NAME@

A builder, a provisioner and a post-processor for goldsmith and Packer, to be made into yours.

## Try it

```sh
python -m venv .venv
.venv/bin/pip install -e '.[dev]'     # and goldsmith itself, if no index has it
.venv/bin/pytest
```

In the environment in which goldsmith is installed the package is all that is needed:

```sh
goldsmith build example.pkr.hcl
```

Packer starts a program. The one in `.venv/bin` is it:

```sh
packer plugins install --path .venv/bin/packer-plugin-@NAME@ example.com/ours/@NAME@
packer build example.pkr.hcl
```

Packer 1.6 looks in the current directory, in `~/.packer.d/plugins` and in `PACKER_PLUGIN_PATH`, for
programs of one component: link `packer-builder-@NAME@`, `packer-provisioner-@NAME@` and
`packer-post-processor-@NAME@` there to `.venv/bin/packer-plugin-@NAME@`.

goldsmith's documentation has a tutorial for each kind of component.
"""

EXAMPLE: Final = """\
source "@NAME@" "example" {
  greeting = "hello"
}

build {
  sources = ["source.@NAME@.example"]

  provisioner "@NAME@" {
    line = "added while building"
  }

  post-processor "@NAME@" {
    most_bytes = 1000
  }
}
"""

FILES: Final = {
    "pyproject.toml": PYPROJECT,
    "README.md": README,
    "example.pkr.hcl": EXAMPLE,
    "src/@MODULE@/__init__.py": PACKAGE,
    "src/@MODULE@/__main__.py": MAIN,
    "src/@MODULE@/builder.py": BUILDER,
    "src/@MODULE@/provisioner.py": PROVISIONER,
    "src/@MODULE@/post_processor.py": POST_PROCESSOR,
    "tests/test_@MODULE@.py": TESTS,
}
