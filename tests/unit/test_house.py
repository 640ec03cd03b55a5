"""The rules of the house, held against every file: rooms, doors, sizes, names, words, modes.

Why they are as they are: docs/decisions/0001-rooms-and-imports.md.
"""

import ast
import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src/goldsmith"

ROOMS = {
    "errors": 0, "units": 0, "events": 0, "redact": 0,
    "values": 1, "gotemplate": 1, "host": 1,
    "disk": 2, "layers": 2, "packages": 2,
    "core": 3,
    "communicators": 4, "machine": 4, "cloud": 4,
    "elements": 5, "deploy": 5, "plugin": 5,
    "builders": 6, "provisioners": 6, "post_processors": 6, "datasources": 6,
    "template": 7,
    "ui": 8,
    "cli": 9,
}  # fmt: skip
# Rooms that share a line of the plan: the first may import from the second, never the reverse.
NEIGHBOURS = {("gotemplate", "values")}

LONGEST_FILE_LINES = 600
LONGEST_FUNCTION_LINES = 80
BANNED_WORDS = {"manager", "helper", "helpers", "util", "utils"}

# In pieces, so that this file does not contain what it looks for.
_TOP = r"\.(?:org|com|io|net)\b"
FOREIGN_PLACES = {
    "a registry's or mirror's host name": re.compile(
        r"\b(?:(?:py" r"pi|pythonho" r"sted|npm" r"js|docker|qu" r"ay|gh" r"cr|ubuntu|crates)"
        rf"{_TOP}|(?:de" r"b|f" r"tp|arch" r"ive|snap" r"shot|sec" rf"urity)\.debian{_TOP}"
        rf"|registry\.[a-z0-9.-]+{_TOP}|artifact" r"ory|pkg\." r"dev\b)",
        re.IGNORECASE,
    ),
    "an absolute path of a workplace": re.compile(
        r"(?<![\w.})\]>*-])/(?:wo" r"rk/|ro" r"ot/\.)"
    ),
}  # fmt: skip
TEXT_FOLDERS = ("src", "tests", "docs", "script", ".ci", "benchmarks", "examples")

Finding = tuple[int, str]


def python_files(*folders: str) -> list[Path]:
    """Every Python file below these folders."""
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def named(paths: list[Path]) -> list[object]:
    """Test parameters that are shown by their path in the project."""
    return [pytest.param(path, id=str(path.relative_to(ROOT))) for path in paths]


SOURCES = named(python_files("src"))
ALL_PYTHON = named(python_files("src", "tests", "script", "benchmarks"))


@dataclass(frozen=True)
class Module:
    """A parsed module of the package: its dotted name without `goldsmith.`, and its tree."""

    name: str
    tree: ast.Module
    is_package: bool = False

    @classmethod
    @cache
    def read(cls, path: Path) -> "Module":
        """Parse a file of the package."""
        parts = list(path.relative_to(PACKAGE).with_suffix("").parts)
        is_package = parts[-1] == "__init__"
        return cls(".".join(parts[:-1] if is_package else parts),
                   ast.parse(path.read_text(), str(path)), is_package)  # fmt: skip

    @property
    def room(self) -> str:
        """The room's name, "" for the package itself and for `__main__`."""
        top = self.name.partition(".")[0]
        return "" if top == "__main__" else top

    def within(self, *places: str) -> bool:
        """Whether this is one of the places, or lies below one."""
        return any(self.name == place or self.name.startswith(f"{place}.") for place in places)


def snippet(name: str, text: str) -> Module:
    """A module for the tests of the rules themselves."""
    return Module(name, ast.parse(text))


