"""`goldsmith boot`: boots an image on a throw-away overlay and waits for what its console says."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from goldsmith.builders.image.output import MANIFEST_SCHEMA
from goldsmith.cli.clean import finish_dead_runs
from goldsmith.errors import GoldsmithError, Interrupted, UsageError
from goldsmith.host.journal import open_run, state_directory
from goldsmith.host.process import get_tool
from goldsmith.host.signals import interruptible
from goldsmith.host.watcher import start_watcher
from goldsmith.machine.acceleration import EMULATOR
from goldsmith.machine.qemu import BootOptions, BootResult, boot
from goldsmith.ui.terminal import write_line
from goldsmith.units import GIB, format_duration, parse_duration_s, parse_size_bytes

T = TypeVar("T")

_FORMAT_OF_ENDING: Final = {".qcow2": "qcow2", ".raw": "raw"}


def run(words: list[str], machine_readable: bool) -> int:
    """Boot once per firmware; 0 when the text was seen each time, 2 for usage, 130 for Ctrl-C.

    Raises BootTestFailed (4), HostError (6) and the other errors for the caller to show.
    """
    try:
        given = _parser().parse_args(words)
    except SystemExit as e:
        return int(e.code or 0)
    boots = plan_boots(given)
    for tool in (EMULATOR, "qemu-img"):
        get_tool(tool)
    try:
        _boot_all(boots, quiet=given.quiet)
    except Interrupted as e:
        write_line(f"goldsmith boot: {e}", stream=sys.stderr)
        return 128 + signal.Signals[e.signal_name]
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="goldsmith boot", allow_abbrev=False,
        description="Boots an image and waits until its serial console has said a text. "
                    "The image is not written to.",
    )  # fmt: skip
    add = parser.add_argument
    add("image", metavar="IMAGE", type=Path, help="a disk image: raw or qcow2")
    add("--firmware", choices=("bios", "uefi"), action="append", metavar="bios|uefi",
        help="what to boot by; else all that the manifest beside the image lists, or bios",
    )  # fmt: skip
    add("--format", choices=("raw", "qcow2"), metavar="raw|qcow2",
        help="the image's format; else as the manifest or the file's name says",
    )  # fmt: skip
    add("--expect", metavar="TEXT", default="login:", help="the text (login:)")
    add("--timeout", metavar="TIME", type=_unit(parse_duration_s), default=300.0,
        help="the time limit of each boot (5m)",
    )  # fmt: skip
    add("--memory", metavar="SIZE", type=_unit(parse_size_bytes), default=GIB,
        help="the machine's memory (1GiB)",
    )  # fmt: skip
    add("--cpus", metavar="N", type=int, default=1, help="the machine's processors (1)")
    add("--serial-log", metavar="FILE", type=Path,
        help="keep the console's bytes; with several firmwares one file for each",
    )  # fmt: skip
    add("--quiet", action="store_true", help="do not print the console")
    return parser


def _unit(parse: Callable[[str], T]) -> Callable[[str], T]:
    def read(text: str) -> T:
        try:
            return parse(text)
        except GoldsmithError as e:
            raise argparse.ArgumentTypeError(f"{e}" + (f": {e.hint}" if e.hint else "")) from e

    return read


@dataclass(frozen=True, slots=True)
class Described:
    """What the manifest of a build says about an image."""

    format: str
    firmware: tuple[str, ...]


def plan_boots(given: argparse.Namespace) -> list[BootOptions]:
    """The boots that the command line asks for; raises UsageError, GoldsmithError."""
    image: Path = given.image
    if not image.is_file():
        raise GoldsmithError(f"there is no image {image} to boot")
    described = read_description(image)
    # BootOptions refuses what cannot be booted, such as the vmdk of a manifest.
    kind: Any = given.format or (described.format if described else _format_by_name(image))
    firmwares = given.firmware or (described.firmware if described else ("bios",))
    if not firmwares:
        raise UsageError(
            f"{image} was made for no firmware: it has no boot loader",
            hint="--firmware bios or uefi boots it all the same",
        )
    return [
        BootOptions(
            image=image, format=kind, firmware=firmware, memory_bytes=given.memory,
            cpus=given.cpus, expect=given.expect, timeout_s=given.timeout,
            serial_log=_log_path(given.serial_log, firmware, alone=len(firmwares) == 1),
        )
        for firmware in dict.fromkeys(firmwares)
    ]  # fmt: skip


def _format_by_name(image: Path) -> str:
    """Never by content: what a guest writes into a raw disk could name any file of the host."""
    kind = _FORMAT_OF_ENDING.get(image.suffix.lower())
    if kind is None:
        raise UsageError(
            f"the name {image.name!r} does not say what format the image has",
            hint="add --format raw or --format qcow2 (`qemu-img info` shows it)",
        )
    return kind


def _log_path(path: Path | None, firmware: str, *, alone: bool) -> Path | None:
    if path is None or alone:
        return path
    return path.with_name(f"{path.stem}.{firmware}{path.suffix}")


def read_description(image: Path) -> Described | None:
    """What a manifest of ours beside the image says of it; None without one, or of another size."""
    for manifest in _manifests(image):
        try:
            document = json.loads(manifest.read_text())
            if document["goldsmith_manifest"] != MANIFEST_SCHEMA:
                continue
            entry = document["files"][image.name]
            if entry["size_bytes"] == os.stat(image).st_size:
                return Described(entry["format"], tuple(document["firmware"]))
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return None


def _manifests(image: Path) -> Iterator[Path]:
    """The names that the manifest of this image may have: it has one ending or two (`raw.zst`)."""
    name = image.name
    while "." in name:
        name = name.rpartition(".")[0]
        yield image.with_name(f"{name}.manifest.json")


def _boot_all(boots: list[BootOptions], *, quiet: bool) -> None:
    """Boot one after the other in a run directory; the first failure ends it."""
    state = state_directory()
    with interruptible() as interrupts:
        finish_dead_runs(state, lambda text: write_line(text, stream=sys.stderr))
        with start_watcher(), open_run(state, "boot") as run_directory:
            try:
                for options in boots:
                    _boot_one(options, run_directory.path, quiet=quiet)
            finally:
                interrupts.settle()


def _boot_one(options: BootOptions, directory: Path, *, quiet: bool) -> BootResult:
    write_line(f"==> Booting {options.image.name} by {options.firmware}, "
               f"waiting for {options.expect!r}...")  # fmt: skip
    result = boot(options, directory=directory, on_line=None if quiet else write_line)
    took = format_duration(result.duration_s)
    write_line(f"==> Booted by {result.firmware} in {took} ({result.acceleration.name})")
    return result
