"""Loads the command line of `disk-image-create` as a template: one build, nothing to evaluate.

So whatever takes a template takes such a command line too, written as one word; a worker, which
loads its template again, gets the same variables of the environment as the command did.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence

from goldsmith.core.build import Template
from goldsmith.elements.secret_variables import secret_values
from goldsmith.errors import GoldsmithError
from goldsmith.template.dib.build import options_of, template_of
from goldsmith.template.dib.request import ImageRequest, RequestError, read_request
from goldsmith.values.world import World


def load(
    path: str,
    *,
    variables: Sequence[tuple[str, str]] = (),
    variable_files: Sequence[str] = (),
    world: World,
) -> Template:
    """The build of a command line; raises GoldsmithError with every finding."""
    if variables or variable_files:
        raise GoldsmithError(
            "a command line has no variables", hint="set variables of the environment instead"
        )
    program, *words = _words(path)
    environment = _environment(world)
    try:
        request, wrong = requested(program, words, environment), None
    except RequestError as e:
        wrong = e.each()
        if e.partial is None:
            raise wrong from e
        request = e.partial
    if request.clear_environment:
        environment = {}
    options = options_of(request, environment, " ".join(words))
    if request.breaks.words:
        options["terminal"] = world.outside("terminal", _terminal)
    secrets = frozenset(secret_values(environment))
    template = template_of(request.name, path, options, secrets=secrets)
    if wrong is not None:
        wrong.partial = template
        raise wrong
    return template


def check_syntax(
    path: str,
    *,
    variables: Sequence[tuple[str, str]] = (),
    variable_files: Sequence[str] = (),
    world: World,
) -> None:
    """Read the words; raises GoldsmithError."""
    program, *words = _words(path)
    requested(program, words, _environment(world))


def requested(program: str, words: Sequence[str], environment: Mapping[str, str]) -> ImageRequest:
    """The image that the words of a program ask for; raises GoldsmithError."""
    asked = read_request(words, environment, ramdisk=program == "ramdisk-image-create")
    if asked.request is None:
        raise GoldsmithError("--help and --version ask for no image")
    return asked.request


def _words(path: str) -> list[str]:
    try:
        return shlex.split(path)
    except ValueError as e:
        raise GoldsmithError(f"{path}: {e}", hint="quote words as a shell asks for it") from e


def _terminal() -> str:
    """The terminal that the command is used from, "" for none."""
    return os.ttyname(0) if os.isatty(0) else ""


def _environment(world: World) -> dict[str, str]:
    given = {name: world.env(name) for name in world.env_names("")}
    return {name: value for name, value in given.items() if value is not None}
