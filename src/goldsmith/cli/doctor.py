"""`goldsmith doctor`: what this host can do, and the exact remedy for what it cannot."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from goldsmith.cli.native_flags import NativeParser
from goldsmith.errors import HostError, Interrupted
from goldsmith.host.checks import Check, Verdict, examine, host_checks
from goldsmith.host.journal import state_directory
from goldsmith.host.signals import interruptible
from goldsmith.host.user_checks import user_checks
from goldsmith.host.watcher import start_watcher
from goldsmith.machine.checks import machine_checks
from goldsmith.packages.apt_sources import AptSource, read_host_sources
from goldsmith.packages.keyrings import DEBIAN_KEYRING
from goldsmith.ui.terminal import BOLD, ERROR_COLOR, RESET, wants_color, write_line

DEBIAN_SUITES: Final = frozenset({
    "oldoldstable", "oldstable", "stable", "testing", "unstable", "experimental",
    "buster", "bullseye", "bookworm", "trixie", "forky", "duke", "sid",
})  # fmt: skip
_THREADS: Final = 4
_PAINT: Final = {"ok": "", "warning": BOLD, "missing": ERROR_COLOR}


def run(words: list[str], machine_readable: bool) -> int:
    """Look at the host; 0 when nothing needed is missing, else 6; 2 for usage."""
    try:
        options = command_parser().parse_args(words)
    except SystemExit as e:
        return int(e.code or 0)
    try:
        with interruptible():
            found = examine_all(all_checks(state_directory()))
    except Interrupted as e:
        return 128 + signal.Signals[e.signal_name]
    packages = sorted({package for _, verdict in found if verdict.outcome == "missing"
                       for package in verdict.packages})  # fmt: skip
    write_line(_as_json(found, packages) if options.json else _as_text(found, packages))
    missing = any(verdict.outcome == "missing" for _, verdict in found)
    return HostError.exit_code if missing else 0


def command_parser() -> NativeParser:
    """The flags of the verb."""
    parser = NativeParser(
        prog="goldsmith doctor", allow_abbrev=False,
        description="Tries what builds and boots need on this host, and says what to install.",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")
    return parser


def all_checks(state: Path) -> list[Check]:
    """The checks of every room."""
    apt = Check(name="APT sources", look=lambda: look_at_apt_sources(Path("/")))
    return [*host_checks(state), *user_checks(), *machine_checks(), apt]


def examine_all(checks: Sequence[Check]) -> list[tuple[Check, Verdict]]:
    """Make all checks, those that only wait for programs at the same time; the order stays.

    Must be called from the main thread before others exist. An interrupt ends what still runs.
    """
    pool = ThreadPoolExecutor(_THREADS)
    try:
        # The watcher ends the programs of checks that an interrupt has cut short.
        with start_watcher():
            forked = {check.name: examine(check) for check in checks if check.forks}
            others = {c.name: pool.submit(examine, c) for c in checks if not c.forks}
            found = {**forked, **{name: future.result() for name, future in others.items()}}
    finally:
        pool.shutdown(cancel_futures=True)
    return [(check, found[check.name]) for check in checks]


def look_at_apt_sources(host_root: Path) -> Verdict:
    """Whether trees of Debian can be made from the host's own sources."""
    suites = sorted({suite for source in read_host_sources(host_root) for suite in _debian(source)})
    if not suites:
        return Verdict(
            "warning", "no source names a Debian suite: templates must name a mirror",
            'bootstrap { mirror = "http://…" } in the template',
        )  # fmt: skip
    if not (host_root / DEBIAN_KEYRING.lstrip("/")).is_file():
        package = "debian-archive-keyring"
        return Verdict("missing", f"there is no {DEBIAN_KEYRING}", f"apt-get install {package}",
                       (package,))  # fmt: skip
    return Verdict("ok", ", ".join(suites))


def _debian(source: AptSource) -> list[str]:
    """The suites of a source that are Debian's: by their names, and with its component main."""
    if "deb" not in source.types or "main" not in source.components:
        return []
    names = {suite: suite.replace("/", "-").partition("-")[0] for suite in source.suites}
    return [suite for suite, name in names.items() if name in DEBIAN_SUITES]


def _as_json(found: Sequence[tuple[Check, Verdict]], packages: Sequence[str]) -> str:
    checks = [
        {"name": check.name, "outcome": verdict.outcome, "finding": verdict.finding,
         "remedy": verdict.remedy, "packages": list(verdict.packages)}
        for check, verdict in found
    ]  # fmt: skip
    return json.dumps({"checks": checks, "install": list(packages)}, indent=2, ensure_ascii=False)


def _as_text(found: Sequence[tuple[Check, Verdict]], packages: Sequence[str]) -> str:
    color = wants_color(sys.stdout, None)
    width = max(len(check.name) for check, _ in found)
    lines = []
    for check, verdict in found:
        paint = _PAINT[verdict.outcome] if color else ""
        outcome = f"{paint}{verdict.outcome:<7}{RESET if paint else ''}"
        lines.append(f"{outcome}  {check.name:<{width}}  {verdict.finding}")
        if verdict.remedy:
            lines.append(f"{'':<7}  {'':<{width}}  -> {verdict.remedy}")
    if packages:
        lines += ["", f"apt-get install {' '.join(packages)}"]
    return "\n".join(lines)
