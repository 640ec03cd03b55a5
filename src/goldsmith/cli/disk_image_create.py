"""`goldsmith disk-image-create`: upstream's arguments, environment, files and exit codes."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from goldsmith.cli.flags import Flag, Flags
from goldsmith.cli.native_flags import NativeParser
from goldsmith.errors import GoldsmithError
from goldsmith.template.dib.command_line import as_path
from goldsmith.template.dib.request import Asked, ImageRequest, RequestError, read_request
from goldsmith.ui.dib_lines import DibLines, dib_lines, error_text
from goldsmith.ui.terminal import write_line

OPTIONS: Final = {
    "a": Flag("text", "the architecture of the image; by default this host's"),
    "o": Flag("text", "the name of the outputs, which may be a path (default image)"),
    "t": Flag("commas", "the types: qcow2 (default), raw, tar, tgz, squashfs, vhd, docker, aci"),
    "x": Flag("bool", "trace the hooks; twice for still more"),
    "u": Flag("bool", "do not compress qcow2 files"),
    "c": Flag("bool", "clear the environment first"),
    "n": Flag("bool", 'do without the element "base"'),
    "p": Flag("commas", "packages to install after the phase install.d; repeatable"),
    "logfile": Flag("text", "write the log there; silent otherwise, unless DIB_QUIET=0"),
    "checksum": Flag("bool", "write MD5 and SHA-256 checksums of the outputs"),
    "image-size": Flag("text", "the size of the disk in GiB, decimals allowed"),
    "image-extra-size": Flag("text", "how much larger than its tree the disk is, in MiB"),
    "image-cache": Flag("text", "where hooks keep what they fetch (~/.cache/image-create)"),
    "max-online-resize": Flag("text", "blocks that an ext4 root can be grown to while mounted"),
    "min-tmpfs": Flag("text", "accepted; nothing is built in a tmpfs"),
    "mkfs-journal-size": Flag("text", "the journal of an ext4 root in MiB (default 64)"),
    "mkfs-options": Flag("text", "further options for mkfs of the root, as one word"),
    "no-tmpfs": Flag("bool", "accepted; nothing is built in a tmpfs"),
    "offline": Flag("bool", "ask nothing of the network: DIB_OFFLINE=1 for hooks"),
    "qemu-img-options": Flag("text", "options for qemu-img: KEY=VALUE,KEY=VALUE"),
    "root-label": Flag("text", "the label of the root's file system (cloudimg-rootfs)"),
    "ramdisk-element": Flag("text", 'the element that makes a ramdisk (default "ramdisk")'),
    "install-type": Flag("text", "the default install type: source (default) or package"),
    "docker-target": Flag("text", "the name of an image of type docker: REPOSITORY:TAG"),
    "no-cache": Flag("bool", "run every phase, whatever is kept of earlier builds"),
    "no-compat-elements": Flag("bool", "leave out the elements apt-keys and build-settings"),
    "help": Flag("bool", "print this and exit"),
    "version": Flag("bool", "print the version and exit"),
}
_VARIABLES: Final = (
    ("ELEMENTS_PATH", "directories with elements of your own, separated by colons"),
    ("DIB_NO_TIMESTAMP", "1: lines on standard output have no time"),
    ("DIB_QUIET", "1: nothing but errors is printed; 0: also with --logfile"),
    ("DIB_RELEASE", "the release of the operating system, such as bookworm"),
    ("break", "where a shell is opened: before-PHASE, after-PHASE, after-error"),
)


def run(words: list[str], machine_readable: bool) -> int:
    """Make an image; 0, or 1 for everything that goes wrong, as upstream has it."""
    return create_image("disk-image-create", words).status


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a command ended."""

    status: int
    cancelled: bool = False


