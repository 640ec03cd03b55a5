"""The plugins that a template was last built with, so that everybody builds with the same ones.

`.goldsmith.lock.json` lies beside the template; `goldsmith init` writes it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from goldsmith.errors import GoldsmithError
from goldsmith.plugin.discovery import system_name

FILE_NAME: Final = ".goldsmith.lock.json"
SCHEMA: Final = 1
_HINT: Final = "remove it and run goldsmith init, which writes it anew"


@dataclass(frozen=True, slots=True)
class Locked:
    """One plugin: its version, and the SHA-256 of its program for each system."""

    version: str
    digests: Mapping[str, str]

    @property
    def digest(self) -> str | None:
        """That for this system; None where nobody locked one yet."""
        return self.digests.get(system_name())


@dataclass(slots=True)
class LockFile:
    """The locked plugins by their source addresses."""

    path: Path
    plugins: dict[str, Locked] = field(default_factory=dict)

    @classmethod
    def beside(cls, template: str) -> LockFile:
        """That of a template file or directory; empty where there is none.

        Raises GoldsmithError when it cannot be read as one.
        """
        place = Path(template)
        directory = place if os.path.isdir(place) else place.parent
        path = directory / FILE_NAME
        try:
            text = path.read_text("utf-8")
        except (FileNotFoundError, NotADirectoryError):
            return cls(path)
        except PermissionError as error:
            if not os.access(directory, os.X_OK):
                return cls(path)  # the template cannot be read either, and is complained of
            raise GoldsmithError(f"{path} cannot be read: {error.strerror}") from error
        except (OSError, UnicodeDecodeError) as error:
            raise GoldsmithError(f"{path} cannot be read: {error}", hint=_HINT) from error
        return cls(path, _read(text, path))

    def lock(self, source: str, version: str, digest: str) -> None:
        """Note a plugin as it is here; digests of other systems stay with the same version."""
        before = self.plugins.get(source)
        others = before.digests if before is not None and before.version == version else {}
        self.plugins[source] = Locked(version, {**others, system_name(): digest})

    def write(self) -> None:
        """Put it in place; raises OSError."""
        document = {
            "schema": SCHEMA,
            "plugins": {
                source: {"version": one.version, "sha256": dict(sorted(one.digests.items()))}
                for source, one in sorted(self.plugins.items())
            },
        }
        unfinished = self.path.with_name(f"{FILE_NAME}.new")
        unfinished.write_text(json.dumps(document, indent=2) + "\n")
        os.replace(unfinished, self.path)


def _read(text: str, path: Path) -> dict[str, Locked]:
    try:
        document = json.loads(text)
        if document["schema"] != SCHEMA:
            raise GoldsmithError(
                f"{path} has schema {document['schema']!r}, not {SCHEMA}",
                hint="a newer goldsmith wrote it",
            )
        return {
            _text(source): Locked(
                _text(one["version"]), {_text(k): _text(v) for k, v in one["sha256"].items()}
            )
            for source, one in document["plugins"].items()
        }
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise GoldsmithError(f"{path} is no lock file", hint=_HINT) from error


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(value)
    return value
