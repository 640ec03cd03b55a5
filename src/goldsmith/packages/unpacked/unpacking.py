"""The files of a tree's packages and dpkg's database, with nothing of them configured yet.

APT of this host resolves and fetches, and checks signatures and digests; what it decided and what
was unpacked for an earlier tree is taken as it is kept. No program of the tree runs.
"""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Sequence, Set
from functools import partial
from pathlib import Path
from typing import Any, Final

from goldsmith.host.confined import make_directory, write_confined
from goldsmith.host.parallel import beside
from goldsmith.host.process import LineSink
from goldsmith.packages.apt_request import AptRequest
from goldsmith.packages.errors import PackageError, StoreRefused
from goldsmith.packages.host_apt import HostApt, ToolFailed
from goldsmith.packages.initramfs import DIVERTED, STUB, STUB_CONTENT
from goldsmith.packages.package_store import Archive, PackageStore
from goldsmith.packages.policy import forbid_services
from goldsmith.packages.ssh_host_keys import PRIVATE_KEYS
from goldsmith.packages.unpacked import resolution
from goldsmith.packages.unpacked.content_store import (
    STORE_NAME,
    ContentStore,
    UnpackedPackage,
    changed_packages,
)
from goldsmith.packages.unpacked.deciding import decide, with_automatic
from goldsmith.packages.unpacked.dpkg_state import write_automatic, write_database
from goldsmith.packages.unpacked.laying import lay_tree
from goldsmith.packages.unpacked.links import Links, give
from goldsmith.packages.unpacked.pre_depends import in_order, offers
from goldsmith.packages.unpacked.resolution import Resolution, ResolutionStore
from goldsmith.packages.unpacked.tree_plan import TreePlan, is_first, plan_tree

STATE_FILE: Final = "/var/lib/dpkg/goldsmith-unpacked.json"
"""What is left to do, in the tree itself: it is configured by whoever gets it."""
ARCHIVES: Final = "/var/lib/dpkg/goldsmith-archives"
"""Package files for dpkg of the tree."""
DIVERSIONS: Final = {STUB: DIVERTED}
MOVED: Final = {path.lstrip("/"): place.lstrip("/") for path, place in DIVERSIONS.items()}
"""The same as places in a tree."""


def unpack(
    target: Path,
    request: AptRequest,
    work: Path,
    *,
    on_line: LineSink,
    links: Links | None = None,
) -> bool:
    """Lay the tree; False when APT failed, its lines then say why.

    `work` is a private directory: files with passwords stand in it meanwhile. `links` is as
    for `lay_tree`. Raises StoreRefused.
    """
    target.mkdir(parents=True, exist_ok=True)
    kept = request.store.parent if request.store is not None else work
    store = ContentStore(kept / STORE_NAME)
    with store.in_use():
        try:
            answer, packages = _packages(request, work, store, on_line)
        except ToolFailed:
            return False
        plan = plan_tree(packages)
        try:
            _require_first(plan)
        except StoreRefused as e:
            ResolutionStore(kept / resolution.STORE_NAME).note_refused(request, str(e))
            raise
        for slow in plan.slow:
            on_line("stdout", str(slow))
        lay_tree(plan, target, moved=MOVED, links=links)
        write_database(target, plan.laid, diversions=DIVERSIONS, architecture=answer.architecture,
                       links=links)  # fmt: skip
        _leave_files(target, answer, packages, links)
    _leave_archives(target, request, work, [slow.package for slow in plan.slow], answer)
    _leave_state(target, plan, answer)
    return True


def _packages(
    request: AptRequest, work: Path, store: ContentStore, on_line: LineSink
) -> tuple[Resolution, list[UnpackedPackage]]:
    """What APT decides, and the packages, unpacked; raises ToolFailed."""
    answers = ResolutionStore(store.directory.parent / resolution.STORE_NAME)
    kept = None if request.store is None else answers.find(request)
    if kept is not None and request.store is not None:
        downloads = PackageStore(request.store)
        places = [(one, downloads.path(one.sha256)) for one in kept.archives]
        missing = _missing(kept, downloads, store)
        if not missing:
            on_line("stdout", "I: extracting archives...")
            return kept, _taken(store, places, on_line)
        if request.offline:
            listed = "".join(f"\n  {name}" for name in missing)
            raise PackageError(
                f"{len(missing)} of {len(kept.archives)} packages are not kept, and -offline "
                f"fetches none:{listed}",
                hint="build once without -offline",
            )
    if request.offline and not all(source.is_local for source in request.sources):
        raise PackageError(
            f"{answers.absence(request)}, and -offline asks nobody",
            hint="build once without -offline",
        )
    return _decided(request, work, answers, store, on_line)


def _decided(
    request: AptRequest,
    work: Path,
    answers: ResolutionStore,
    store: ContentStore,
    on_line: LineSink,
) -> tuple[Resolution, list[UnpackedPackage]]:
    """The same where APT has to be asked.

    It takes its time on one processor; the packages of a like answer are looked at meanwhile.
    """
    apt = HostApt(request, work, on_line)
    alike = answers.alike(request) if request.store is not None else None
    if alike is not None:
        apt.take_indexes([alike.lists / name for name in alike.indexes], alike.cache)
    likely = [] if alike is None else [archive.sha256 for archive in alike.archives]
    decided = threading.Event()
    with beside(partial(store.sound, likely, decided.is_set)) as looked_at:
        answer = decide(request, apt, alike)
        decided.set()
        sound = looked_at()
    places = _fetched(request, apt, answer, sound, on_line)
    on_line("stdout", "I: extracting archives...")
    with beside(partial(with_automatic, answer, request, apt)) as completed:
        packages = _taken(store, places, on_line, sound)
        answer = completed()
    if request.store is not None:
        answers.keep(request, answer)
    return answer, packages


