"""What a plugin's program says of itself when it is asked to `describe`."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from goldsmith.errors import GoldsmithError
from goldsmith.plugin.plugin_set import DEFAULT_COMPONENT

KIND_KEYS: Final = {
    "builder": "builders",
    "provisioner": "provisioners",
    "post-processor": "post_processors",
    "data source": "datasources",
    "hook": "hooks",
    "command": "commands",
}
"""The key of `describe` for each kind of component."""
PROTOBUF_VERSION: Final = "v2"
ANSWER_WITHIN_S: Final = 60.0
BEING_DESCRIBED: Final = "GOLDSMITH_DESCRIBING"
"""Set for a program that is asked: one that runs goldsmith must not have it look for plugins."""
_MOST_COMPONENTS: Final = 10_000
_HINT: Final = "it must be a program for Packer 1.7 or later, with protocol x5.0"


class NotDescribed(GoldsmithError):
    """A program does not describe itself as plugins do."""


@dataclass(frozen=True, slots=True)
class Description:
    """The answer; `version` without a leading "v", `components` by kind."""

    version: str
    api_version: str
    components: Mapping[str, tuple[str, ...]]
    protobuf: bool = False
    """Whether it knows the schema of options in protobuf."""

    @property
    def release(self) -> str:
        """The version without pre-release and metadata."""
        return self.version.partition("+")[0].partition("-")[0]

    @property
    def prerelease(self) -> str:
        """Such as "-dev"; "" for a release."""
        core = self.version.partition("+")[0]
        return core[len(self.release) :]

    def component_named(self, kind: str, name: str, plugin: str) -> str | None:
        """What a template's name means under that name of the plugin; None if nothing."""
        if name == plugin:
            component = DEFAULT_COMPONENT
        elif name.startswith(f"{plugin}-"):
            component = name[len(plugin) + 1 :]
        else:
            return None
        return component if component in self.components.get(kind, ()) else None

    def names(self, kind: str, plugin: str) -> list[str]:
        """The names that templates say, under that name of the plugin."""
        return [
            plugin if one == DEFAULT_COMPONENT else f"{plugin}-{one}"
            for one in self.components.get(kind, ())
        ]


def describe(program: Path) -> Description:
    """Ask a program; raises NotDescribed when it answers anything but a description."""
    # Late: most commands have no plugins.
    from goldsmith.host import process
    from goldsmith.plugin.wire.handshake import MAGIC_COOKIE_KEY

    environment = {name: text for name, text in os.environ.items() if name != MAGIC_COOKIE_KEY}
    try:
        ended = process.run(
            [program, "describe"], capture=True, check=False, timeout_s=ANSWER_WITHIN_S,
            env={**environment, BEING_DESCRIBED: "1"},
        )  # fmt: skip
    except GoldsmithError as error:
        raise NotDescribed(f"{program} does not describe itself: {error}", hint=_HINT) from error
    if ended.status != 0:
        told = f": {ended.tail[-1]}" if ended.tail else ""
        message = f"{program} describe ended with status {ended.status}{told}"
        raise NotDescribed(message, hint=_HINT)
    return parse_description(ended.text, str(program))


def parse_description(text: str, program: str) -> Description:
    """Read the answer of a program; raises NotDescribed."""
    try:
        said = json.loads(text)
    except (ValueError, RecursionError) as error:
        message = f"{program} does not describe itself as plugins do"
        raise NotDescribed(message, hint=_HINT) from error
    if not isinstance(said, dict):
        raise NotDescribed(f"{program} does not describe itself as plugins do", hint=_HINT)
    # Go takes the keys in any case.
    said = {str(key).lower(): value for key, value in said.items()}
    version, api = said.get("version"), said.get("api_version")
    if not isinstance(version, str) or not isinstance(api, str):
        raise NotDescribed(f"{program} tells no version of itself or of its protocol", hint=_HINT)
    return Description(
        version.removeprefix("v"), api,
        {kind: _names(said.get(key), program) for kind, key in KIND_KEYS.items()},
        said.get("protocol_version") == PROTOBUF_VERSION,
    )  # fmt: skip


def _names(listed: Any, program: str) -> tuple[str, ...]:
    if listed is None:
        return ()
    if not isinstance(listed, list) or not all(isinstance(one, str) for one in listed):
        raise NotDescribed(f"{program} lists its components in a way that is not known", hint=_HINT)
    return tuple(listed[:_MOST_COMPONENTS])
