"""What the pages of GitHub and GitLab show beside a job's log, written into the log itself.

GitHub reads workflow commands (`::error file=…,line=…::text`), GitLab sections that fold. The
log's own lines stay as they are, so that it reads the same everywhere.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence

from goldsmith.errors import Diagnostic, GoldsmithError, Severity, TemplateError


class Annotations:
    """Lines to print besides; none where nobody reads them."""

    def begin(self, builds: Sequence[str]) -> Iterator[str]:
        """Before the first line of these builds."""
        yield from ()

    def end(self) -> Iterator[str]:
        """After their last line."""
        yield from ()

    def failed(self, build: str, error: GoldsmithError) -> Iterator[str]:
        """A build failed."""
        yield from ()

    def found(self, diagnostics: Sequence[Diagnostic]) -> Iterator[str]:
        """Findings about a template."""
        yield from ()

    def stopped(self, error: GoldsmithError) -> Iterator[str]:
        """An error ended the command."""
        yield from ()

    def harmless(self, text: str) -> str:
        """A text of somebody else, so that nothing in it is taken for a command."""
        return text


class GithubAnnotations(Annotations):
    """Workflow commands; files are named as in the repository."""

    def __init__(self, workspace: str) -> None:
        self._workspace = workspace

    def failed(self, build: str, error: GoldsmithError) -> Iterator[str]:
        """An error without a place, with its remedy."""
        text = f"{error}\n{error.hint}" if error.hint else str(error)
        yield _command("error", text, title=f"Build {build} failed")

    def found(self, diagnostics: Sequence[Diagnostic]) -> Iterator[str]:
        """An error or a warning at each place."""
        for one in diagnostics:
            kind = "error" if one.severity is Severity.ERROR else "warning"
            yield _command(kind, one.detail or one.summary, **self._place(one), title=one.summary)

    def stopped(self, error: GoldsmithError) -> Iterator[str]:
        """The findings of a template, or one error without a place."""
        if isinstance(error, TemplateError):
            yield from self.found(error.diagnostics)
        else:
            text = f"{error}\n{error.hint}" if error.hint else str(error)
            yield _command("error", text, title="goldsmith")

    def harmless(self, text: str) -> str:
        """The text with no line that begins as a command does."""
        return re.sub(r"^([ \t]*)(::|##\[)", r"\1\\\2", text, flags=re.MULTILINE)

    def _place(self, found: Diagnostic) -> dict[str, str]:
        where = found.range
        if where is None:
            return {}
        path = os.path.abspath(where.filename)
        if self._workspace and path.startswith(f"{self._workspace}/"):
            path = os.path.relpath(path, self._workspace)
        return {"file": path, "line": str(where.start.line), "col": str(where.start.column)}


def _command(kind: str, text: str, **properties: str) -> str:
    """A workflow command; what ends lines and properties is escaped as GitHub wants it."""
    given = ",".join(
        f"{name}={_escaped(value).replace(':', '%3A').replace(',', '%2C')}"
        for name, value in properties.items()
    )
    return f"::{kind}{' ' if given else ''}{given}::{_escaped(text)}"


def _escaped(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


class GitlabAnnotations(Annotations):
    """A section that folds around the lines of the builds, above the summary."""

    def __init__(self) -> None:
        self._name = ""

    def begin(self, builds: Sequence[str]) -> Iterator[str]:
        """The section's header."""
        if builds:
            self._name = f"goldsmith_{time.time_ns()}"
            title = builds[0] if len(builds) == 1 else f"{len(builds)} builds"
            yield _section("start", self._name, f"goldsmith: {title}")

    def end(self) -> Iterator[str]:
        """The section's end, once."""
        if self._name:
            name, self._name = self._name, ""
            yield _section("end", name, "")


def _section(what: str, name: str, header: str) -> str:
    return f"\x1b[0Ksection_{what}:{int(time.time())}:{name}\r\x1b[0K{header}"


def annotations_for(environment: Mapping[str, str]) -> Annotations:
    """What the service that runs this job reads, by the variables that it sets."""
    if environment.get("GITHUB_ACTIONS") == "true":
        return GithubAnnotations(environment.get("GITHUB_WORKSPACE", "").rstrip("/"))
    if environment.get("GITLAB_CI"):
        return GitlabAnnotations()
    return Annotations()
