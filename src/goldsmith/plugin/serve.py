"""The program of a plugin: what its arguments ask for, and the first line that its host waits for.

Standard output belongs to the protocol. From the first moment on it leads to standard error, so
that nothing an author's module prints, or a program that it starts, can get into the first line.
"""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from goldsmith.plugin.plugin_set import DEFAULT_COMPONENT, KINDS, OF_GOLDSMITH_ONLY, PluginSet

if TYPE_CHECKING:
    from goldsmith.plugin.authoring.components import (
        Builder,
        Command,
        DataSource,
        Hook,
        PostProcessor,
        Provisioner,
    )

CONNECT_WITHIN_S: Final = 60.0
_PROTOBUF: Final = "--protobuf"
_NUMBERED_FILE: Final = re.compile(r"_x\d+\.\d+_")
_OLD_FILE: Final = re.compile(r"packer-(builder|provisioner|post-processor)-(.+)")


class _CannotStart(Exception):
    """Why the program cannot do what it is asked; one message for standard error."""


@dataclass(frozen=True, slots=True)
class _Asked:
    kind: str
    name: str
    protobuf: bool = False
    """Whether the host takes schemas in protobuf."""


def serve_builder(component: type[Builder[Any]], version: str = "0.0.1") -> None:
    """Be a plugin's program with one builder."""
    PluginSet(version=version, builders={"": component}).serve()


def serve_provisioner(component: type[Provisioner[Any]], version: str = "0.0.1") -> None:
    """Be a plugin's program with one provisioner."""
    PluginSet(version=version, provisioners={"": component}).serve()


def serve_post_processor(component: type[PostProcessor[Any]], version: str = "0.0.1") -> None:
    """Be a plugin's program with one post-processor."""
    PluginSet(version=version, post_processors={"": component}).serve()


def serve_datasource(component: type[DataSource[Any, Any]], version: str = "0.0.1") -> None:
    """Be a plugin's program with one data source."""
    PluginSet(version=version, datasources={"": component}).serve()


def serve_hook(component: type[Hook], version: str = "0.0.1") -> None:
    """Be a plugin's program with one hook, for goldsmith only."""
    PluginSet(version=version, hooks={"": component}).serve()


def serve_command(component: type[Command], version: str = "0.0.1") -> None:
    """Be a plugin's program with one command, for goldsmith only."""
    PluginSet(version=version, commands={"": component}).serve()


def main(plugins: PluginSet, argv: Sequence[str]) -> None:
    """Do what the arguments ask for and end the process."""
    sys.exit(run(plugins, argv))


def run(plugins: PluginSet, argv: Sequence[str]) -> int:
    """Do what the arguments ask for; returns the exit code."""
    words = list(argv[1:])
    if words == ["describe"]:
        sys.stdout.write(json.dumps(plugins.description()) + "\n")
        sys.stdout.flush()
        return 0
    # An interrupt before the host has connected ends the program, and nothing needs to be told.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        asked = _asked(plugins, os.path.basename(argv[0]), words)
        _require_cookie(os.path.basename(argv[0]))
        return _serve(plugins, asked, os.path.basename(argv[0]))
    except _CannotStart as error:
        sys.stderr.write(f"{error}\n")
        return 1


def _asked(plugins: PluginSet, file: str, words: list[str]) -> _Asked:
    if words[:1] == ["start"]:
        rest = [word for word in words[1:] if word != _PROTOBUF]
        if len(rest) != 2:
            raise _CannotStart(f"{file} start takes a kind and the name of a component")
        kind, name = rest
        if kind not in KINDS:
            raise _CannotStart(f"there is no kind {kind!r} of component: {', '.join(KINDS)}")
        if name not in plugins.places(kind):
            known = ", ".join(sorted(plugins.places(kind))) or "none"
            raise _CannotStart(f"{file} has no {kind} {name!r}; it has {known}")
        return _Asked(kind, name, _PROTOBUF in words)
    if words:
        raise _CannotStart(_usage(plugins, file))
    kind_of_file = _OLD_FILE.fullmatch(file.removesuffix(".exe"))
    every = [(kind, name) for kind in KINDS for name in plugins.places(kind)]
    if kind_of_file is not None:
        kind, name = kind_of_file.groups()
        names = plugins.places(kind)
        for one in (name, DEFAULT_COMPONENT, *(names if len(names) == 1 else ())):
            if one in names:
                return _Asked(kind, one)
        raise _CannotStart(f"{file} has no {kind} {name!r}")
    if len(every) == 1:
        return _Asked(*every[0])
    raise _CannotStart(_usage(plugins, file))


def _usage(plugins: PluginSet, file: str) -> str:
    listed = [
        f"  {kind} {name}" for kind in KINDS for name in sorted(plugins.places(kind))
    ]  # fmt: skip
    return "\n".join([
        f"{file} is a plugin for Packer and goldsmith, which start it:",
        f"  {file} describe            say what it has",
        f"  {file} start KIND NAME     serve a component",
        "It has:", *listed,
    ])  # fmt: skip


