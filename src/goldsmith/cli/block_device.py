"""`goldsmith block-device`: the verbs of diskimage-builder's program for block devices.

Within `disk-image-create` hooks of the last phases can ask it for values; the rest is for scripts
that make a disk of their own.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from goldsmith.cli.native_flags import NativeParser
from goldsmith.errors import GoldsmithError, Interrupted, NotRootError
from goldsmith.ui.diagnostics import render_error
from goldsmith.ui.terminal import write_line

_PARAMETERS: Final = "DIB_BLOCK_DEVICE_PARAMS_YAML"
_TOUCH_THE_KERNEL: Final = ("create", "umount", "delete")
_VERBS: Final = {
    "init": "check the configuration, and write down what it means",
    "getval": "print what a symbol stands for",
    "create": "make the image and its file systems, attach and mount them",
    "writefstab": "write fstab into the tree that is to be copied",
    "umount": "unmount and detach the image",
    "cleanup": "remove the state; the image stays",
    "delete": "unmount, and remove the image and the state",
}


def run(words: list[str], machine_readable: bool) -> int:
    """Do what a verb says; 0, or 1 for an error, 2 for usage, as upstream's program."""
    try:
        options = command_parser().parse_args(words)
    except SystemExit as e:
        return int(e.code or 0)
    place = options.params or os.environ.get(_PARAMETERS)
    if not place:
        write_line(f"goldsmith block-device: {_PARAMETERS} or --params not set", stream=sys.stderr)
        return 2
    try:
        _run(options, Path(place))
    except Interrupted:
        raise
    except GoldsmithError as e:
        write_line(render_error(e), stream=sys.stderr)
        return 1
    return 0


def _run(options: argparse.Namespace, place: Path) -> None:
    # Late: help needs nothing of disks.
    from goldsmith.builders.elements.block_device_state import BlockDeviceState, Parameters

    if options.verb in _TOUCH_THE_KERNEL and os.geteuid() != 0:
        raise NotRootError(f"block-device {options.verb}")
    try:
        state = BlockDeviceState(Parameters.read(place))
    except OSError as e:
        raise GoldsmithError(f"{place}: {e.strerror}") from e
    verbs: dict[str, Callable[[], object]] = {
        "init": state.init, "create": state.create, "writefstab": state.writefstab,
        "cleanup": state.cleanup, "delete": state.delete,
    }  # fmt: skip
    if options.verb == "getval":
        write_line(state.getval(options.symbol))
    elif options.verb == "umount":
        for line in state.umount():
            write_line(line, stream=sys.stderr)
    else:
        verbs[options.verb]()


def command_parser() -> NativeParser:
    """The verbs, with the words and flags of each."""
    parser = NativeParser(
        prog="goldsmith block-device",
        description="Makes, mounts and takes down a disk by diskimage-builder's description of it.",
    )
    parser.add_argument(
        "--params", metavar="FILE",
        help=f"the file of parameters, in YAML; by default what {_PARAMETERS} names",
    )  # fmt: skip
    verbs = parser.add_subparsers(required=True, metavar="VERB", dest="verb")
    for name, text in _VERBS.items():
        verb = verbs.add_parser(name, help=text)
        if name == "getval":
            verb.add_argument(
                "symbol", metavar="SYMBOL",
                help="root-label, root-fstype, boot-label, mount-points, image-path, "
                "image-block-device or image-block-devices",
            )  # fmt: skip
    return parser