def imported(module: Module) -> Iterator[tuple[int, str]]:
    """Every imported module with its line, wherever the import stands; relative ones resolved."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                steps = node.level - (1 if module.is_package else 0)
                own = ["goldsmith", *filter(None, module.name.split("."))]
                above = own[: len(own) - steps]
                base = ".".join([*above, *filter(None, [base])])
            if base == "goldsmith":
                for alias in node.names:
                    yield node.lineno, f"goldsmith.{alias.name}"
            else:
                yield node.lineno, base


def wrong_imports(module: Module) -> Iterator[Finding]:
    """Imports that do not go downwards."""
    for line, name in imported(module):
        top, _, rest = name.partition(".")
        target = rest.partition(".")[0]
        if top != "goldsmith" or not target or target == "__version__" or not module.room:
            continue
        if target not in ROOMS:
            yield line, f"goldsmith.{target} is no room of the plan"
        elif not may_import(module.room, target):
            yield line, f"{module.room} ({ROOMS[module.room]}) imports {target} ({ROOMS[target]})"


def may_import(room: str, target: str) -> bool:
    """Whether a module of a room may import one of another (or the same) room."""
    if ROOMS[room] == 0 and ROOMS[target] == 0:
        return True
    return room == target or ROOMS[target] < ROOMS[room] or (room, target) in NEIGHBOURS


def dotted(node: ast.expr) -> str:
    """`a.b.c` of an expression made of names, else ""."""
    if isinstance(node, ast.Attribute):
        inner = dotted(node.value)
        return f"{inner}.{node.attr}" if inner else ""
    return node.id if isinstance(node, ast.Name) else ""


_STARTS_PROGRAMS = re.compile(r"os\.(system|popen|spawn\w+|posix_spawn\w*)|pty\.spawn|asyncio\..*")
_STARTS_BY_LOOP = re.compile(r".*\.(create_)?subprocess_(exec|shell)")
"""What of asyncio starts programs; the rest of it is the ssh communicator's alone."""
_PRINTS = re.compile(r"sys\.(__)?std(out|err)(__)?(\.buffer)?\.write(lines)?")
_ENDS_PROCESS = {"sys.exit", "exit", "quit", "SystemExit"}
_PLUGIN_PROGRAM = "plugin.serve"
"""The program of a plugin is one of its own, without a command line or a user of goldsmith's."""
_KERNEL_PROGRAMS = {"mount", "umount", "losetup"}


def broken_doors(module: Module) -> Iterator[Finding]:
    """Uses of what only one place may use."""
    for line, name in imported(module):
        top = name.partition(".")[0]
        loops = top == "asyncio" and module.within("communicators.ssh")
        if top in ("subprocess", "pty", "asyncio") and not (module.within("host.process") or loops):
            yield line, f"imports {top}: programs are started by goldsmith.host.process"
        if top == "ctypes" and not module.within("host"):
            yield line, "imports ctypes: system calls are made in goldsmith.host"
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Call):
            yield from ((node.lineno, text) for text in broken_by_call(module, node))
        elif isinstance(node, ast.Raise) and node.exc is not None:
            raised = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
            if dotted(raised) == "SystemExit" and not module.within("cli"):
                yield node.lineno, "raises SystemExit: only goldsmith.cli ends the process"


def broken_by_call(module: Module, call: ast.Call) -> Iterator[str]:
    """What a call does that only one place may do."""
    name = dotted(call.func)
    if any(k.arg == "shell" and not is_false(k.value) for k in call.keywords):
        yield "passes shell=: argv lists only"
    loops = module.within("communicators.ssh") and name.startswith("asyncio.")
    if _STARTS_BY_LOOP.fullmatch(name) or (_STARTS_PROGRAMS.fullmatch(name) and not loops):
        yield f"calls {name}: programs are started by goldsmith.host.process"
    writes = re.fullmatch(
        r"sys\.(stdout|stderr|__stdout__|__stderr__)(\.buffer)?\.write(lines)?", name
    )
    if (name == "print" or writes) and not module.within("ui", _PLUGIN_PROGRAM):
        yield f"calls {name}: only goldsmith.ui prints"
    if name in _ENDS_PROCESS and not module.within("cli", _PLUGIN_PROGRAM):
        yield f"calls {name}: only goldsmith.cli ends the process"
    if name == "fcntl.ioctl" and not module.within("host"):
        yield "calls fcntl.ioctl: devices are spoken to in goldsmith.host"
    first = call.args[0] if call.args else None
    if isinstance(first, ast.List) and first.elts and not module.within("host"):
        word = first.elts[0]
        if isinstance(word, ast.Constant) and word.value in _KERNEL_PROGRAMS:
            yield f"runs {word.value}: mounts and loop devices are made in goldsmith.host"


def is_false(node: ast.expr) -> bool:
    """Whether an expression is the constant False."""
    return isinstance(node, ast.Constant) and node.value is False


Definition = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def missing_docstrings(module: Module) -> Iterator[Finding]:
    """Public names without a docstring."""
    if not ast.get_docstring(module.tree):
        yield 1, "the module has no docstring"
    for node in public_definitions(module.tree):
        if not ast.get_docstring(node):
            yield node.lineno, f"{node.name} has no docstring"


