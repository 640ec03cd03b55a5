"""What is wrong with the files of an element: the checks of upstream's dib-lint, and their remedy.

The names of checks are upstream's, so that `# dib-lint: disable=NAME …` in a file and `ignore` of
the section `dib-lint` in `tox.ini` leave out the same ones. Source: `specs/diskimage-builder.md`,
A17; dib-lint of 3.43.0, whose flake8 is not run here: a Python file has to compile.
"""

from __future__ import annotations

import configparser
import json
import re
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import yaml

_OUTSIDE = re.compile(r"(root|extra-data|block-device|finalise|cleanup)\.d")
_SAFE_SUDO = re.compile(
    r"dib-lint: safe_sudo|^#|install-packages|TARGET_ROOT|IMAGE_BLOCK_DEVICE|TMP_MOUNT_PATH"
    r"|TMP_IMAGE_PATH"
)
_ODD_INDENT = re.compile(r"^( {4})* {1,3}[^ ]")
_TAB = re.compile(r"^ *\t")
_HIDING_EXPORT = re.compile(r"export .*\$\(")
_DISABLE = "# dib-lint: disable="


@dataclass(frozen=True, slots=True)
class LintFinding:
    """Something that a check found in a file; `line` is 0 where the whole file is meant."""

    check: str
    path: Path
    line: int
    text: str
    fix: Callable[[], None] | None = None
    """Mends it on the disk; None where only its author can."""

    def __str__(self) -> str:
        place = f"{self.path}:{self.line}" if self.line else str(self.path)
        return f"{place}: {self.text} [{self.check}]"


@dataclass(frozen=True, slots=True)
class _File:
    """A file of an element as the checks see it."""

    path: Path
    content: bytes
    text: str
    executable: bool
    element: Path

    @property
    def first_line(self) -> str:
        return self.text.partition("\n")[0]

    @property
    def lines(self) -> list[str]:
        return self.text.splitlines()

    @property
    def is_python(self) -> bool:
        return self.path.suffix == ".py" or "python" in self.first_line

    @property
    def is_snippet(self) -> bool:
        return "environment.d" in self.path.parts


Check = Callable[[_File], Iterator[LintFinding]]


def lint(element: Path, ignored: frozenset[str] = frozenset()) -> list[LintFinding]:
    """Check every file of an element; findings in the order of the files, then of the checks."""
    found: list[LintFinding] = []
    if not (element / "README.rst").is_file() and "readme" not in ignored:
        found.append(LintFinding("readme", element, 0, "it has no README.rst"))
    for path in sorted(element.rglob("*")):
        if path.is_symlink() or not path.is_file() or "__pycache__" in path.parts:
            continue
        if path.suffix == ".pyc":
            continue
        file = _read(path, element)
        left_out = ignored | _disabled(file)
        for check in _checks_of(file):
            found += [one for one in check(file) if one.check not in left_out]
    return found


def ignored_by(directory: Path) -> frozenset[str]:
    """The checks that `tox.ini` of a directory leaves out; none where it cannot be read."""
    parser = configparser.ConfigParser()
    try:
        parser.read(directory / "tox.ini")
    except (configparser.Error, UnicodeDecodeError):
        return frozenset()
    return frozenset(parser.get("dib-lint", "ignore", fallback="").split())


def _read(path: Path, element: Path) -> _File:
    content = path.read_bytes()
    executable = bool(path.stat().st_mode & stat.S_IXUSR)
    return _File(path, content, content.decode(errors="replace"), executable, element)


def _disabled(file: _File) -> frozenset[str]:
    named = [line.removeprefix(_DISABLE) for line in file.lines if line.startswith(_DISABLE)]
    return frozenset(" ".join(named).split())


def _checks_of(file: _File) -> Iterator[Check]:
    """The checks that look at a file of this kind."""
    if file.path.suffix == ".md":
        yield _md_docs
    if file.path.suffix in (".yaml", ".yml"):
        yield _yaml
        return
    if file.path.suffix == ".rst" or file.executable:
        yield from (_tabs, _final_newline)
    if file.path.suffix in (".rst", ".py"):
        return
    if file.path.name.startswith("source-repository-") and not file.executable:
        yield _final_newline
    if file.path.name == "pkg-map" and not file.executable:
        yield _pkg_map
    if file.path.name == "element-deps":
        yield _sorted_deps
    yield from (_executable, _indent, _python, _bash_line, _bash_settings, _snippets, _exports)
    yield from (_sudo, _which)


def _found(
    file: _File, check: str, text: str, line: int = 0, fix: Callable[[], None] | None = None
) -> LintFinding:
    return LintFinding(check, file.path, line, text, fix)


def _matching(file: _File, pattern: re.Pattern[str]) -> Iterator[int]:
    return (number for number, line in enumerate(file.lines, 1) if pattern.search(line))


def _commands(file: _File) -> Iterator[tuple[int, str]]:
    """The lines, each with those that go on with it after a backslash, and its number."""
    begun, text = 0, ""
    for number, line in enumerate(file.lines, 1):
        begun = begun or number
        if line.endswith("\\"):
            text += line.removesuffix("\\")
            continue
        yield begun, text + line
        begun, text = 0, ""
    if text:
        yield begun, text


def _md_docs(file: _File) -> Iterator[LintFinding]:
    yield _found(file, "mddocs", "documentation is written in reStructuredText (.rst)")


