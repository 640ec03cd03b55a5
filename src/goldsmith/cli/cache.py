"""`goldsmith cache`: what is kept of earlier builds; how it is shown, checked and removed."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from goldsmith.cli.cache_packages import (
    SHORT,
    downloads_in,
    kept_packages,
    list_packages,
    package_problems,
    remove_all_packages,
    remove_kept,
    show_package,
    told_in_use,
)
from goldsmith.cli.native_flags import NativeParser
from goldsmith.core.results import prune_results
from goldsmith.errors import GoldsmithError
from goldsmith.host import process, user_namespace
from goldsmith.host.journal import state_directory
from goldsmith.layers.prune import Limits, Pruned, prune
from goldsmith.layers.records import Record
from goldsmith.layers.store import Store
from goldsmith.layers.usage import Seen, taken_bytes, usage
from goldsmith.layers.verify import verify_store
from goldsmith.packages import package_store
from goldsmith.packages.unpacked.content_store import STORE_NAME
from goldsmith.packages.unpacked.resolution import STORE_NAME as RESOLUTIONS
from goldsmith.ui.terminal import write_line
from goldsmith.units import (
    UnitError,
    format_age,
    format_size,
    parse_duration_s,
    parse_size_bytes,
)

_DAY_S = 24 * 3600.0


def run(words: list[str], machine_readable: bool) -> int:
    """Do what a subcommand says; 0, 1 for an error, 2 for usage, 4 when something is damaged."""
    try:
        options = command_parser().parse_args(words)
    except SystemExit as e:
        return int(e.code or 0)
    state = state_directory()
    if _needs_namespace():
        return _run_inside(words, state)
    store = Store.open(state / "store")
    code: int = options.do(store, state, options)
    return code


def _needs_namespace() -> bool:
    """Whether this user's trees can be read in a user namespace only."""
    if os.geteuid() == 0:
        return False
    try:
        user_namespace.require()
    except GoldsmithError:
        return False
    return True


def _run_inside(words: list[str], state: Path) -> int:
    """Do it as root of a user namespace: an ordinary user's trees belong to subordinate ids."""

    def show(stream: str, line: str) -> None:
        write_line(line, stream=sys.stderr if stream == "stderr" else sys.stdout)

    done = process.run(
        ["unshare", *user_namespace.id_map().unshare_words(), "--",
         sys.executable, "-P", "-m", "goldsmith", "cache", *words],
        env={**process.tool_environment(), "GOLDSMITH_CACHE_DIR": str(state)},
        check=False, on_line=show,
    )  # fmt: skip
    return done.status


def command_parser() -> argparse.ArgumentParser:
    """The commands of the verb, with the words and flags of each."""
    parser = NativeParser(
        prog="goldsmith cache",
        description="Shows and removes the results of steps that are kept for later builds.",
    )
    verbs = parser.add_subparsers(required=True, metavar="COMMAND")
    one = verbs.add_parser("ls", help="list what is kept, the latest last")
    one.add_argument("--packages", action="store_true", help="list the unpacked packages instead")
    one.set_defaults(do=_ls)
    one = verbs.add_parser("show", help="tell all of one result or one unpacked package")
    told = "the beginning of its key or id, as ls shows it, or a package's name"
    one.add_argument("key", metavar="KEY", help=told)
    one.set_defaults(do=_show)
    one = verbs.add_parser("du", help="say what is taken on the disk")
    one.set_defaults(do=_du)
    one = verbs.add_parser("prune", help="remove what is not needed any more")
    one.add_argument("--older-than", type=_age_s, metavar="AGE", help='made before, as "30d"')
    one.add_argument("--unused-for", type=_age_s, metavar="AGE", help='not used since, as "7d"')
    one.add_argument("--max-size", type=_size_bytes, metavar="SIZE", help="keep no more")
    one.add_argument("--failed", action="store_true", help="the trees of failed steps, too")
    one.add_argument(
        "--all",
        action="store_true",
        help="all results and packages that nobody uses; the guest stays",
    )
    one.add_argument("--dry-run", action="store_true", help="only tell, remove nothing")
    one.set_defaults(do=_prune)
    one = verbs.add_parser("verify", help="read everything and compare it with what was kept")
    one.add_argument("--forget", action="store_true", help="forget what is damaged")
    one.set_defaults(do=_verify)
    return parser


def _age_s(text: str) -> float:
    try:
        if text.endswith("d"):
            return float(text[:-1]) * _DAY_S
        return parse_duration_s(text)
    except (UnitError, ValueError) as e:
        raise argparse.ArgumentTypeError(f"{text!r} is no age: write 30d, 12h or 90m") from e


def _size_bytes(text: str) -> int:
    try:
        return parse_size_bytes(text)
    except UnitError as e:
        raise argparse.ArgumentTypeError(str(e)) from e


def _ls(store: Store, state: Path, options: argparse.Namespace) -> int:
    if options.packages:
        list_packages(state)
        return 0
    records = [*store.records(), *store.failed_records()]
    if not records:
        write_line("Nothing is kept yet.")
        return 0
    now_s = time.time()
    rows = [("KEY", "STEP", "SIZE", "MADE", "USED", "WHAT")]
    for record in sorted(records, key=lambda one: one.made_s):
        label = f"{record.label}{'  (failed)' if record.failed else ''}"
        rows.append(
            (record.key[:SHORT], record.step, format_size(record.size_bytes),
             f"{format_age(now_s - record.made_s)} ago",
             f"{format_age(now_s - record.last_used_s)} ago", label)
        )  # fmt: skip
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    for row in rows:
        cells = [text.ljust(width) for text, width in zip(row[:5], widths, strict=True)]
        write_line("  ".join([*cells, row[5]]).rstrip())
    return 0