def _fetched(
    request: AptRequest, apt: HostApt, answer: Resolution, sound: Set[str], on_line: LineSink
) -> list[tuple[Archive, Path]]:
    """The packages of an answer with their files, which those that are unpacked do without."""
    on_line("stdout", "I: downloading packages with apt")
    if request.store is None:
        apt.fetch(())
        return [(one, apt.archives / one.name) for one in answer.archives]
    downloads = PackageStore(request.store)
    there = set()
    for one in answer.archives:
        # Who unpacks it compares its content.
        is_there = (
            downloads.touch(one) if one.sha256 in sound else downloads.lend(one, apt.archives)
        )
        if is_there:
            there.add(one.sha256)
    apt.fetch((), without=there)
    return [(one, apt.archives / one.name) for one in answer.archives]


def _missing(kept: Resolution, downloads: PackageStore, store: ContentStore) -> list[str]:
    """The files that have to be fetched for a kept answer: what is unpacked needs none.

    But for packages that dpkg unpacks, and those of which a path was changed.
    """
    found = [store.find(one.sha256) for one in kept.archives]
    unpacked = {package.digest: package for package in found if package is not None}
    absent = {one.sha256 for one in kept.archives if not downloads.has(one)}
    needed = {one.sha256 for one in kept.archives} - unpacked.keys()
    if absent & unpacked.keys():
        # They may be gone while what was unpacked of them is still used.
        only = [package for digest, package in unpacked.items() if digest in absent]
        needed |= {package.digest for package, _ in changed_packages(only)}
        needed |= {slow.package.digest for slow in plan_tree(unpacked.values()).slow}
    return [one.name for one in kept.archives
            if one.sha256 in needed and not downloads.has_whole(one)]  # fmt: skip


def _taken(
    store: ContentStore,
    places: Sequence[tuple[Archive, Path]],
    on_line: LineSink,
    sound: Set[str] = frozenset(),
) -> list[UnpackedPackage]:
    return store.take_all(
        places, sound=sound, on_damage=lambda text: on_line("stderr", f"W: {text}")
    )


def _require_first(plan: TreePlan) -> None:
    """Packages that others need without saying so must be there before dpkg can unpack any."""
    for slow in plan.slow:
        if is_first(slow.package):
            raise StoreRefused(
                f"{slow.package.name} is essential, and {slow.reason}",
                hint='write engine = "mmdebstrap"',
            )
    if not plan.is_merged:
        raise StoreRefused(
            "/bin, /sbin and /lib are not links into /usr in it",
            hint='write engine = "mmdebstrap", or add the package usrmerge',
        )


def _leave_files(
    tree: Path, answer: Resolution, packages: Sequence[UnpackedPackage], links: Links | None
) -> None:
    """What stands in for programs, and what APT needs."""
    write_confined(tree, STUB, STUB_CONTENT, mode=0o755)
    for key in PRIVATE_KEYS:
        # openssh-server makes no key that is there already; these are removed afterwards.
        write_confined(tree, key, b"")
    forbid_services(tree)
    automatic = set(answer.automatic)
    write_automatic(tree, [one for one in packages if one.name in automatic])
    place = make_directory(tree, "/var/lib/apt/lists")
    for file in resolution.index_files(answer.lists):
        give(str(file), str(place / file.name), answer.indexes.get(file.name, ""), links)


def _leave_archives(
    tree: Path,
    request: AptRequest,
    work: Path,
    packages: Sequence[UnpackedPackage],
    answer: Resolution,
) -> None:
    """The package files that dpkg of the tree unpacks."""
    folder = make_directory(tree, ARCHIVES)
    by_digest = {one.sha256: one for one in answer.archives}
    for package in packages:
        archive = by_digest[package.digest]
        downloaded = work / "apt" / "cache/archives" / archive.name
        if request.store is not None and PackageStore(request.store).give(archive, folder):
            continue
        if not downloaded.exists():
            raise PackageError(
                f"{archive.name} was changed among the downloaded packages, and is removed",
                hint="build again: it is fetched anew",
            )
        shutil.copyfile(downloaded, folder / archive.name)


def _leave_state(tree: Path, plan: TreePlan, answer: Resolution) -> None:
    """Say what is to be done, in order."""
    by_digest = {one.sha256: one for one in answer.archives}
    # It makes the files of users and groups that the other scripts need.
    first = sorted(plan.first, key=lambda package: package.name != "base-passwd")
    digests = {package.digest for package in first}
    rest = [package for package in plan.laid if package.digest not in digests]
    slow = {one.package.digest: one.package for one in plan.slow}
    # In APT's order, in which dpkg would have unpacked them.
    by_apt = [slow[one.sha256] for one in answer.archives if one.sha256 in slow]
    later = offers([*plan.laid, *by_apt], is_first)
    state: dict[str, Any] = {
        "first": [_described(package) for package in first],
        "rest": [_described(package) for package in rest],
        "slow": [
            [by_digest[package.digest].name, [one.info_name for one in needed]]
            for package, needed in in_order(by_apt, later)
        ],
        "archives": {
            package.info_name: [archive.name, archive.size_bytes, archive.sha256]
            for package in plan.laid
            for archive in [by_digest[package.digest]]
        },
    }
    write_confined(tree, STATE_FILE, json.dumps(state).encode(), mode=0o644)


def _described(package: UnpackedPackage) -> dict[str, Any]:
    return {
        "name": package.name, "info": package.info_name, "architecture": package.architecture,
        "conffiles": list(package.conffiles),
    }  # fmt: skip
