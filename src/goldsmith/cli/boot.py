"""`goldsmith boot`: boots an image and waits for what its console says, or hands the console over.

By default nothing of what the guest writes is kept: a boot is a look at an image, not a use of it.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, TypeVar

from goldsmith.builders.image.output import MANIFEST_SCHEMA
from goldsmith.cli.clean import finish_dead_runs
from goldsmith.cli.native_flags import NativeParser
from goldsmith.errors import GoldsmithError, Interrupted, UsageError
from goldsmith.host.journal import open_run, state_directory
from goldsmith.host.process import get_tool
from goldsmith.host.signals import interruptible
from goldsmith.host.watcher import start_watcher
from goldsmith.machine.acceleration import EMULATOR
from goldsmith.machine.boot_disk import DRIVERS
from goldsmith.machine.forwarding import parse_forward
from goldsmith.machine.interactive import ESCAPE_KEY_NAME, hand_over
from goldsmith.machine.qemu import BootOptions, BootResult, boot
from goldsmith.ui.raw_terminal import raw_terminal
from goldsmith.ui.terminal import write_line
from goldsmith.units import GIB, format_duration, format_size, parse_duration_s, parse_size_bytes

T = TypeVar("T")

DEFAULT_EXPECT: Final = "login:"
DEFAULT_TIMEOUT_S: Final = 300.0

# The longest first: an image "a.raw.gz" is not one of the ending ".gz".
_FORMAT_OF_ENDING: Final = {
    ".raw.gz": "raw.gz", ".raw.zst": "raw.zst", ".qcow2": "qcow2", ".raw": "raw", ".vmdk": "vmdk",
    ".vdi": "vdi", ".vhdx": "vhdx", ".vhd": "vpc",
}  # fmt: skip


def run(words: list[str], machine_readable: bool) -> int:
    """Boot once per firmware; 0 when the text was seen each time, 2 for usage, 130 for Ctrl-C.

    With `--console` 0 is a machine that ended, by itself or by the escape key. Raises
    BootTestFailed (4), HostError (6) and the other errors for the caller to show.
    """
    try:
        given = command_parser().parse_args(words)
    except SystemExit as e:
        return int(e.code or 0)
    boots = plan_boots(given)
    for text in warnings(given):
        write_line(f"Warning: {text}", stream=sys.stderr)
    for tool in (EMULATOR, "qemu-img"):
        get_tool(tool)
    try:
        _boot_all(boots, given)
    except Interrupted as e:
        write_line(f"goldsmith boot: {e}", stream=sys.stderr)
        return 128 + signal.Signals[e.signal_name]
    return 0


def command_parser() -> argparse.ArgumentParser:
    """The words and flags of the verb."""
    parser = NativeParser(
        prog="goldsmith boot", allow_abbrev=False,
        description="Boots an image and waits until its serial console has said a text, or hands "
                    "its console over. The image is not written to unless --no-snapshot is given.",
    )  # fmt: skip
    add = parser.add_argument
    add("image", metavar="IMAGE", type=Path, help=f"a disk image: {', '.join(DRIVERS)}")
    add("--firmware", choices=("bios", "uefi"), action="append", metavar="bios|uefi",
        help="what to boot by; else all that the manifest beside the image lists, or bios",
    )  # fmt: skip
    add("--format", choices=tuple(DRIVERS), metavar="FORMAT",
        help="the image's format; else as the manifest or the file's name says",
    )  # fmt: skip
    add("--expect", metavar="TEXT", help=f"the text ({DEFAULT_EXPECT})")
    add("--timeout", metavar="TIME", type=_unit(parse_duration_s),
        help=f"the time limit of each boot ({format_duration(DEFAULT_TIMEOUT_S)})",
    )  # fmt: skip
    add("--disk", metavar="IMAGE", type=Path, action="append", default=[],
        help="a further disk, attached after the image and treated as it is; repeatable, its "
             "format is what its name says",
    )  # fmt: skip
    add("--console", action="store_true",
        help="hand this terminal to the machine, without a text to wait for and a time limit; "
             f"{ESCAPE_KEY_NAME} ends the machine, and so does switching it off",
    )  # fmt: skip
    add("-snapshot", "--snapshot", action=argparse.BooleanOptionalAction, default=True,
        help="throw away what the machine writes (the default); --no-snapshot keeps it in the "
             "images, which must be raw or qcow2",
    )  # fmt: skip
    add("--forward", metavar="HOST:GUEST", type=_unit(parse_forward), action="append", default=[],
        help="let a port of this host's loopback address lead to one of the machine, such as "
             "2222:22 for ssh; the machine then runs on after the text, until it switches off or "
             "Ctrl-C comes",
    )  # fmt: skip
    add("--network", action="store_true",
        help="let the machine reach the network; without it, it has none",
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
    for disk in given.disk:
        if not disk.is_file():
            raise GoldsmithError(f"there is no image {disk} to attach")
    disks: Any = tuple((disk, _format_by_name(disk)) for disk in given.disk)
    described = read_description(image)
    # BootOptions refuses what cannot be booted, such as the format of a later version's manifest.
    kind: Any = given.format or (described.format if described else _format_by_name(image))
    firmwares = given.firmware or (described.firmware if described else ("bios",))
    if not firmwares:
        raise UsageError(
            f"{image} was made for no firmware: it has no boot loader",
            hint="--firmware bios or uefi boots it all the same",
        )
    boots = [
        BootOptions(
            image=image, format=kind, firmware=firmware, memory_bytes=given.memory,
            cpus=given.cpus, expect=DEFAULT_EXPECT if given.expect is None else given.expect,
            timeout_s=DEFAULT_TIMEOUT_S if given.timeout is None else given.timeout,
            serial_log=_log_path(given.serial_log, firmware, alone=len(firmwares) == 1),
            snapshot=given.snapshot, forwards=tuple(given.forward), network=given.network,
            disks=disks,
        )
        for firmware in dict.fromkeys(firmwares)
    ]  # fmt: skip
    return _only_one(boots, given) if given.console or given.forward else boots


def _only_one(boots: list[BootOptions], given: argparse.Namespace) -> list[BootOptions]:
    """A console or a port belongs to one machine: the first that the image was made for."""
    word = "--console" if given.console else "--forward"
    if given.firmware and len(boots) > 1:
        raise UsageError(f"{word} needs one machine, and {len(boots)} firmwares are given",
                         hint="give one --firmware")  # fmt: skip
    waits = [flag for flag, is_given in (
        ("--expect", given.expect is not None), ("--timeout", given.timeout is not None),
        ("--quiet", given.quiet),
    ) if is_given]  # fmt: skip
    if given.console and waits:
        raise UsageError(f"{waits[0]} does not go with --console: nobody waits for a text",
                         hint="leave one of them out")  # fmt: skip
    return [replace(boots[0], serial_log=given.serial_log)]


def warnings(given: argparse.Namespace) -> list[str]:
    """What the manifest beside the image says against this boot; it is done all the same."""
    found = []
    image: Path = given.image
    described = read_description(image)
    if described is None:
        size_bytes = _described_size(image)
        if size_bytes is not None:
            found.append(
                f"{image} has {format_size(image.stat().st_size)} and its manifest says "
                f"{format_size(size_bytes)}: it was cut, or written to since it was made; "
                "the manifest does not count"
            )
        return found
    for firmware in dict.fromkeys(given.firmware or ()):
        if firmware not in described.firmware:
            made_for = " and ".join(described.firmware) or "no firmware"
            found.append(
                f"{image} was made for {made_for}, as its manifest says, and has no boot loader "
                f"for {firmware}: it will hardly boot"
            )
    if given.format is not None and given.format != described.format:
        found.append(f"{image} is {described.format}, as its manifest says, not {given.format}")
    return found


def _format_by_name(image: Path) -> str:
    """Never by content: what a guest writes into a raw disk could name any file of the host."""
    name = image.name.lower()
    for ending, kind in _FORMAT_OF_ENDING.items():
        if name.endswith(ending):
            return kind
    raise UsageError(
        f"the name {image.name!r} does not say what format the image has",
        hint="add --format raw or --format qcow2 (`qemu-img info` shows it)",
    )


def _log_path(path: Path | None, firmware: str, *, alone: bool) -> Path | None:
    if path is None or alone:
        return path
    return path.with_name(f"{path.stem}.{firmware}{path.suffix}")


def read_description(image: Path) -> Described | None:
    """What a manifest of ours beside the image says of it; None without one, or of another size."""
    for document, entry in _entries(image):
        try:
            if entry["size_bytes"] == os.stat(image).st_size:
                return Described(entry["format"], tuple(document["firmware"]))
        except (OSError, KeyError, TypeError):
            continue
    return None


def _described_size(image: Path) -> int | None:
    """The size that a manifest of ours says the image has, whatever it has."""
    sizes = (entry.get("size_bytes") for _, entry in _entries(image))
    return next((size for size in sizes if isinstance(size, int)), None)


def _entries(image: Path) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """The manifests of ours beside the image that name it, each with what it says of it."""
    for manifest in _manifests(image):
        try:
            document = json.loads(manifest.read_text())
            if document["goldsmith_manifest"] != MANIFEST_SCHEMA:
                continue
            entry = document["files"][image.name]
        except (OSError, ValueError, KeyError, TypeError):
            continue
        if isinstance(entry, dict):
            yield document, entry


def _manifests(image: Path) -> Iterator[Path]:
    """The names that the manifest of this image may have: it has one ending or two (`raw.zst`)."""
    name = image.name
    while "." in name:
        name = name.rpartition(".")[0]
        yield image.with_name(f"{name}.manifest.json")


def _boot_all(boots: list[BootOptions], given: argparse.Namespace) -> None:
    """Boot one after the other in a run directory; the first failure ends it."""
    state = state_directory()
    with interruptible() as interrupts:
        finish_dead_runs(state, lambda text: write_line(text, stream=sys.stderr))
        with start_watcher(), open_run(state, "boot") as run_directory:
            try:
                for options in boots:
                    if given.console:
                        _hand_over(options, run_directory.path)
                    else:
                        _boot_one(options, run_directory.path, quiet=given.quiet)
            finally:
                interrupts.settle()


def _boot_one(options: BootOptions, directory: Path, *, quiet: bool) -> None:
    write_line(f"==> Booting {options.image.name} by {options.firmware}, "
               f"waiting for {options.expect!r}...")  # fmt: skip
    told: dict[str, Any] = {"directory": directory, "on_line": None if quiet else write_line}
    if not options.forwards:
        _tell_booted(boot(options, **told))
        return

    def stay(result: BootResult) -> None:
        _tell_booted(result)
        for forward in options.forwards:
            write_line(f"==> Forwarding {forward}")
        write_line("==> The machine runs until it switches off; Ctrl-C ends it")

    boot(options, **told, stay=stay)


def _tell_booted(result: BootResult) -> None:
    took = format_duration(result.duration_s)
    write_line(f"==> Booted by {result.firmware} in {took} ({result.acceleration.name})")


def _hand_over(options: BootOptions, directory: Path) -> None:
    write_line(f"==> Booting {options.image.name} by {options.firmware}; this terminal is the "
               f"machine's, {ESCAPE_KEY_NAME} ends it")  # fmt: skip
    for forward in options.forwards:
        write_line(f"==> Forwarding {forward}")
    with raw_terminal() as (keyboard_fd, show):
        ended = hand_over(options, directory=directory, keyboard_fd=keyboard_fd, show=show)
    write_line()
    write_line(f"==> The machine has ended ({ended})")
