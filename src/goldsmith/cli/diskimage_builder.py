"""`goldsmith diskimage-builder`: makes the images that YAML files describe, one after the other."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from goldsmith.cli.disk_image_create import create_image
from goldsmith.cli.native_flags import NativeParser
from goldsmith.errors import Diagnostics, GoldsmithError, explain_os_error
from goldsmith.ui.terminal import write_line

if TYPE_CHECKING:
    from goldsmith.template.dib.images import ImageCommand


def run(words: list[str], machine_readable: bool) -> int:
    """Make all images; 0, or 1 when one of them could not be made, 2 for usage, as upstream."""
    try:
        options = command_parser().parse_args(words)
    except SystemExit as e:
        return int(e.code or 0)
    failed: list[ImageCommand] = []
    for command in _commands(options.files):
        write_line(f"{command}\n", stream=sys.stderr)
        if options.dry_run:
            continue
        program, *arguments = command.words
        with _environment(command.environment):
            outcome = create_image(program, arguments)
        if outcome.status != 0:
            failed.append(command)
            if options.stop_on_failure or outcome.cancelled:
                break
    for command in failed:
        write_line(f"ERROR: failed: {command}", stream=sys.stderr)
    return 1 if failed else 0


def command_parser() -> NativeParser:
    """The flags of the verb."""
    parser = NativeParser(
        prog="goldsmith diskimage-builder",
        description="Makes the images that YAML files describe: a list of maps, each with what "
        "disk-image-create takes.",
        epilog="exit status: 0 when all images are made, 1 when one is not, 2 for wrong words",
    )
    parser.add_argument("files", metavar="FILE", nargs="+", help="a file that describes images")
    parser.add_argument("--dry-run", action="store_true", help="print the commands, run none")
    parser.add_argument(
        "--stop-on-failure", action="store_true", help="make no image after one that failed"
    )
    return parser


def _commands(files: list[str]) -> list[ImageCommand]:
    """The commands of all files together; raises TemplateError with every finding."""
    texts = []
    for name in files:
        try:
            texts.append((name, Path(name).read_text(encoding="utf-8")))
        except UnicodeDecodeError as e:
            raise GoldsmithError(f"{name} is not a text in UTF-8: {e}") from e
        except OSError as e:
            raise explain_os_error(e) from e
    findings = Diagnostics()
    # Late: help needs no YAML.
    from goldsmith.template.dib.images import read_images

    commands = read_images(texts, findings)
    findings.raise_if_errors(dict(texts))
    return commands


@contextmanager
def _environment(given: Mapping[str, str]) -> Iterator[None]:
    """Further variables for one image: it is made in this process."""
    before = dict(os.environ)
    os.environ.update(given)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
