"""`goldsmith fa-mkbootstrap`: a system that runs from memory, as fuel-agent makes and takes it."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Final

from goldsmith.cli.fa_build_image import build_input
from goldsmith.cli.fuel_arguments import FuelArguments, fuel_parser, fuel_verb, read_arguments
from goldsmith.cli.native_flags import NativeParser
from goldsmith.errors import GoldsmithError, UsageError, explain_os_error
from goldsmith.template.fuel.bootstrap_input import BootstrapInput, read_bootstrap_input
from goldsmith.template.fuel.command_line import BOOTSTRAP_PROGRAM
from goldsmith.ui.terminal import write_line

DRIVER: Final = "bootstrap_build_image"


def command_parser() -> NativeParser:
    """The verb's command line."""
    parser = fuel_parser(
        "fa-mkbootstrap",
        "Make kernel, initramfs and squashfs root of a system that runs from memory, with their "
        "metadata, as fuel-agent does; or take such an image apart.",
    )
    parser.add_argument(
        "--image_build_dir", "--image-build-dir", metavar="DIRECTORY",
        help="where the parts are made before they are put together (/tmp)",
    )  # fmt: skip
    parser.add_argument(
        "--import", dest="archive", metavar="FILE", type=Path,
        help="take a bootstrap image (tar.gz) apart, into a directory named by its UUID",
    )  # fmt: skip
    parser.add_argument(
        "--into", metavar="DIRECTORY", type=Path, help="with --import: where that directory is made"
    )
    return parser


def run(words: list[str], machine_readable: bool) -> int:
    """Make an image or import one; 0, 2 for usage, or 255 for everything that goes wrong."""
    parser = command_parser()
    if any(word == "--import" or word.startswith("--import=") for word in words):
        return _import(parser, words)
    return fuel_verb(lambda: read_arguments(parser, words, DRIVER, (DRIVER,)), _build)


def _import(parser: NativeParser, words: list[str]) -> int:
    from goldsmith.cli.fuel_arguments import failed
    from goldsmith.deploy.bootstrap_image import import_bootstrap

    try:
        given = parser.parse_args(words)
    except SystemExit as e:
        return int(e.code or 0)
    try:
        if given.into is None:
            raise UsageError("--import needs --into DIRECTORY")
        if not given.into.is_dir():
            raise GoldsmithError(f"there is no directory {given.into}")
        place = import_bootstrap(given.archive, given.into)
    except (GoldsmithError, OSError, KeyboardInterrupt) as e:
        return failed(e, given.log_file)
    write_line(f"Imported to {place}")
    return 0


def _build(arguments: FuelArguments) -> None:
    # Late: help and wrong input need none of it.
    from goldsmith.deploy.bootstrap_image import require_free

    if arguments.given.into is not None:
        raise UsageError("--into is for --import")
    given = read_bootstrap_input(arguments.data, arguments.origin)
    output = Path(given.output.removeprefix("file://"))
    require_free(output)
    directory = Path(arguments.given.image_build_dir or arguments.config.image_build_dir)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="bootstrap.", dir=directory) as name:
            build_input(arguments, BOOTSTRAP_PROGRAM, name)
            _put_together(given, Path(name), output)
    except OSError as e:
        raise explain_os_error(e) from e


def _put_together(given: BootstrapInput, parts: Path, output: Path) -> None:
    """Take kernel and initramfs out of the image of /boot, and write everything in its form."""
    from goldsmith.deploy.bootstrap_image import (
        INITRAMFS,
        KERNEL,
        ROOT,
        BootstrapDescription,
        take_boot_files,
        write_bootstrap,
    )
    from goldsmith.disk.image_set import read_image_set
    from goldsmith.template.fuel.bootstrap import METADATA_NAME
    from goldsmith.template.fuel.bootstrap_input import BOOT_IMAGE

    take_boot_files(parts / BOOT_IMAGE, parts)
    made = read_image_set((parts / f"{METADATA_NAME}.json").read_text(), METADATA_NAME)
    wanted = given.bootstrap
    described = BootstrapDescription(
        uuid=wanted.uuid, label=wanted.label, extend_kopts=wanted.extend_kopts, os=made.os,
        repos=made.repos, uris=given.uris(),
        all_packages={package.name: package.version for package in made.installed_packages},
    )  # fmt: skip
    files = {"kernel": parts / KERNEL, "initrd": parts / INITRAMFS, "rootfs": parts / ROOT}
    write_bootstrap(files, described, output, wanted.container.format)
    write_line(f"Wrote {output}")
