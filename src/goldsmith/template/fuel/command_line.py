"""The command lines of `fa-build-image` and `fa-mkbootstrap` as a template's path: one word."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from goldsmith.errors import GoldsmithError

PROGRAM: Final = "fa-build-image"
BOOTSTRAP_PROGRAM: Final = "fa-mkbootstrap"
PROGRAMS: Final = (PROGRAM, BOOTSTRAP_PROGRAM)
_INPUT: Final = "--input_data_file"
_DIRECTORY: Final = "--image_build_dir"
_CONFIG: Final = "--config-file"


@dataclass(frozen=True, slots=True)
class BuildCommand:
    """What a build is made from: a file of input, a directory, files of configuration."""

    input_file: str
    build_directory: str
    config_files: tuple[Path, ...] = ()
    program: str = PROGRAM

    def as_path(self) -> str:
        """The words in the form in which they stand for a template's path."""
        config = [word for path in self.config_files for word in (_CONFIG, str(path))]
        return shlex.join([self.program, _INPUT, self.input_file, _DIRECTORY, self.build_directory,
                           *config])  # fmt: skip


def is_fuel_command(path: str) -> bool:
    """Whether a template's path is the command line of one of the programs."""
    return path.startswith(tuple(f"{program} " for program in PROGRAMS))


def parse_command(path: str, config: Path) -> BuildCommand:
    """Read such a path; `config` is the configuration where none is named. Raises GoldsmithError.

    The build directory is that of the configuration unless it is given: "".
    """
    try:
        program, *words = shlex.split(path)
    except ValueError as e:
        raise GoldsmithError(f"{path}: {e}", hint="quote words as a shell asks for it") from e
    names = {name.replace("_", "-"): name for name in (_INPUT, _DIRECTORY, _CONFIG)}
    given: dict[str, list[str]] = {}
    for word, value in zip(words[::2], words[1::2], strict=False):
        given.setdefault(names.get(word.replace("_", "-"), word), []).append(value)
    unknown = given.keys() - {_INPUT, _DIRECTORY, _CONFIG}
    if unknown or len(words) % 2 or _INPUT not in given:
        raise GoldsmithError(
            f"{path}: as a template, {program} takes {_INPUT} FILE, {_DIRECTORY} DIRECTORY and "
            f"{_CONFIG} FILE"
        )
    files = tuple(Path(name) for name in given.get(_CONFIG, [])) or (config,)
    return BuildCommand(given[_INPUT][-1], given.get(_DIRECTORY, [""])[-1], files, program)
