"""What all `goldsmith fa-*` verbs share: fuel-agent's flags, input, log and exit status."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from goldsmith.cli.native_flags import NativeParser
from goldsmith.errors import GoldsmithError, explain_os_error
from goldsmith.template.fuel.config import DEFAULT_FILE, FuelConfig, read_config
from goldsmith.template.fuel.plain_data import LARGEST_INPUT_BYTES, read_input
from goldsmith.ui.diagnostics import render_error
from goldsmith.ui.terminal import write_line

FAILED: Final = 255


@dataclass(frozen=True, slots=True)
class FuelArguments:
    """The command line of a verb: its input as plain data, and the options of its configuration.

    `origin` names the input in messages; `given` has the verb's own flags.
    """

    data: Any = field(repr=False)
    origin: str
    text: str = field(repr=False)
    config: FuelConfig = field(repr=False)
    data_driver: str
    log_file: Path | None
    debug: bool
    warnings: tuple[str, ...]
    given: argparse.Namespace


def fuel_parser(verb: str, description: str) -> NativeParser:
    """The flags that fuel-agent's programs have in common; a verb adds its own.

    Values on the command line are None where they are not given: then the configuration counts.
    """
    parser = NativeParser(prog=f"goldsmith {verb}", allow_abbrev=False, description=description)
    add = parser.add_argument
    add("--input_data", "--input-data", metavar="TEXT", help="the input itself, as JSON or YAML")
    add("--input_data_file", "--input-data-file", metavar="FILE",
        help="the file with the input (/tmp/provision.json)")  # fmt: skip
    add("--data_driver", "--data-driver", metavar="NAME", help="what the input is")
    add("--config-file", "--config_file", metavar="FILE", type=Path, action="append",
        help=f"a configuration file of fuel-agent; by default {DEFAULT_FILE} if it is there",
    )  # fmt: skip
    add("--log-file", "--log_file", metavar="FILE", type=Path, help="add all messages to this file")
    add("-d", "--debug", action="store_true", help="tell what the programs say that are run")
    return parser


def read_arguments(
    parser: NativeParser, words: list[str], default_driver: str, drivers: tuple[str, ...]
) -> FuelArguments:
    """Read command line, configuration and input; raises GoldsmithError, SystemExit for usage."""
    given = parser.parse_args(words)
    paths = given.config_file or ([DEFAULT_FILE] if DEFAULT_FILE.exists() else [])
    config, warnings = read_config(paths)
    driver = given.data_driver or config.data_driver or default_driver
    if driver not in drivers:
        raise GoldsmithError(f'there is no data driver "{driver}" here',
                             hint=f"choose one of {', '.join(drivers)}")  # fmt: skip
    text, origin = _input(given, config)
    log_file = given.log_file or (Path(config.log_file) if config.log_file else None)
    return FuelArguments(
        read_input(text, origin), origin, text, config, driver, log_file,
        given.debug or config.debug, tuple(warnings), given,
    )  # fmt: skip


def _input(given: argparse.Namespace, config: FuelConfig) -> tuple[str, str]:
    """The text on the command line if there is one, else the file's; and what to call it."""
    text = config.input_data if given.input_data is None else given.input_data
    if text:
        return text, "--input_data"
    path = Path(given.input_data_file or config.input_data_file)
    try:
        with open(path, encoding="utf-8") as file:
            return file.read(LARGEST_INPUT_BYTES + 1), str(path)
    except UnicodeDecodeError as e:
        raise GoldsmithError(f"{path} is not a text in UTF-8: {e}") from e
    except OSError as e:
        raise GoldsmithError(
            str(explain_os_error(e)),
            hint="name the input: --input_data_file FILE, or --input_data with its text",
        ) from e


def fuel_verb(read: Callable[[], FuelArguments], body: Callable[[FuelArguments], None]) -> int:
    """Run a verb: 0, 2 for usage, 255 for every failure, as fuel-agent's programs end."""
    try:
        arguments = read()
    except SystemExit as e:
        return int(e.code or 0)
    except (GoldsmithError, OSError) as e:
        return failed(e, None)
    for text in arguments.warnings:
        write_line(f"Warning: {text}", stream=sys.stderr)
    try:
        body(arguments)
    except (GoldsmithError, OSError, KeyboardInterrupt) as e:
        return failed(e, arguments.log_file)
    return 0


def failed(error: BaseException, log_file: Path | None) -> int:
    """Tell of an error, also in the log; returns the exit status for it."""
    told = explain_os_error(error) if isinstance(error, OSError) else error
    text = render_error(told) if isinstance(told, GoldsmithError) else "interrupted"
    write_line(f"Unexpected error\n{text}", stream=sys.stderr)
    if log_file is not None:
        with contextlib.suppress(OSError), open(log_file, "a", encoding="utf-8") as file:
            file.write(f"error: {text}\n")
    return FAILED


@contextlib.contextmanager
def log_of(arguments: FuelArguments) -> Iterator[Callable[[str], None]]:
    """What takes a line for people: the log file that was named, or standard output."""
    if arguments.log_file is None:
        yield write_line
        return
    try:
        file = open(arguments.log_file, "a", encoding="utf-8", buffering=1)  # noqa: SIM115
    except OSError as e:
        raise explain_os_error(e) from e
    with file:
        yield lambda line: file.writelines([line, "\n"])