def public_definitions(parent: ast.Module | ast.ClassDef) -> Iterator[Definition]:
    """Classes, functions and methods that others use; what lies inside functions is private."""
    for node in parent.body:
        if isinstance(node, Definition) and not node.name.startswith("_"):
            yield node
            if isinstance(node, ast.ClassDef):
                yield from public_definitions(node)


def long_functions(tree: ast.Module) -> Iterator[Finding]:
    """Functions whose body does not fit a screen or two."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.body[0].lineno + 1
            if lines > LONGEST_FUNCTION_LINES:
                yield node.lineno, f"{node.name} has {lines} lines"


def banned_names(tree: ast.Module) -> Iterator[Finding]:
    """Names that say nothing of what a thing does."""
    for node in ast.walk(tree):
        if isinstance(node, Definition) and (found := banned_in(node.name)):
            yield node.lineno, f"{node.name}: {found}"


def banned_in(name: str) -> str:
    """The banned word in a name of any case, or ""."""
    words = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)
    return next((word for word in words if word.lower() in BANNED_WORDS), "")


def none_of(findings: Iterator[Finding], path: Path) -> None:
    """Fail with a line for each finding."""
    lines = [f"{path.relative_to(ROOT)}:{line}: {text}" for line, text in findings]
    assert not lines, "\n" + "\n".join(lines)


@pytest.mark.parametrize("path", SOURCES)
def test_imports_go_downwards(path: Path):
    none_of(wrong_imports(Module.read(path)), path)


@pytest.mark.parametrize("path", SOURCES)
def test_every_door_is_the_only_one(path: Path):
    none_of(broken_doors(Module.read(path)), path)


@pytest.mark.parametrize("path", SOURCES)
def test_public_names_have_docstrings(path: Path):
    none_of(missing_docstrings(Module.read(path)), path)


@pytest.mark.parametrize("path", ALL_PYTHON)
def test_files_and_functions_are_short(path: Path):
    text = path.read_text()
    assert len(text.splitlines()) <= LONGEST_FILE_LINES
    none_of(long_functions(ast.parse(text)), path)


@pytest.mark.parametrize("path", ALL_PYTHON)
def test_names_say_what_things_do(path: Path):
    below = path.relative_to(ROOT).with_suffix("").parts
    assert not [part for part in below if banned_in(part)]
    none_of(banned_names(ast.parse(path.read_text())), path)


def texts() -> list[Path]:
    """Every file of the project that people wrote, as a clone has them."""
    found = [path for path in ROOT.iterdir() if path.is_file()]
    for folder in TEXT_FOLDERS:
        for directory, names, files in os.walk(ROOT / folder):
            names[:] = [name for name in names if name != "__pycache__"]
            found += [Path(directory, name) for name in files]
    return sorted(found)


@pytest.mark.parametrize("path", named(texts()))
def test_no_place_of_one_machine_is_named(path: Path):
    lines = path.read_text(errors="replace").splitlines()
    none_of(foreign_places(lines), path)


def foreign_places(lines: list[str]) -> Iterator[Finding]:
    """Lines that name what only one workplace has."""
    for number, line in enumerate(lines, 1):
        for kind, pattern in FOREIGN_PLACES.items():
            if match := pattern.search(line):
                yield number, f"{match.group()!r} is {kind}"


@pytest.mark.parametrize("path", named([*(ROOT / "script").iterdir(), *(ROOT / ".ci").iterdir()]))
def test_scripts_are_executable(path: Path):
    if path.is_file() and path.read_text().startswith("#!"):
        assert os.access(path, os.X_OK)
    else:
        assert path.suffix == ".py" or path.is_dir(), "a script begins with #!"


def test_test_files_have_names_of_their_own():
    """pytest imports them by their bare names: of two with one name it refuses the second."""
    counted = Counter(path.name for path in python_files("tests"))
    assert not [name for name, count in counted.items() if count > 1]


def test_every_room_that_exists_is_in_the_plan():
    exist = {path.stem for path in PACKAGE.iterdir() if not path.name.startswith(("_", "."))}
    assert exist - {"py"} <= set(ROOMS)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("disk.planner", "import goldsmith.core.step"),
        ("disk.planner", "from goldsmith.packages import bootstrap"),
        ("host.loop", "def late():\n    from goldsmith.ui import human"),
        ("core.step", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n"
                      "    from goldsmith.template.hcl2 import ast"),
        ("core.step", "from ..ui import human"),
        ("values.world", "from goldsmith.gotemplate.template import Template"),
        ("errors", "from goldsmith.host import process"),
        ("core.engine", "from goldsmith import cli"),
        ("core.engine", "import goldsmith.unheard_of"),
    ],
)  # fmt: skip
def test_an_upward_import_is_found(name, text):
    assert list(wrong_imports(snippet(name, text)))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("disk.planner", "from goldsmith.host import process\nfrom goldsmith.errors import X"),
        ("disk.planner", "from goldsmith.disk.layout import Layout\nfrom . import layout"),
        ("events", "from goldsmith.redact import Redactor"),
        ("gotemplate.template", "from goldsmith.values.world import World"),
        ("builders.image.builder", "import goldsmith\nfrom goldsmith import __version__"),
    ],
)
def test_a_downward_import_is_allowed(name, text):
    assert not list(wrong_imports(snippet(name, text)))


@pytest.mark.parametrize(
    "text",
    [
        "import subprocess", "from subprocess import run", "import ctypes.util", "print('x')",
        "import sys\nsys.stdout.write('x')", "import sys\nsys.exit(1)", "raise SystemExit(2)",
        "exit()", "import os\nos.system('x')", "import os\nos.posix_spawn('a', [], {})",
        "run('x', shell=True)", "run('x', shell=flag)", "run(['losetup', '-f'])",
        "import fcntl\nfcntl.ioctl(1, 2)", "import asyncio",
    ],
)  # fmt: skip
def test_a_second_door_is_found(text):
    assert list(broken_doors(snippet("core.engine", text)))


@pytest.mark.parametrize("call", ["asyncio.create_subprocess_exec", "loop.subprocess_shell"])
def test_the_ssh_communicator_has_loops_and_no_programs(call):
    assert not list(broken_doors(snippet("communicators.ssh.dialing", "import asyncio")))
    assert list(broken_doors(snippet("communicators.ssh.dialing", f"{call}('x')")))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("host.process", "import subprocess\nsubprocess.Popen([], shell=False)"),
        ("host.kernel", "import ctypes"), ("ui.terminal", "print('x')"),
        ("cli.app", "import sys\nsys.exit(0)"), ("ui.live", "import sys\nsys.stdout.flush()"),
        ("cli.app", "import sys\nwrite_line('x', stream=sys.stderr)"),
        ("plugin.serve", "import sys\nsys.stderr.write('x')\nsys.exit(0)"),
    ],
)  # fmt: skip
def test_a_door_may_be_used_where_it_is(name, text):
    assert not list(broken_doors(snippet(name, text)))


def test_missing_docstrings_are_found():
    text = '"""D."""\nclass A:\n    def m(self): ...\n    def _p(self): ...\ndef f(): ...\n'
    assert [text for _, text in missing_docstrings(snippet("core.x", text))] == [
        "A has no docstring", "m has no docstring", "f has no docstring"
    ]  # fmt: skip
    assert list(missing_docstrings(snippet("core.x", "")))


def test_long_functions_are_found():
    body = "    x = 1\n"
    fits, too_long = (
        ast.parse("def f():\n" + body * (LONGEST_FUNCTION_LINES + extra)) for extra in (0, 1)
    )
    assert not list(long_functions(fits))
    assert list(long_functions(too_long))


@pytest.mark.parametrize("name", ["LoopManager", "helper", "disk_utils", "Util", "HTTPHelper"])
def test_empty_names_are_found(name):
    assert list(banned_names(ast.parse(f"class {name}: ...")))


@pytest.mark.parametrize("name", ["contextmanager", "Utilisation", "managed", "Umount"])
def test_other_names_are_not(name):
    assert not list(banned_names(ast.parse(f"def {name}(): ...")))


@pytest.mark.parametrize(
    "line",
    ["http://de" "b.debian.org/debian", "files.pythonho" "sted.org", "docker" ".io/x",
     "registry.some" ".io", "cd /wo" "rk/main", "'/wo" "rk/x'", "/ro" "ot/.cache"],
)  # fmt: skip
def test_places_of_one_machine_are_found(line):
    assert list(foreign_places([line]))


@pytest.mark.parametrize(
    "line",
    ["http://mirror.example/debian", "$run/wo" "rk/", "{run}/wo" "rk/x", "/root", "registry.get(x)",
     "https://www.debian.org/"],
)  # fmt: skip
def test_general_places_are_not(line):
    assert not list(foreign_places([line]))
