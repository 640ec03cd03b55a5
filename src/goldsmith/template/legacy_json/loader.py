"""Loading a JSON template: from file and variables to builds, all mistakes at once.

Order of work: file, syntax, outline, version, variables, builds. As in the other language, what is
wrong with one part does not hide what is wrong with another.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from goldsmith.core.build import Template
from goldsmith.errors import Diagnostic, Diagnostics, Position, SourceRange, TemplateError
from goldsmith.redact import Redactor
from goldsmith.template.hcl2.required_version import MalformedConstraint, satisfies
from goldsmith.template.hcl2.scope import PACKER_VERSION
from goldsmith.template.legacy_json.builds import BuildAssembly
from goldsmith.template.legacy_json.document import read_document
from goldsmith.template.legacy_json.outline import Outline, read_outline
from goldsmith.template.legacy_json.variables import VariableValues
from goldsmith.values.world import World

STANDARD_INPUT = "-"
_STDIN_FILE = "/dev/stdin"


def load(
    path: str,
    *,
    variables: Sequence[tuple[str, str]] = (),
    variable_files: Sequence[str] = (),
    world: World,
) -> Template:
    """Load a JSON template; "-" reads it from standard input.

    Raises TemplateError with every finding and the text of every file.
    """
    loading = Loading(path, world)
    with loading.all_findings():
        return loading.template(variables, variable_files)


def check_syntax(
    path: str,
    *,
    variables: Sequence[tuple[str, str]] = (),
    variable_files: Sequence[str] = (),
    world: World,
) -> None:
    """Read the template and look at its outline; raises TemplateError with every finding.

    Any value may be given to JSON templates, so none is looked at.
    """
    load_outline(path, world=world)


def load_outline(path: str, *, world: World) -> Outline:
    """The outline of a template that is sound as far as that goes; nothing is rendered.

    Raises TemplateError with every finding.
    """
    loading = Loading(path, world)
    with loading.all_findings():
        outline = loading.outline()
        loading.found.raise_if_errors(loading.sources)
        return outline


def least_outline() -> Outline:
    """What stands for a template where none is given: one null builder."""
    text = '{"builders": [{"type": "null"}]}'
    return read_outline(read_document(text, "", found=Diagnostics()), Diagnostics())


@dataclass(slots=True)
class Loading:
    """A template on its way; `found` and `sources` grow."""

    path: str
    world: World
    found: Diagnostics = field(default_factory=Diagnostics)
    sources: dict[str, str] = field(default_factory=dict)
    secrets: set[str] = field(default_factory=set)

    @contextmanager
    def all_findings(self) -> Iterator[None]:
        """Raise what is raised within as one error: each finding once, in order, with the texts.

        Secrets are redacted in both.
        """
        try:
            yield
        except TemplateError as error:
            files = list(self.sources)
            nowhere = SourceRange("", Position(0, 0, 0), Position(0, 0, 0))

            def place(where: SourceRange | None) -> tuple[int, Position]:
                at = where or nowhere
                number = files.index(at.filename) if at.filename in files else len(files)
                return number, at.start

            found = sorted(dict.fromkeys(error.diagnostics), key=lambda one: place(one.range))
            redactor = Redactor(self.secrets)
            shown = {path: redactor.blot(text) for path, text in self.sources.items()}
            raise TemplateError(redactor.findings(found), shown) from None

    def outline(self) -> Outline:
        """The outline of the document; raises TemplateError when it cannot be read."""
        text = read_text(self.path, self.world)
        self.sources[self.path] = text
        root = read_document(text, self.path, found=self.found)
        return read_outline(root, self.found)

    def variables(
        self, outline: Outline, pairs: Sequence[tuple[str, str]], files: Sequence[str]
    ) -> dict[str, str]:
        """The values of all variables; those declared sensitive are secrets from now on."""
        values = VariableValues(outline, self.path, self.world, self.found, self.sources)
        resolved = values.resolve(pairs, files)
        self.secrets |= values.secrets - {""}
        for name in outline.sensitive:
            given = values.given.get(name)
            self.secrets |= {resolved.get(name, ""), given.text if given else ""} - {""}
        return resolved

    def template(self, pairs: Sequence[tuple[str, str]], files: Sequence[str]) -> Template:
        """The template with its builds; raises TemplateError."""
        outline = self.outline()
        self._check_version(outline)
        broken = len(self.found.errors)
        if not outline.builders and not broken:
            detail = 'A template needs at least one builder: "builders": [{"type": …}].'
            self.found.error("No builders", detail, outline.range)
        values = self.variables(outline, pairs, files)
        builds = BuildAssembly(outline, values, self.path, self.world, self.found).builds()
        self.found.raise_if_errors(self.sources)
        redactor = Redactor(self.secrets)
        return Template(
            path=self.path,
            builds=tuple(builds),
            sources={path: redactor.blot(text) for path, text in self.sources.items()},
            warnings=tuple(redactor.findings(self.found.warnings)),
            secrets=redactor.secrets,
        )

    def _check_version(self, outline: Outline) -> None:
        node = outline.min_packer_version
        if node is None or not isinstance(node.content, str) or not node.content:
            return
        try:
            if satisfies(PACKER_VERSION, f">= {node.content}"):
                return
            summary = "Unsupported Packer version"
            detail = (
                f'The template needs version "{node.content}" or later; this is compatible with '
                f"{PACKER_VERSION}."
            )
        except MalformedConstraint:
            summary = "Invalid min_packer_version"
            detail = f'"{node.content}" is not a version such as "1.7.0".'
        self.found.error(summary, detail, node.range)


def read_text(path: str, world: World) -> str:
    """The text of a template, or of standard input; raises TemplateError when it cannot be read.

    Go's decoder replaces what is no UTF-8 in texts, and so do we everywhere.
    """
    file = _STDIN_FILE if path == STANDARD_INPUT else path
    problem = ""
    if path != STANDARD_INPUT and world.path_kind(file) != "file":
        problem = (
            "is not a file with content" if world.path_kind(file) != "none" else "is not there"
        )
    if not problem:
        try:
            return world.read_file(file).decode("utf-8", "replace")
        except OSError as error:
            problem = f"cannot be read: {error.strerror or error}"
    nowhere = SourceRange(path, Position(1, 1, 0), Position(1, 1, 0))
    raise TemplateError([Diagnostic("Cannot read template", f"{path} {problem}.", nowhere)])