def create_image(program: str, words: list[str]) -> Outcome:
    """What both programs do."""
    try:
        # Packer's way to ask for help: for getopt it would be four options.
        words = ["--help"] if words[:1] == ["-help"] else words
        asked = read_request(words, os.environ, ramdisk=program == "ramdisk-image-create")
        if asked.request is None:
            _tell(asked, program)
            return Outcome(0)
        with dib_lines(
            logfile=asked.request.logfile, quiet=_is_quiet(asked.request, os.environ),
            timestamps=os.environ.get("DIB_NO_TIMESTAMP", "0") != "1",
        ) as lines:  # fmt: skip
            status = _build(program, words, asked.request, lines)
            return Outcome(status, lines.is_cancelled)
    except GoldsmithError as e:
        error = _with_all_findings(e, program, words) if isinstance(e, RequestError) else e
        write_line(error_text(error), stream=sys.stderr)
        write_line(f"`{program} --help` lists the options.", stream=sys.stderr)
        return Outcome(1)


def _with_all_findings(error: RequestError, program: str, words: list[str]) -> GoldsmithError:
    """The error with what else is wrong with the image, as far as its words say what it is."""
    if error.partial is None:
        return error.each()
    # Late: help and good words need none of it.
    from goldsmith.cli.plugin_session import own_watcher, plugins_of
    from goldsmith.cli.templates import read_template

    flags = Flags(words=[as_path([program, *words])])
    try:
        with plugins_of(flags, watch=own_watcher) as plugins:
            read_template(program, flags, plugins, warn_of_undeclared=False)
    except GoldsmithError as e:
        return e
    return error.each()


def _build(program: str, words: list[str], request: ImageRequest, lines: DibLines) -> int:
    # Late: help and wrong words need no engine.
    from goldsmith.cli.build import build_with

    flags = Flags(words=[as_path([program, *words])])
    for name, wanted in (("no-cache", not request.use_cache), ("offline", request.offline)):
        if wanted:
            flags.given[name] = ["true"]
    return build_with(flags, lines)


def _is_quiet(request: ImageRequest, environment: Mapping[str, str]) -> bool:
    if request.logfile:
        write_line(f"Output logs going to: {request.logfile}")
    return (environment.get("DIB_QUIET") or ("1" if request.logfile else "0")) == "1"


def _tell(asked: Asked, program: str) -> None:
    if asked.version:
        import goldsmith

        write_line(goldsmith.__version__)
        return
    write_line(usage(program))


def usage(program: str) -> str:
    """The text of --help."""
    width = max(len(_shown(name)) for name in OPTIONS)
    options = "\n".join(
        f"    {_shown(name):<{width}}  {flag.help}" for name, flag in OPTIONS.items()
    )
    variables = "\n".join(f"    {name:<{width}}  {text}" for name, text in _VARIABLES)
    example = (
        "vm debian-minimal" if program == "disk-image-create" else "ramdisk debian-minimal"
    )  # fmt: skip
    return (
        f"Usage: {program} [OPTION]... ELEMENT...\n\nOptions:\n{options}\n\n"
        f"Variables of the environment, among others:\n{variables}\n\n"
        "One of the elements must be that of an operating system.\n\n"
        "Exit status: 0 when all outputs are made, or stand already; 1 for everything else, wrong\n"
        "words, a hook that failed and a signal among them.\n\n"
        f"Example:\n    {program} -o image {example}"
    )


def command_parser() -> NativeParser:
    """The same options for those who read tables of them: shells, and the reference."""
    parser = NativeParser(prog="goldsmith disk-image-create", add_help=False)
    for name, flag in OPTIONS.items():
        dashed = f"-{name}" if len(name) == 1 else f"--{name}"
        action = "store_true" if flag.kind == "bool" else "store"
        parser.add_argument(dashed, action=action, help=flag.help)
    parser.add_argument("elements", metavar="ELEMENT", nargs="*")
    return parser


def _shown(name: str) -> str:
    dashes = "-" if len(name) == 1 else "--"
    value = "" if OPTIONS[name].kind == "bool" else " VALUE"
    return f"{dashes}{name}{value}"
