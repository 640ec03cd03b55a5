"""Loads the command line of `fa-build-image` or `fa-mkbootstrap` as a template: one build."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from goldsmith.core.build import Template
from goldsmith.errors import GoldsmithError, explain_os_error
from goldsmith.host.journal import state_directory
from goldsmith.host.process import run
from goldsmith.layers.store import Store
from goldsmith.template.fuel.bootstrap_input import read_bootstrap_input
from goldsmith.template.fuel.build import template_of
from goldsmith.template.fuel.build_input import BuildInput, plain_passwords, read_build_input
from goldsmith.template.fuel.command_line import (
    BOOTSTRAP_PROGRAM,
    PROGRAM,
    BuildCommand,
    parse_command,
)
from goldsmith.template.fuel.config import DEFAULT_FILE, read_config
from goldsmith.template.fuel.plain_data import read_input
from goldsmith.values.world import World

_SHORTEST_SECRET: Final = 6
"""Shorter passwords of root stand in any text by chance; they are told to nobody anyway."""


@dataclass(frozen=True, slots=True)
class _Read:
    """An input that was checked, and what it is called."""

    command: BuildCommand
    data: Any
    given: BuildInput
    origin: str


def load(
    path: str,
    *,
    variables: Sequence[tuple[str, str]] = (),
    variable_files: Sequence[str] = (),
    world: World,
) -> Template:
    """The build of a command line; raises GoldsmithError with every finding."""
    if variables or variable_files:
        raise GoldsmithError(f"the input of {PROGRAM} has no variables")
    read = _read(path, world)
    config: dict[str, Any] = world.outside("fuel-agent.conf", lambda: _config(read.command))
    password = read.given.root_password
    hashed = read.given.hashed_root_password
    if password is None and hashed is None:
        password = config["default_root_password"]
    if password is not None:
        plain = password
        hashed = world.outside("root password", lambda: hashed_password(plain, read.given.name))
    # Root's hash is no secret of the build's: it is meant to be in the image.
    known = {*plain_passwords(read.data), password or ""}
    secrets = frozenset(text for text in known if len(text) >= _SHORTEST_SECRET)
    return template_of(
        path, read.origin, read.given,
        build_directory=read.command.build_directory or config["image_build_dir"],
        password_hash=hashed, secrets=secrets,
    )  # fmt: skip


def check_syntax(
    path: str,
    *,
    variables: Sequence[tuple[str, str]] = (),
    variable_files: Sequence[str] = (),
    world: World,
) -> None:
    """Read the input; raises GoldsmithError."""
    _read(path, world)


def _read(path: str, world: World) -> _Read:
    command = parse_command(path, DEFAULT_FILE)
    try:
        text = world.read_file(command.input_file).decode()
    except UnicodeDecodeError as e:
        raise GoldsmithError(f"{command.input_file} is not a text in UTF-8: {e}") from e
    except OSError as e:
        raise explain_os_error(e) from e
    inline = command.input_file.startswith("/proc/")
    origin = "--input_data" if inline else command.input_file
    data = read_input(text, origin)
    read = read_bootstrap_input if command.program == BOOTSTRAP_PROGRAM else read_build_input
    return _Read(command, data, read(data, origin), origin)


def _config(command: BuildCommand) -> dict[str, Any]:
    paths = [path for path in command.config_files if path != DEFAULT_FILE or path.exists()]
    config, _ = read_config(paths)
    return {"image_build_dir": config.image_build_dir,
            "default_root_password": config.default_root_password}  # fmt: skip


def hashed_password(password: str, name: str) -> str:
    """The SHA-512 crypt of a password, the same for one image on this host: it is built once.

    The salt follows from a secret of this host, so it tells nothing of the password. The password
    goes to openssl on its standard input.
    """
    salt = Store.open(state_directory() / "store").keyed(f"root of {name}".encode())[:16]
    argv = ["openssl", "passwd", "-6", "-salt", salt, "-stdin"]
    text = run(argv, input=f"{password}\n".encode(), capture=True).text.strip()
    if not text.startswith("$6$"):
        raise GoldsmithError("openssl passwd made no hash of root's password",
                             hint="give hashed_root_password instead")  # fmt: skip
    return text
