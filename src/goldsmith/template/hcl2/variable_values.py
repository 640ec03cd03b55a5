"""Where the values of variables come from: environment, variable files and the command line.

Later ones win: default, `PKR_VAR_name`, automatic files of a directory (HCL, then JSON, by name),
`-var-file` in order, `-var` in order.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from goldsmith.core.options import did_you_mean
from goldsmith.errors import (
    Diagnostic,
    Diagnostics,
    GoldsmithError,
    Position,
    SourceRange,
    TemplateError,
)
from goldsmith.redact import MASK
from goldsmith.template.hcl2.ast import Expression, Variable
from goldsmith.template.hcl2.evaluator import evaluate
from goldsmith.template.hcl2.parser import parse_expression, parse_file
from goldsmith.template.hcl2.scope import constants_only
from goldsmith.template.hcl2.variables import Declaration
from goldsmith.values.convert import ConversionError
from goldsmith.values.json_form import decode
from goldsmith.values.types import (
    ANY,
    ListType,
    MapType,
    ObjectType,
    PrimitiveType,
    SetType,
    TupleType,
    Type,
)
from goldsmith.values.value import Value, string, unknown
from goldsmith.values.world import World

ENVIRONMENT_PREFIX = "PKR_VAR_"
UNDECLARED_SUMMARY = "Undefined variable"
"""The warning for a value of a variable file that no variable takes."""
_FORMS: Mapping[type[Type], str] = {
    ListType: """a list as '["a", "b"]'""", SetType: """a set as '["a", "b"]'""",
    TupleType: """a tuple as '["a", 1]'""", MapType: """a map as '{ a = "b" }'""",
    ObjectType: """an object as '{ a = "b" }'""",
}  # fmt: skip
"""How values that are no plain text are written on a command line, quoted for a shell."""
UNSET_SUMMARY = "Unset variable"
"""How the error about a variable without a value begins."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """What the user gave: `-var` pairs, `-var-file` paths, the directory of automatic files."""

    command_line: Sequence[tuple[str, str]] = ()
    files: Sequence[str] = ()
    directory: str | None = None


@dataclass(frozen=True, slots=True)
class Assigned:
    """The value of every variable, and everything sensitive: what was given and refused too."""

    values: dict[str, Value]
    secrets: list[Value]


def assign(
    declarations: Mapping[str, Declaration],
    inputs: Inputs,
    world: World,
    found: Diagnostics,
    sources: dict[str, str],
) -> Assigned:
    """The final value of every declared variable; a variable with findings is unknown.

    Texts that values came from are added to `sources`, for the lines that errors show; in them
    and in the templates there the values of sensitive variables are blanked.
    """
    for declaration in declarations.values():
        if declaration.sensitive and (where := declaration.default_range):
            sources[where.filename] = _blanked(sources.get(where.filename, ""), [where])
    assignment = _Assignment(declarations, world, found, sources)
    assignment.from_environment()
    for file in _automatic_files(inputs.directory, world):
        assignment.from_file(file, automatic=True)
    for file in inputs.files:
        assignment.from_file(file)
    for name, text in inputs.command_line:
        assignment.from_command_line(name, text)
    return assignment.finished()


def _automatic_files(directory: str | None, world: World) -> list[str]:
    if directory is None:
        return []
    names = world.list_directory(directory)
    return [
        os.path.normpath(os.path.join(directory, name))
        for ending in (".auto.pkrvars.hcl", ".auto.pkrvars.json")
        for name in names
        if name.endswith(ending)
    ]


@dataclass(slots=True)
class _Assignment:
    declarations: Mapping[str, Declaration]
    world: World
    found: Diagnostics
    sources: dict[str, str]
    values: dict[str, Value] = field(default_factory=dict)
    broken: set[str] = field(default_factory=set)
    secrets: list[Value] = field(default_factory=list)

    def finished(self) -> Assigned:
        for name, declaration in self.declarations.items():
            if declaration.broken or name in self.broken:
                self.values[name] = unknown(ANY)
            elif name not in self.values and declaration.default is not None:
                self.values[name] = declaration.default
            elif name not in self.values:
                self._unset(declaration)
                self.values[name] = unknown(ANY)
            if declaration.sensitive:
                self.secrets += [self.values[name], declaration.default or unknown()]
        return Assigned(self.values, self.secrets)

    def _unset(self, declaration: Declaration) -> None:
        name = declaration.name
        detail = (
            f"A variable must have a value or a default: pass -var '{name}=…', set "
            f"{ENVIRONMENT_PREFIX}{name}, name it in a variable file, or give it a default."
        )
        subject = f'variable "{name}"'
        self.found.error(f'{UNSET_SUMMARY} "{name}"', detail, declaration.range, subject)

    def from_environment(self) -> None:
        for variable in self.world.env_names(ENVIRONMENT_PREFIX):
            declaration = self.declarations.get(variable.removeprefix(ENVIRONMENT_PREFIX))
            text = self.world.env(variable)
            if declaration is not None and text is not None:
                self._from_text(declaration, text, f"<environment {variable}>", variable)

    def from_command_line(self, name: str, text: str) -> None:
        declaration = self.declarations.get(name)
        filename = f"<-var {name}>"
        if declaration is not None:
            self._from_text(declaration, text, filename, name)
            return
        # The value may be a secret whose name was mistyped: it is not shown.
        self.sources[filename] = f"{name}=…"
        detail = (
            f'A "{name}" variable was passed on the command line, but the template declares none '
            f'of this name: add the block variable "{name}" {{ … }}.'
        )
        detail += did_you_mean(name, self.declarations)
        where = _stretch(filename, 0, len(name))
        self.found.error("Undefined -var variable", detail, where)

    def _from_text(
        self, declaration: Declaration, text: str, filename: str, shown_name: str
    ) -> None:
        """Take a text: as it is for plain types, as an expression for the others."""
        start = len(shown_name) + 1
        visible = "<sensitive>" if declaration.sensitive else text
        self.sources[filename] = f"{shown_name}={visible}"
        where = _stretch(filename, start, start + max(1, len(visible.split("\n")[0])))
        if isinstance(declaration.type, PrimitiveType) or declaration.type == ANY:
            self._take(declaration, string(text).at(where), where)
            return
        position = Position(1, start + 1, len(shown_name.encode()) + 1)
        expression, findings = parse_expression(text, filename, position)
        if expression is None:
            self._refused(declaration, findings, where)
            return
        if isinstance(expression, Variable):
            # Somebody wrote a text without quotes, or a shell took them away.
            self._take(declaration, string(text).at(where), where)
            return
        self._evaluated(declaration, expression, "the value of a variable")

    def _evaluated(self, declaration: Declaration, expression: Expression, place: str) -> None:
        try:
            value = evaluate(expression, constants_only(self.world, place))
        except TemplateError as error:
            self._refused(declaration, error.diagnostics, expression.range)
            return
        self._take(declaration, value, value.range)

    def _refused(
        self, declaration: Declaration, findings: Iterable[Diagnostic], where: SourceRange
    ) -> None:
        """Report what is wrong with a value; of a sensitive one only that something is."""
        name = declaration.name
        self.broken.add(name)
        if not declaration.sensitive:
            self.found.extend(findings)
            return
        detail = f'What was given for variable "{name}" is no value; it is sensitive, so not shown.'
        self.found.error("Invalid value for variable", detail, where, f'variable "{name}"')

    def _take(self, declaration: Declaration, value: Value, where: SourceRange | None) -> None:
        name = declaration.name
        if declaration.sensitive:
            self.secrets.append(value)
        try:
            self.values[name] = declaration.fit(value)
            self.broken.discard(name)
        except ConversionError as error:
            detail = f'The value given for variable "{name}" is not suitable: {error.message}.'
            if isinstance(value.raw, str) and (form := _FORMS.get(type(declaration.type))):
                detail += f" Write {form}."
            self.found.error("Invalid value for variable", detail, where, f'variable "{name}"')
            self.broken.add(name)

    def from_file(self, path: str, *, automatic: bool = False) -> None:
        if not path.endswith((".hcl", ".json")):
            summary = f"Could not guess format of {path}"
            detail = "The name of a variable file must end in .hcl or .json."
            if self.world.path_kind(path) == "none":
                summary, detail = "Cannot read variable file", f"There is no {path}. {detail}"
            self._file_error(summary, detail, path)
            return
        # A pipe that was not named by the user would be read until somebody writes to it.
        if automatic and self.world.path_kind(path) != "file":
            detail = f"{path} is not a file with content."
            self._file_error("Cannot read variable file", detail, path)
            return
        try:
            text = self.world.read_file(path).decode("utf-8")
        except OSError as error:
            detail = f"{path}: {error.strerror or error}."
            self._file_error("Cannot read variable file", detail, path)
            return
        except UnicodeDecodeError:
            self._file_error("Invalid character encoding", f"{path} is not UTF-8 text.", path)
            return
        self.sources[path] = text
        if path.endswith(".json"):
            self._json_file(path, text)
        else:
            self._hcl_file(path, text)

    def _file_error(self, summary: str, detail: str, path: str) -> None:
        # No line of a file that is wrong as a whole is shown: it may hold any secret.
        self.sources[path] = ""
        self.found.error(summary, detail, _stretch(path, 0, 0))

    def _hcl_file(self, path: str, text: str) -> None:
        parsed = parse_file(text, path)
        self.found.extend(parsed.diagnostics)
        secret = {name for name, one in self.declarations.items() if one.sensitive}
        if parsed.diagnostics:
            self.sources[path] = _without_values(text, secret, self.declarations)
        else:
            # A name that no variable has may be the misspelled one of a sensitive variable.
            places = [
                one.expression.range
                for name, one in parsed.body.attributes.items()
                if name in secret or name not in self.declarations
            ]
            self.sources[path] = _blanked(text, places)
        for block in parsed.body.blocks:
            detail = f'"{block.type}" is a block: a variable file has only arguments, name = value.'
            self.found.error("Unexpected block", detail, block.range)
        for name, attribute in parsed.body.attributes.items():
            declaration = self.declarations.get(name)
            if declaration is None:
                self._undeclared(name, path, attribute.name_range)
                continue
            self._evaluated(declaration, attribute.expression, "a variable file")

    def _json_file(self, path: str, text: str) -> None:
        try:
            content = decode(text)
        except GoldsmithError as error:
            self._file_error("Invalid JSON", f"{path}: {error.message}.", path)
            return
        if not isinstance(content.raw, dict):
            detail = f"{path} must contain an object: a value for each variable by its name."
            self._file_error("Invalid variable file", detail, path)
            return
        for name, value in content.raw.items():
            where = _json_key(path, text, name)
            declaration = self.declarations.get(name)
            if declaration is None:
                self._undeclared(name, path, where)
            else:
                self._take(declaration, value.at(where), where)
                if declaration.sensitive and name in self.broken:
                    rest = SourceRange(path, where.end, where.end)
                    found = where.start != where.end
                    self.sources[path] = _blanked(self.sources[path], [rest]) if found else ""

    def _undeclared(self, name: str, path: str, where: SourceRange) -> None:
        detail = (
            f'The variable file {path} gives a value for "{name}", but the template declares no '
            f'variable "{name}".'
        )
        self.found.warn(UNDECLARED_SUMMARY, detail + did_you_mean(name, self.declarations), where)


def _blanked(text: str, places: Iterable[SourceRange]) -> str:
    """The text without what stands at these places; lines and columns before them stay.

    What follows on the same line goes too.
    """
    lines = text.split("\n")
    for place in places:
        first = place.start.line - 1
        # The end of a heredoc is the beginning of the line after it.
        end = place.end.line - (place.end.column == 1)
        lines[first] = lines[first][: place.start.column - 1] + MASK
        lines[first + 1 : end] = [""] * (end - first - 1)
    return "\n".join(lines)


_ASSIGNMENT = re.compile(r"""(\s*)"?([\w-]+)"?\s*[=:]""")


def _without_values(text: str, secret: set[str], declared: Iterable[str]) -> str:
    """The text of a file that cannot be parsed, without the values of these variables.

    Where such a value ends is not known: the next variable that stands no deeper ends it.
    """
    names, shown = set(declared), []
    depth: int | None = None
    for line in text.split("\n"):
        match = _ASSIGNMENT.match(line)
        if match and match[2] in names and (depth is None or len(match[1]) <= depth):
            depth = len(match[1]) if match[2] in secret else None
            shown.append(match[0] + " " + MASK if depth is not None else line)
        else:
            shown.append(line if depth is None else "")
    return "\n".join(shown)


def _stretch(filename: str, start: int, end: int) -> SourceRange:
    """A stretch of the first line, by characters counted from 0."""
    return SourceRange(filename, Position(1, start + 1, start), Position(1, end + 1, end))


def _json_key(path: str, text: str, name: str) -> SourceRange:
    """Where a JSON file names a variable; its beginning when the name is written with escapes."""
    match = re.search(rf'"{re.escape(name)}"\s*:', text)
    if match is None:
        return _stretch(path, 0, 0)
    before = text[: match.start()]
    line = before.count("\n") + 1
    column = match.start() - (before.rfind("\n") + 1) + 1
    length = len(name) + 2
    start = Position(line, column, len(before.encode()))
    end = Position(line, column + length, start.byte + len(name.encode()) + 2)
    return SourceRange(path, start, end)