def _require_cookie(file: str) -> None:
    from goldsmith.plugin.wire.handshake import is_cookie_right

    if not is_cookie_right(os.environ):
        raise _CannotStart(
            f"{file} is a plugin: Packer or goldsmith starts it, people do not.\n"
            f'Put it where they look for plugins ("goldsmith plugins install -path {file} SOURCE") '
            f'and name it in a template. "{file} describe" says what it has.'
        )


def _serve(plugins: PluginSet, asked: _Asked, file: str) -> int:
    import logging

    from goldsmith.plugin.services.connection import serve_component
    from goldsmith.plugin.wire.handshake import (
        DEFAULT_MAX_PORT,
        DEFAULT_MIN_PORT,
        MAX_PORT_KEY,
        MIN_PORT_KEY,
        Listener,
    )

    logging.basicConfig(level=logging.INFO, format="[%(levelname)s] %(message)s")
    first_line = _own_standard_output()
    component = _component(plugins, asked)
    least, most = _port(MIN_PORT_KEY, DEFAULT_MIN_PORT), _port(MAX_PORT_KEY, DEFAULT_MAX_PORT)
    with Listener.open(min_port=least, max_port=most) as listener:
        minor = 0 if _has_four_fields(plugins, asked, file) else None
        os.write(first_line, f"{listener.handshake(minor).line()}\n".encode())
        os.close(first_line)
        connection = listener.accept(CONNECT_WITHIN_S)
    # An interrupt reaches the whole process group: the host decides what it means for us.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    with _own_programs():
        serve_component(
            connection, component, kind=asked.kind, protobuf=asked.protobuf,
            gob_nested_name=_nested_name(component, asked, minor), log=_log,
        )  # fmt: skip
    return 0


class _Groups:
    """The process groups that live at present (see `process.GroupObserver`)."""

    def __init__(self) -> None:
        self.living: set[int] = set()

    def started(self, pgid: int) -> None:
        """It lives now."""
        self.living.add(pgid)

    def ended(self, pgid: int) -> None:
        """It was ended."""
        self.living.discard(pgid)


@contextmanager
def _own_programs() -> Iterator[None]:
    """Kill at the end what a component has started on this host: its own session hides it."""
    from goldsmith.host import process

    groups = _Groups()
    forget = process.observe_groups(groups)
    try:
        yield
    finally:
        forget()
        for pgid in list(groups.living):
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(pgid, signal.SIGKILL)


def _log(text: str) -> None:
    """Standard error is the log of a plugin."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def _nested_name(component: Any, asked: _Asked, minor: int | None) -> str:
    """What the host calls the schema of a nested block; it panics on any other name.

    Debian builds Packer 1.6 with its libraries below its own name.
    """
    from goldsmith.plugin.authoring.served import ServedWithOptions
    from goldsmith.plugin.wire.hcl_spec import AttributeSpec
    from goldsmith.plugin.wire.hcl_spec_gob import OBJECT_SPEC, VENDORED_OBJECT_SPEC

    if minor is not None or asked.protobuf or not isinstance(component, ServedWithOptions):
        return OBJECT_SPEC
    entries = component.config_spec().entries.values()
    if all(isinstance(entry, AttributeSpec) for entry in entries):
        return OBJECT_SPEC
    return VENDORED_OBJECT_SPEC if _host_contains(VENDORED_OBJECT_SPEC) else OBJECT_SPEC


def _host_contains(text: str) -> bool:
    """Whether the program that started this one has a text in it."""
    import mmap

    package = text.rpartition(".")[0].encode()
    try:
        with open(f"/proc/{os.getppid()}/exe", "rb") as file:
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                return content.find(package) >= 0
    except (OSError, ValueError):
        return False


def _own_standard_output() -> int:
    """Give what stands for standard output to the protocol alone; returns its descriptor."""
    sys.stdout.flush()
    first_line = os.dup(1)
    os.set_inheritable(first_line, False)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    return first_line


def _port(name: str, default: int) -> int:
    given = os.environ.get(name, "")
    return int(given) if given.isdecimal() else default


def _has_four_fields(plugins: PluginSet, asked: _Asked, file: str) -> bool:
    """Whether the host is Packer 1.7 or later: nothing tells for sure, these are the signs."""
    if plugins.four_fields is not None:
        return plugins.four_fields
    of_later = asked.protobuf or asked.kind in ("datasource", *OF_GOLDSMITH_ONLY)
    return of_later or _NUMBERED_FILE.search(file) is not None


def _component(plugins: PluginSet, asked: _Asked) -> Any:
    """The component as the wire knows it, its module imported now."""
    from goldsmith.errors import GoldsmithError

    try:
        return plugins.plain_component(asked.kind, asked.name)
    except GoldsmithError as error:
        traceback.print_exception(error.__cause__)
        raise _CannotStart(f"{error}") from error
