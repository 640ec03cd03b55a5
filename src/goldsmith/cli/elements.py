"""`goldsmith elements`: which there are, what they are made of, and what is wrong in them."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from goldsmith.cli.native_flags import NativeParser
from goldsmith.elements import catalog, expansion, run_parts
from goldsmith.elements.catalog import Catalog, Element
from goldsmith.elements.graph import draw
from goldsmith.elements.phases import PHASES
from goldsmith.elements.setup import OWN_ELEMENTS
from goldsmith.errors import GoldsmithError, explain_os_error
from goldsmith.ui.terminal import write_line

_LINT = "dib-lint"
"""Upstream's program, which a link can be called: without words it checks a whole project."""
_DECLARATIONS = ("package-installs.yaml", "package-installs.json", "pkg-map", "svc-map")


def run(words: list[str], machine_readable: bool) -> int:
    """Do what a subcommand says; 0, 1 for an error or a finding of lint, 2 for usage."""
    try:
        options = command_parser().parse_args(words)
    except SystemExit as e:
        return int(e.code or 0)
    try:
        code: int = options.do(options)
    except OSError as e:
        raise explain_os_error(e) from e
    return code


def command_parser() -> argparse.ArgumentParser:
    """The commands of the verb, with the words and flags of each."""
    parser = NativeParser(
        prog="goldsmith elements",
        description="Shows and checks the elements of ELEMENTS_PATH and of diskimage-builder.",
    )
    verbs = parser.add_subparsers(required=True, metavar="COMMAND")
    one = verbs.add_parser("ls", help="list every element that can be named")
    one.add_argument("--paths", action="store_true", help="with the directory of each")
    one.set_defaults(do=_ls)
    one = verbs.add_parser("show", help="tell what an element is made of")
    one.add_argument("element", metavar="ELEMENT")
    one.set_defaults(do=_show)
    one = verbs.add_parser("graph", help="draw the elements that these bring along, as SVG")
    one.add_argument("elements", metavar="ELEMENT", nargs="+")
    one.add_argument("-o", "--output", metavar="FILE", help="write there, not to standard output")
    one.add_argument("--skip-base", action="store_true", help="without the element base")
    one.set_defaults(do=_graph)
    is_link = os.path.basename(sys.argv[0]) == _LINT
    one = verbs.add_parser(
        "lint",
        help="check the files of elements, as dib-lint does",
        prog=_LINT if is_link else None,
        epilog="exit status: 0 when nothing is found, 1 for findings and errors, 2 for wrong words",
    )
    usual = [os.environ.get("ELEMENTS_DIR") or "diskimage_builder/elements"] if is_link else None
    one.add_argument("places", metavar="PLACE", nargs="*" if is_link else "+", default=usual,
                     help="an element, or a directory that holds some")  # fmt: skip
    one.add_argument("--fix", action="store_true", help="mend what has only one remedy")
    one.set_defaults(do=_lint)
    return parser


def _catalog() -> Catalog:
    path = os.environ.get("ELEMENTS_PATH", "")
    return Catalog.read(catalog.search_directories(path, [OWN_ELEMENTS]))


def _ls(options: argparse.Namespace) -> int:
    found = _catalog()
    width = max((len(name) for name in found.elements), default=0)
    for name in sorted(found.elements):
        element = found.elements[name]
        told = str(element.path) if options.paths else _title(element)
        write_line(f"{name:<{width}}  {told}".rstrip())
    for hidden in found.hidden:
        write_line(f"Warning: {hidden}", stream=sys.stderr)
    return 0


def _title(element: Element) -> str:
    """What its README says first below the title, cut to a line's length."""
    readme = element.path / "README.rst"
    if not readme.is_file():
        return ""
    lines = [line.strip() for line in readme.read_text(errors="replace").splitlines()]
    texts = [line for line in lines if line and any(c.isalnum() for c in line)]
    text = next((line for line in texts if line.lower() != element.name.lower()), "")
    return text if len(text) <= 70 else f"{text[:69].rsplit(' ', 1)[0]} …"


def _show(options: argparse.Namespace) -> int:
    element = _catalog().get(options.element)
    write_line(f"element   {element.name}")
    write_line(f"path      {element.path}")
    _line("needs", element.requires)
    _line("provides", element.provides)
    declared = [name for name in _DECLARATIONS if (element.path / name).is_file()]
    declared += sorted(path.name for path in element.path.glob("source-repository-*"))
    declared += sorted(path.name for path in element.path.glob("block-device-*.yaml"))
    _line("declares", declared)
    snippets = run_parts.snippets_of(element.path / "environment.d")
    for phase, names in (("environment.d", snippets), *_scripts(element)):
        if names:
            write_line(f"{phase}")
            for name in names:
                write_line(f"  {name}")
    return 0


def _line(title: str, names: Sequence[str]) -> None:
    if names:
        write_line(f"{title:<9} {', '.join(names)}")


def _scripts(element: Element) -> list[tuple[str, tuple[str, ...]]]:
    return [
        (phase.name, run_parts.scripts_of(element.path / phase.name).scripts) for phase in PHASES
    ]


def _graph(options: argparse.Namespace) -> int:
    given = expansion.asked_for(options.elements, skip_base=options.skip_base)
    text = draw(expansion.expand(_catalog(), given), given)
    if options.output is None:
        write_line(text.rstrip("\n"))
    else:
        Path(options.output).write_text(text)
    return 0


def _lint(options: argparse.Namespace) -> int:
    # Late: the other commands need no YAML.
    from goldsmith.elements.lint import ignored_by, lint

    ignored = ignored_by(Path.cwd())
    elements = [element for place in options.places for element in _elements_at(Path(place))]
    if options.fix:
        for element in elements:
            _mend(element, ignored)
    left = [one for element in elements for one in lint(element, ignored)]
    for finding in left:
        write_line(str(finding))
    if not left:
        return 0
    mendable = sum(1 for finding in left if finding.fix is not None)
    told = f"; --fix mends {mendable} of them" if mendable else ""
    write_line(f"{len(left)} finding{'s' if len(left) > 1 else ''}{told}", stream=sys.stderr)
    return 1


def _mend(element: Path, ignored: frozenset[str]) -> None:
    """Mend until nothing is left: what has become executable has further rules."""
    from goldsmith.elements.lint import lint

    told: set[str] = set()
    while found := [(one.fix, str(one)) for one in lint(element, ignored)
                    if one.fix is not None and str(one) not in told]:  # fmt: skip
        for fix, text in found:
            fix()
            told.add(text)
            write_line(f"mended: {text}")


def _elements_at(place: Path) -> list[Path]:
    """An element itself, or the elements that a directory holds."""
    if not place.is_dir():
        raise GoldsmithError(f"{place} is not a directory", hint="name an element's directory")
    inside = [path for path in sorted(place.iterdir()) if path.is_dir()]
    marks = ("README.rst", "element-deps", "element-provides", *_DECLARATIONS)
    is_element = any((place / name).is_file() for name in marks)
    has_phases = any(path.name.endswith(".d") for path in inside)
    if is_element or has_phases:
        return [place]
    return [path for path in inside if path.name != "__pycache__"]