def _yaml(file: _File) -> Iterator[LintFinding]:
    try:
        list(yaml.safe_load_all(file.text))
    except yaml.YAMLError as e:
        mark = getattr(e, "problem_mark", None)
        told = getattr(e, "problem", None) or str(e)
        yield _found(file, "yaml", f"it is no valid YAML: {told}", mark.line + 1 if mark else 0)


def _pkg_map(file: _File) -> Iterator[LintFinding]:
    try:
        json.loads(file.text)
    except ValueError as e:
        yield _found(file, "json", f"it is no valid JSON: {e}", getattr(e, "lineno", 0))


def _tabs(file: _File) -> Iterator[LintFinding]:
    for line in _matching(file, _TAB):
        yield _found(file, "tabindent", "it is indented by a tab", line)


def _final_newline(file: _File) -> Iterator[LintFinding]:
    def fix() -> None:
        file.path.write_bytes(file.path.read_bytes() + b"\n")

    if file.content and not file.content.endswith(b"\n"):
        yield _found(file, "newline", "the last line does not end", len(file.lines), fix)


def _sorted_deps(file: _File) -> Iterator[LintFinding]:
    names = [line for line in file.lines if line and not line.startswith("#")]

    def fix() -> None:
        file.path.write_text("".join(f"{line}\n" for line in sorted(names)))

    if names != sorted(names):
        commented = len(names) != len([line for line in file.lines if line])
        yield _found(
            file, "sorted", "the elements are not in alphabetical order", 0,
            None if commented else fix,
        )  # fmt: skip


def _executable(file: _File) -> Iterator[LintFinding]:
    def fix() -> None:
        # Who may read it may run it.
        mode = stat.S_IMODE(file.path.stat().st_mode)
        file.path.chmod(mode | (mode & 0o444) >> 2)

    if file.first_line.startswith("#!") and not file.executable and not file.is_snippet:
        yield _found(file, "executable", "it begins with #! and is not executable", 1, fix)


def _indent(file: _File) -> Iterator[LintFinding]:
    if file.first_line.startswith("#!") and not file.is_python:
        for line in _matching(file, _ODD_INDENT):
            yield _found(file, "indent", "it is not indented by a multiple of 4 spaces", line)


def _python(file: _File) -> Iterator[LintFinding]:
    if not file.first_line.startswith("#!") or "python" not in file.first_line:
        return
    try:
        compile(file.text, str(file.path), "exec", dont_inherit=True)
    except (SyntaxError, ValueError) as e:
        told = getattr(e, "msg", str(e))
        yield _found(file, "python", f"Python cannot read it: {told}", getattr(e, "lineno", 0) or 0)


def _bash_line(file: _File) -> Iterator[LintFinding]:
    def fix() -> None:
        rest = file.path.read_bytes().partition(b"\n")[2]
        file.path.write_bytes(b"#!/bin/bash\n" + rest)

    if re.match(r"#!.*bash", file.first_line) and file.first_line != "#!/bin/bash":
        only_path = re.fullmatch(r"#!\s*(/usr)?/bin/(env\s+)?bash\s*", file.first_line)
        yield _found(
            file, "shebang", "scripts begin with #!/bin/bash", 1, fix if only_path else None
        )


_SETTINGS: Final = (
    ("sete", re.compile(r"^set -[^ \n]*e", re.M), "it does not end at the first error: set -e"),
    ("setu", re.compile(r"^set -[^ \n]*u", re.M), "it takes unset variables as empty: set -u"),
    ("setpipefail", re.compile(r"^set -o pipefail", re.M),
     "errors inside a pipe are lost: set -o pipefail"),
    ("dibdebugtrace", re.compile(r"DIB_DEBUG_TRACE"),
     'it cannot be traced: [ "${DIB_DEBUG_TRACE:-0}" -gt 0 ] && set -x'),
)  # fmt: skip


def _bash_settings(file: _File) -> Iterator[LintFinding]:
    if "#!/bin/bash" in file.first_line:
        for check, pattern, text in _SETTINGS:
            if not pattern.search(file.text):
                yield _found(file, check, text)


def _snippets(file: _File) -> Iterator[LintFinding]:
    def fix() -> None:
        file.path.chmod(stat.S_IMODE(file.path.stat().st_mode) & ~0o111)

    if not file.is_snippet:
        return
    for line in _matching(file, re.compile(r"set -x")):
        yield _found(file, "trace", "tracing is set around snippets, not in them", line)
    if file.executable:
        yield _found(file, "snippet", "it is sourced, and must not be executable", 0, fix)


def _exports(file: _File) -> Iterator[LintFinding]:
    for line in _matching(file, _HIDING_EXPORT):
        yield _found(
            file, "export", "export hides the failure of $(…): assign first, then export", line
        )


def _sudo(file: _File) -> Iterator[LintFinding]:
    if not _OUTSIDE.search(str(file.path.parent)):
        return
    for number, line in _commands(file):
        if "sudo " in line and not _SAFE_SUDO.search(line.strip()):
            yield _found(
                file, "safe_sudo", "sudo on the host, without a path of the image in the line",
                number,
            )  # fmt: skip


def _which(file: _File) -> Iterator[LintFinding]:
    for number, line in _commands(file):
        if "which " in line and not re.search(r"dib-lint: which|^#", line.strip()):
            yield _found(file, "which", "which is not everywhere: type -p, or command -v", number)