def _show(store: Store, state: Path, options: argparse.Namespace) -> int:
    record = _one_record(store, options.key)
    if record is None:
        if show_package(state, options.key):
            return 0
        raise GoldsmithError(
            f"no result begins with {options.key!r}, and no unpacked package is called so",
            hint="`goldsmith cache ls` and `goldsmith cache ls --packages` show them all",
        )
    made = datetime.fromtimestamp(record.made_s, UTC).isoformat(timespec="seconds")
    write_line(f"step      {record.step}: {record.label}")
    write_line(f"key       {record.key}")
    write_line(f"id        {record.id or '(none: the step failed)'}")
    write_line(f"parent    {record.parent or '(none)'}")
    write_line(f"made      {made} in {record.duration_s:.1f} s by goldsmith {record.goldsmith}")
    write_line(f"size      {format_size(record.size_bytes)}")
    write_line(f"rule      {record.network}")
    write_line(f"tree      {store.tree(record)}")
    if record.error:
        write_line(f"error     {record.error}")
    write_line("inputs")
    for name, value in record.inputs.items():
        write_line(f"  {name:<40}  {value[:60]}")
    return 0


def _one_record(store: Store, prefix: str) -> Record | None:
    records = [*store.records(), *store.failed_records()]
    found = [r for r in records if r.key.startswith(prefix) or r.id.startswith(prefix)]
    if len(found) > 1:
        raise GoldsmithError(
            f"several results begin with {prefix!r}", hint="`goldsmith cache ls` shows them all"
        )
    return found[0] if found else None


def _du(store: Store, state: Path, options: argparse.Namespace) -> int:
    # A file that has a name in two of them is counted in the first one.
    seen: Seen = set()
    packages = taken_bytes(state / "packages", seen)
    unpacked = taken_bytes(state / STORE_NAME, seen)
    answers = taken_bytes(state / RESOLUTIONS, seen)
    taken = usage(store, seen)
    rows = [
        (taken.total_bytes - taken.garbage_bytes, "results of steps"),
        (taken.garbage_bytes, "unfinished results: of builds that run, or were killed"),
        (packages, "downloaded packages"),
        (unpacked, "unpacked packages"),
        (answers, "what APT has decided, with its indexes"),
        (taken_bytes(state / "guest", seen),
         "the guest's kernel and programs: prune leaves them"),
    ]  # fmt: skip
    for size_bytes, what in rows:
        write_line(f"{format_size(size_bytes):>10}  {what}")
    write_line(f"{format_size(sum(row[0] for row in rows)):>10}  in {state}")
    return 0


def _prune(store: Store, state: Path, options: argparse.Namespace) -> int:
    pruned = _prune_once(store, state, options)
    if options.max_size is not None and pruned.removed and not options.dry_run:
        # Files of packages that were links in those results are counted, now.
        _prune_once(store, state, options)
    if not options.dry_run:
        prune_results(state / "results")
        package_store.prune(downloads_in(state))
    if options.all:
        remove_all_packages(state, dry_run=options.dry_run)
    if options.all or _age_limit_s(options) is not None or options.max_size is not None:
        told_in_use(state)
    return 0


def _prune_once(store: Store, state: Path, options: argparse.Namespace) -> Pruned:
    """Remove the results and packages that are beyond a limit, and tell of them."""
    age_s, now_s = _age_limit_s(options), time.time()
    kept = [] if options.all else kept_packages(state)
    old = [one for one in kept if age_s is not None and now_s - one.used_s > age_s]
    others = kept[len(old) :]
    limits = Limits(
        older_than_s=0.0 if options.all else options.older_than, unused_for_s=options.unused_for,
        most_bytes=options.max_size, beside=[one.beside for one in others],
        failed_older_than_s=0.0 if options.failed or options.all else None,
    )  # fmt: skip
    pruned = prune(store, limits, dry_run=options.dry_run)
    for removal in pruned.removed:
        record = removal.record
        write_line(f"{record.key[:SHORT]}  {format_size(record.size_bytes):>9}  {removal.reason}: "
                   f"{record.label or record.step}")  # fmt: skip
    write_line(_told(pruned, dry_run=options.dry_run))
    remove_kept(state, [*old, *others[: pruned.beside]], dry_run=options.dry_run)
    return pruned


def _age_limit_s(options: argparse.Namespace) -> float | None:
    """Packages are as old as their last use, so both limits of age mean that."""
    ages = [age_s for age_s in (options.older_than, options.unused_for) if age_s is not None]
    return min(ages, default=None)


def _told(pruned: Pruned, *, dry_run: bool) -> str:
    verb = "Would remove" if dry_run else "Removed"
    told = f"{verb} {_count(pruned.removed)}, {format_size(pruned.freed_bytes)}"
    if pruned.in_use:
        told += f"; {_count(pruned.in_use)} in use"
    if pruned.garbage:
        told += f"; {pruned.garbage} unfinished"
    return told + "."


def _count(things: Sequence[object]) -> str:
    return f"{len(things)} result{'' if len(things) == 1 else 's'}"


def _verify(store: Store, state: Path, options: argparse.Namespace) -> int:
    problems = [str(problem) for problem in verify_store(store, forget=options.forget)]
    problems += package_problems(state, forget=options.forget)
    for problem in problems:
        write_line(problem)
    if not problems:
        write_line("Everything is as it was kept.")
        return 0
    remedy = "forgotten" if options.forget else "`goldsmith cache verify --forget` drops them"
    write_line(f"{len(problems)} problem{'' if len(problems) == 1 else 's'}; {remedy}.")
    return 0 if options.forget else 4
