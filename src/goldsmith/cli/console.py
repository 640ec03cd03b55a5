"""`goldsmith console`: expressions, or Go templates, answered line by line."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Protocol

from goldsmith.cli.flags import Flag, FlagError, Flags, describe, read_flags
from goldsmith.cli.inspect import values_text
from goldsmith.cli.templates import (
    TEMPLATE_FLAGS,
    language_of,
    optional_template,
    variable_pairs,
)
from goldsmith.errors import GoldsmithError, Position, TemplateError
from goldsmith.gotemplate.quoting import quote
from goldsmith.redact import Redactor
from goldsmith.template.hcl2.display import display
from goldsmith.template.hcl2.evaluator import evaluate_text
from goldsmith.template.hcl2.loader import load_overview, load_scope
from goldsmith.template.hcl2.overview import Overview
from goldsmith.template.hcl2.scope import PACKER_VERSION, Scope
from goldsmith.template.legacy_json.console import JsonSession, open_session
from goldsmith.template.load import STANDARD_INPUT, is_hcl2
from goldsmith.ui.diagnostics import render_error
from goldsmith.ui.terminal import wants_color, write_line
from goldsmith.values.types import STRING
from goldsmith.values.value import Value, object_of, string, unknown
from goldsmith.values.world import LiveWorld

FLAGS = {
    **TEMPLATE_FLAGS,
    "config-type": Flag("text", "the language without a template: json (default) or hcl2"),
}
USAGE = "Usage: goldsmith console [options] [TEMPLATE]"
INPUT_NAME = "<console-input>"
_HELP = """\
Each line is answered by its value. Besides there are the words
  variables   the variables, and in HCL2 the locals
  help        this text
  exit        the end, as Ctrl-C and Ctrl-D"""


class _Session(Protocol):
    """One language's side of the console; both raise GoldsmithError."""

    def answer(self, line: str, number: int) -> str:
        """The text to show for a line."""

    def variables(self) -> str:
        """The list of the variables."""


def run(words: list[str], machine_readable: bool) -> int:
    """Answer lines; 1 when the template cannot be read or an expression was wrong."""
    usage = f"{USAGE}\n\n{describe(FLAGS)}"
    if words[:1] in (["-help"], ["--help"], ["-h"]):
        write_line(usage)
        return 0
    try:
        flags = read_flags(FLAGS, words)
        session, strict = _open(flags)
    except FlagError as e:
        write_line(f"{usage}\n\n{e}")
        return 1
    except GoldsmithError as e:
        _show(e)
        return 1
    lines = _typed() if sys.stdin.isatty() else _piped()
    failed = _converse(session, lines, last_only=not sys.stdin.isatty())
    return 1 if failed and strict else 0


def _open(flags: Flags) -> tuple[_Session, bool]:
    """The session that the command line asks for, and whether wrong lines make status 1."""
    language, path = language_of(flags), optional_template(flags)
    path = None if path == STANDARD_INPUT else path
    given, files, world = variable_pairs(flags), flags.many("var-file"), LiveWorld()
    if is_hcl2(path, world) if path else language == "hcl2":
        if path is None:
            return _HclSession(Scope(world, _bare_names(world)), None), True
        scope = load_scope(path, variables=given, variable_files=files, world=world)
        overview = load_overview(path, variables=given, variable_files=files, world=world)
        return _HclSession(scope, overview), True
    json_session = open_session(path, variables=given, variable_files=files, world=world)
    if json_session.problem is not None:
        write_line(render_error(json_session.problem) + "\n", stream=sys.stderr)
    return _GoSession(json_session), False


def _converse(session: _Session, lines: Iterator[str], *, last_only: bool) -> bool:
    """Answer each line; with `last_only` only the last answer is shown. True if one was wrong."""
    failed, last = False, ""
    for number, line in enumerate(lines, 1):
        last = ""
        if line.strip() == "exit":
            if last_only:
                continue
            break
        try:
            last = _answer(session, line, number)
        except GoldsmithError as e:
            _show(e)
            failed = True
            continue
        if not last_only and last:
            write_line(last)
    if last_only and not (failed and not last):
        write_line(last)
    return failed


def _answer(session: _Session, line: str, number: int) -> str:
    words: dict[str, Callable[[], str]] = {"variables": session.variables, "help": lambda: _HELP}
    if not line.strip():
        return ""
    word = words.get(line.strip())
    return word() if word else session.answer(line.strip(), number)


def _piped() -> Iterator[str]:
    text = sys.stdin.buffer.read().decode("utf-8", "replace")
    yield from text.removesuffix("\n").split("\n") if text else []


def _typed() -> Iterator[str]:
    """Lines from the terminal, with history and editing where Python has readline."""
    try:
        import readline  # noqa: F401 (importing it is what turns editing on)
    except ImportError:
        write_line("(no history: this Python has no readline)", stream=sys.stderr)
    while True:
        try:
            yield input("> ")
        except (EOFError, KeyboardInterrupt):
            write_line("")
            return


def _show(error: GoldsmithError) -> None:
    write_line(render_error(error, color=wants_color(sys.stdout, None)))


def _bare_names(world: LiveWorld) -> dict[str, Value]:
    return {
        "var": object_of({}), "local": object_of({}),
        "path": object_of({"cwd": string(world.cwd()), "root": string(".")}),
        "packer": object_of({"version": string(PACKER_VERSION)}),
    }  # fmt: skip


class _HclSession:
    """Expressions of HCL2."""

    def __init__(self, scope: Scope, overview: Overview | None) -> None:
        names = {"source": object_of({"name": unknown(STRING)}), "build": object_of({})}
        self._scope = scope.child(names)
        self._overview = overview or Overview({}, {}, (), frozenset())
        self._redactor = Redactor(self._overview.secrets)

    def answer(self, line: str, number: int) -> str:
        """The value of an expression, masked where it is sensitive."""
        start = Position(number, 1, 0)
        try:
            value = evaluate_text(line, self._scope, INPUT_NAME, start)
        except TemplateError as e:
            # The excerpt of a finding is looked up by line.
            e.sources = {**e.sources, INPUT_NAME: "\n" * (number - 1) + line}
            self._redactor.error(e)
            raise
        return self._redactor.redact(display(value))

    def variables(self) -> str:
        """Variables and locals."""
        return values_text(self._overview, self._redactor)


class _GoSession:
    """Go templates of JSON templates."""

    def __init__(self, session: JsonSession) -> None:
        self._session = session
        self._redactor = Redactor(session.secrets)

    def answer(self, line: str, number: int) -> str:
        """The rendered line."""
        with self._redactor.errors():
            return self._redactor.redact(self._session.answer(line))

    def variables(self) -> str:
        """Names and values, sorted."""
        shown = sorted(self._session.variables.items())
        return "\n".join(f"{name}: {quote(self._redactor.redact(text))}" for name, text in shown)
