"""Writes the project of a new plugin."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from goldsmith.errors import GoldsmithError, explain_os_error
from goldsmith.plugin.scaffold.texts import FILES

_NAME: Final = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_LONGEST_NAME: Final = 50


def write_project(name: str, above: Path) -> list[Path]:
    """Make the directory packer-plugin-NAME in another one; returns the files in it.

    Raises GoldsmithError for a name that is none, and where the directory is there already.
    """
    if not _NAME.fullmatch(name) or len(name) > _LONGEST_NAME:
        raise GoldsmithError(
            f"{name!r} cannot be the name of a plugin",
            hint="small letters and digits, perhaps with single dashes: my-plugin",
        )
    directory = above / f"packer-plugin-{name}"
    words = {
        "@NAME@": name,
        "@MODULE@": f"packer_plugin_{name.replace('-', '_')}",
        "@CLASS@": "".join(part.capitalize() for part in name.split("-")),
    }
    written = []
    try:
        directory.mkdir()
        for place, text in FILES.items():
            path = directory / _filled(place, words)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(_filled(text, words))
            written.append(path)
    except FileExistsError as error:
        raise GoldsmithError(
            f"{directory} is there already", hint="move it away, or take another name"
        ) from error
    except OSError as error:
        raise explain_os_error(error) from error
    return written


def _filled(text: str, words: dict[str, str]) -> str:
    for mark, word in words.items():
        text = text.replace(mark, word)
    return text
