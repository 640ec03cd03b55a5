"""The initramfs of a finished tree: an earlier one where nothing that goes into it has changed.

It takes half of the time in which a tree is finished, and most changes of a template leave it as it
was. What `update-initramfs` does to a tree is kept as a whole: the files that it makes, and the
directories that it touches, so that the tree is the same either way. Names that packages invented
for one tree, and that it holds, are those of the tree that it goes into (`initramfs_identities`).
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from goldsmith.core.step import KeptPart, TreeContext
from goldsmith.errors import GoldsmithError, Interrupted
from goldsmith.host.confined import confined, make_directory
from goldsmith.layers.content import scan
from goldsmith.packages import initramfs, lent_zstd
from goldsmith.packages.initramfs_contents import uncovered
from goldsmith.packages.initramfs_identities import Slot, find_slots, replace_identities
from goldsmith.packages.initramfs_key import InitramfsInputs, initramfs_inputs

NAME: Final = "initramfs"
LABEL: Final = "Making the initramfs"
UNCHANGED: Final = "Initramfs: nothing that goes into it has changed since it was made"
LATER: Final = "The initramfs is made when the tree is finished: {}"

_STATE: Final = b"var/lib/initramfs-tools/"
_VOLATILE: Final = (b"dev", b"proc", b"run", b"sys", b"tmp")
_FILES: Final = "files"
_TOUCHED: Final = "touched"
_IDENTITIES: Final = "identities.json"

Status = tuple[int, int, int, int, int, int]
"""Mode, owner, group, size, time and device of a path."""


def make_initramfs(context: TreeContext, *, lends_zstd: bool = False) -> None:
    """Restore `update-initramfs`, and make the initramfs of every kernel or take an earlier one.

    Raises what `initramfs.make` does, which tells what `lends_zstd` means.
    """
    tree, emitter = context.tree, context.emitter
    inputs = _prepared(context, lends_zstd)
    if inputs is None:
        return
    if context.kept is None or inputs.keyless:
        if inputs.keyless:
            emitter.message(f"The initramfs is made in every build: {inputs.keyless}")
        _make(context, lends_zstd)
        return
    with context.kept.part(NAME, LABEL, inputs.named) as kept:
        if kept.files is not None:
            _restore(kept.files, tree, inputs.identities)
            emitter.message(UNCHANGED)
            return
        emitter.message(f"{LABEL}: {kept.reason}")
        _make_and_keep(context, kept, inputs, lends_zstd)


def keep_initramfs(context: TreeContext) -> None:
    """Make the initramfs of a tree that nobody uses, for one with the same inputs, unless there is.

    Raises what `initramfs.make` does.
    """
    inputs = _prepared(context, False)
    if inputs is None or context.kept is None:
        return
    if inputs.keyless:
        context.emitter.message(LATER.format(inputs.keyless))
        return
    with context.kept.part(NAME, LABEL, inputs.named) as kept:
        if kept.files is None:
            context.emitter.message(f"{LABEL} beside the bootstrap: {kept.reason}")
            _make_and_keep(context, kept, inputs, False)


def _prepared(context: TreeContext, lends_zstd: bool) -> InitramfsInputs | None:
    """Restore `update-initramfs` and read what goes into the initramfs; None where none is made."""
    tree = context.tree
    if not initramfs.prepare(tree, context.run_in_tree):
        return None
    kernels = initramfs.installed_kernels(tree)
    if not kernels:
        return None
    dated_s = context.epoch_s if context.epoch_is_given else None
    # Where the bytes or the level are given, only if we pack it ourselves, and so can do it again.
    packs = initramfs.packs_itself(tree, kernels, lends_zstd=lends_zstd)
    replaces = packs or (dated_s is None and not initramfs.has_level(tree))
    inputs = initramfs_inputs(tree, kernels, dated_s=dated_s, replaces_names=replaces)
    if packs:
        inputs.named["packer"] = lent_zstd.packer()
    if lends_zstd:
        inputs.named["zstd"] = "lent where the tree has none"
    return inputs


def _make_and_keep(
    context: TreeContext, kept: KeptPart, inputs: InitramfsInputs, lends_zstd: bool
) -> None:
    """Make it in the tree, and keep it if it may stand for that of another."""
    tree = context.tree
    before = _statuses(tree)
    made = _make(context, lends_zstd)
    changes = Changes.between(before, _statuses(tree))
    problem, slots = _problem(tree, made, inputs, changes)
    if problem:
        context.emitter.message(f"The initramfs is not kept for later builds: {problem}")
        return

    def fill(place: Path) -> None:
        _store(changes, tree, place)
        _store_identities(inputs.identities, slots, place)

    kept.keep(fill)


def _make(context: TreeContext, lends_zstd: bool) -> tuple[initramfs.Initramfs, ...]:
    return initramfs.make(
        context.tree, context.run_in_tree, source_date_epoch=context.epoch_s,
        emit=lambda text: context.emitter.progress(text, 0), lends_zstd=lends_zstd,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Changes:
    """What a program has done to a tree, as paths from its root."""

    written: tuple[bytes, ...]
    touched: tuple[bytes, ...]
    """Directories."""
    removed: tuple[bytes, ...]

    @classmethod
    def between(cls, before: Mapping[bytes, Status], after: Mapping[bytes, Status]) -> Changes:
        """The difference of two looks at a tree."""
        changed = [path for path, status in after.items() if before.get(path) != status]
        touched = [path for path in changed if stat.S_ISDIR(after[path][0])]
        return cls(
            tuple(path for path in changed if not stat.S_ISDIR(after[path][0])),
            tuple(touched), tuple(path for path in before if path not in after),
        )  # fmt: skip


def _statuses(tree: Path) -> dict[bytes, Status]:
    found = {}
    for path, status in scan(tree):
        if path.partition(b"/")[0] not in _VOLATILE:
            # The size of a directory says nothing of it, its time does.
            size_bytes = 0 if stat.S_ISDIR(status.st_mode) else status.st_size
            found[path] = (status.st_mode, status.st_uid, status.st_gid, size_bytes,
                           status.st_mtime_ns, status.st_rdev)  # fmt: skip
    return found


def _problem(
    tree: Path,
    made: tuple[initramfs.Initramfs, ...],
    inputs: InitramfsInputs,
    changes: Changes,
) -> tuple[str, dict[str, list[Slot]]]:
    """Why what was made may not stand for another build, "" where it may.

    And where the identities lie in each initramfs, by its path from the tree's root.
    """
    places = [confined(tree, one.path, follow_last=True) for one in made]
    slots: dict[str, list[Slot]] = {}
    expected = {os.fsencode(place.relative_to(tree)) for place in places}
    others = [path for path in changes.written
              if path not in expected and not path.startswith(_STATE)]  # fmt: skip
    if others or changes.removed:
        path = os.fsdecode((*others, *changes.removed)[0])
        return f"its hooks change the tree, too: /{path}", slots
    if not expected.issubset(changes.written) or not all(map(_is_file, places)):
        return "update-initramfs has not written it", slots
    for place in places:
        try:
            foreign = uncovered(tree, place, inputs.covered)
            if inputs.identities:
                slots[str(place.relative_to(tree))] = find_slots(place, inputs.identities)
        except Interrupted:
            raise
        except GoldsmithError as e:
            return str(e), slots
        if foreign:
            more = f" and {len(foreign) - 1} more" if len(foreign) > 1 else ""
            return f"nothing says beforehand what is in {foreign[0]}{more}", slots
    return "", slots


def _is_file(place: Path) -> bool:
    return stat.S_ISREG(place.lstat().st_mode)


def _store(changes: Changes, tree: Path, place: Path) -> None:
    """Copy what was written into an empty directory, with a list of what was touched."""
    for path in map(os.fsdecode, changes.written):
        target = place / _FILES / path
        target.parent.mkdir(parents=True, exist_ok=True)
        _copy(tree / path, target)
    (place / _TOUCHED).write_bytes(b"\0".join(changes.touched))


def _store_identities(
    identities: Mapping[str, bytes], slots: Mapping[str, list[Slot]], place: Path
) -> None:
    """Note what names the tree had, and where they lie in what was made."""
    known = {name: base64.b64encode(content).decode() for name, content in identities.items()}
    found = {path: [[slot.place, slot.at] for slot in listed] for path, listed in slots.items()}
    (place / _IDENTITIES).write_text(json.dumps({"names": known, "slots": found}))


def _slots_to_fill(place: Path, identities: Mapping[str, bytes]) -> dict[str, list[Slot]]:
    """The slots of each kept initramfs that hold another name than this tree has."""
    noted = json.loads((place / _IDENTITIES).read_text())
    other = {name for name, content in identities.items()
             if noted["names"].get(name) != base64.b64encode(content).decode()}  # fmt: skip
    return {path: [Slot(name, at) for name, at in listed if name in other]
            for path, listed in noted["slots"].items()}  # fmt: skip


def _restore(place: Path, tree: Path, identities: Mapping[str, bytes]) -> None:
    """Do to a tree what `_store` has kept, with the names that this tree has."""
    files = place / _FILES
    to_fill = _slots_to_fill(place, identities)
    for folder, _, names in os.walk(files):
        for name in names:
            source = Path(folder, name)
            path = f"/{source.relative_to(files)}"
            target = make_directory(tree, os.path.dirname(path)) / name
            temporary = target.with_name(f".{name}.goldsmith")
            temporary.unlink(missing_ok=True)
            slots = to_fill.get(path.lstrip("/"))
            if slots:
                replace_identities(source, temporary, slots, identities)
                _give_status(source, temporary)
            else:
                _copy(source, temporary)
            temporary.replace(target)
    for touched in (place / _TOUCHED).read_bytes().split(b"\0"):
        found = confined(tree, os.fsdecode(touched))
        if found.is_dir() and not found.is_symlink():
            os.utime(found)


def _copy(source: Path, target: Path) -> None:
    """Copy a file with its mode and owner, but dated now, as if it were made here."""
    shutil.copyfile(source, target, follow_symlinks=False)
    _give_status(source, target)


def _give_status(source: Path, target: Path) -> None:
    status = os.lstat(source)
    os.chown(target, status.st_uid, status.st_gid, follow_symlinks=False)
    if not stat.S_ISLNK(status.st_mode):
        target.chmod(stat.S_IMODE(status.st_mode))
