"""Steps on overlays against the same operations on a plain directory: no difference may show."""

from __future__ import annotations

import os
import random
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from private_namespace import run_privately

from goldsmith.layers.overlay import clamp_times, copy_root_attributes, stacked, step_overlay

pytestmark = pytest.mark.root

EPOCH_S = 1_700_000_000


def describe(top: Path) -> dict[str, tuple[object, ...]]:
    """Everything that a layer promises to keep, by relative path; link groups by first name."""
    groups: dict[tuple[int, int], str] = {}
    found: dict[str, tuple[object, ...]] = {}
    for directory, names, files in os.walk(top):
        for name in [".", *names, *files] if directory == str(top) else [*names, *files]:
            path = Path(directory, name)
            relative = os.path.relpath(path, top)
            status = os.lstat(path)
            content: object = None
            if stat.S_ISREG(status.st_mode):
                content = path.read_bytes()
            elif stat.S_ISLNK(status.st_mode):
                content = os.readlink(path)
            xattrs = {
                key: os.getxattr(path, key, follow_symlinks=False)
                for key in os.listxattr(path, follow_symlinks=False)
                if not key.startswith("trusted.overlay.")
            }
            found[relative] = (status.st_mode, status.st_uid, status.st_gid, content, xattrs)
    for relative in sorted(found):
        status = os.lstat(top / relative)
        if not stat.S_ISDIR(status.st_mode):
            first = groups.setdefault((status.st_dev, status.st_ino), relative)
            found[relative] = (*found[relative], first)
    return found


def change(top: Path, chance: random.Random) -> None:
    """One random operation of the kinds that maintainer scripts do."""
    files = [p for p in top.rglob("*") if p.is_file() and not p.is_symlink()]
    folders = [top, *(p for p in top.rglob("*") if p.is_dir() and not p.is_symlink())]
    name = f"n{chance.randrange(40)}"
    target = chance.choice(folders) / name
    kind = chance.choice(
        ["write", "append", "link", "unlink", "rename", "rename-dir", "mkdir", "rmtree", "chmod",
         "symlink", "chown", "setuid", "replace"]
    )  # fmt: skip
    if kind == "mkdir" and not os.path.lexists(target):
        target.mkdir()
    elif kind == "symlink" and not os.path.lexists(target):
        target.symlink_to("../somewhere")
    elif kind == "write" and not os.path.lexists(target):
        target.write_bytes(chance.randbytes(20))
    elif kind == "rename-dir" and len(folders) > 1:
        folder = chance.choice(folders[1:])
        if not os.path.lexists(target) and not target.is_relative_to(folder):
            os.rename(folder, target)
    elif kind == "rmtree" and len(folders) > 4:
        shutil.rmtree(chance.choice(folders[1:]))
    elif files:
        file = chance.choice(files)
        if kind == "append":
            with file.open("ab") as out:
                out.write(b"+")
        elif kind == "link" and not os.path.lexists(target):
            os.link(file, target)
        elif kind == "unlink":
            file.unlink()
        elif kind == "rename" and not target.is_dir():
            os.rename(file, target)
        elif kind == "chmod":
            file.chmod(chance.choice([0o600, 0o644, 0o755]))
        elif kind == "chown":
            os.chown(file, chance.randrange(5), chance.randrange(5))
        elif kind == "setuid":
            file.chmod(0o4755)
        elif kind == "replace":
            # As sed -i does after a chmod: no whiteout tells of the name that the file lost.
            file.chmod(0o640)
            new = file.with_name("new")
            new.write_bytes(chance.randbytes(5))
            os.rename(new, file)


def link_elsewhere(tree: Path, store: Path) -> None:
    """Give every file of a tree one more name outside of it."""
    store.mkdir()
    for number, path in enumerate(sorted(tree.rglob("*"))):
        if path.is_file() and not path.is_symlink():
            os.link(path, store / str(number))


def run_steps(top: Path, seed: int, steps: int = 3) -> tuple[object, object, object]:
    """The same random steps on overlays and on a plain directory; what each looks like.

    With every second seed the files of the lowest layer are links to a store.
    """
    plain, layers, merged = top / "plain", top / "layers", top / "merged"
    base = layers / "00"
    for directory in (plain, base):
        directory.mkdir(parents=True)
        start = random.Random(seed)
        for _ in range(30):
            change_in_order(directory, start)
        directory.chmod(0o1777)
        os.chown(directory, 5, 6)
    store, stack, live = top / "store", [base], None
    if seed % 2:
        link_elsewhere(base, store)
    stored = describe(store)
    for step in range(1, steps + 1):
        upper = layers / f"{step:02d}"
        operations = 25
        with step_overlay(
            stack[::-1], upper, scratch=top / f"mount-{step}", merged=merged, clamp_to_s=None
        ) as tree:
            for directory in (tree, plain):
                chance = random.Random(seed * 100 + step)
                for _ in range(operations):
                    change_in_order(directory, chance)
            live = describe(tree)
        stack.append(upper)
    with stacked(stack[::-1], merged, layers / "view") as tree:
        published = describe(tree)
    assert describe(store) == stored
    return describe(plain), live, published


def change_in_order(top: Path, chance: random.Random) -> None:
    """`change`, with names in one order whatever the file system's own."""
    original = Path.rglob

    def ordered(self: Path, pattern: str) -> list[Path]:
        return sorted(original(self, pattern))

    Path.rglob = ordered  # type: ignore[method-assign]
    try:
        change(top, chance)
    finally:
        Path.rglob = original  # type: ignore[method-assign]


@pytest.mark.parametrize("seed", range(40))
def test_steps_on_overlays_equal_steps_on_a_plain_directory(tmp_path: Path, seed: int) -> None:
    plain, live, published = run_privately(lambda: run_steps(tmp_path, seed))
    assert live == plain
    assert published == plain


def append_and_replace(tree: Path) -> None:
    with (tree / "a").open("a") as file:
        file.write("+")
    (tree / "new").write_text("n")
    os.rename(tree / "new", tree / "a")


def chmod_and_make_anew(tree: Path) -> None:
    (tree / "a").chmod(0o600)
    (tree / "a").unlink()
    (tree / "a").write_text("n")


def own_and_link_to(tree: Path) -> None:
    os.chown(tree / "a", 7, 7)
    (tree / "a").unlink()
    (tree / "a").symlink_to("b")


@pytest.mark.parametrize("stored", [False, True])
@pytest.mark.parametrize("change", [append_and_replace, chmod_and_make_anew, own_and_link_to])
def test_a_change_stays_when_the_name_that_brought_it_is_replaced(
    tmp_path: Path, change: Callable[[Path], None], stored: bool
) -> None:
    lower, upper, merged = tmp_path / "00", tmp_path / "01", tmp_path / "merged"

    def body() -> tuple[object, object]:
        lower.mkdir()
        (lower / "a").write_text("x")
        os.link(lower / "a", lower / "b")
        if stored:
            os.link(lower / "a", tmp_path / "stored")
        with step_overlay(
            [lower], upper, scratch=tmp_path / "mount", merged=merged, clamp_to_s=None
        ) as tree:
            change(tree)
            live = describe(tree)
        with stacked([upper, lower], merged, tmp_path / "view") as tree:
            return live, describe(tree)

    live, published = run_privately(body)
    assert published == live
    assert (lower / "b").read_text() == "x"


def test_a_name_that_is_removed_copies_no_other_files_up(tmp_path: Path) -> None:
    lower, upper = tmp_path / "00", tmp_path / "01"

    def body() -> None:
        lower.mkdir()
        for name in "ac":
            (lower / name).write_text(name)
        os.link(lower / "c", lower / "d")
        os.link(lower / "a", tmp_path / "stored")
        with step_overlay(
            [lower], upper, scratch=tmp_path / "mount", merged=tmp_path / "merged",
            clamp_to_s=None,
        ) as tree:  # fmt: skip
            (tree / "a").unlink()

    run_privately(body)
    assert os.listdir(upper) == ["a"]


def test_setuid_and_capabilities_of_linked_files_survive_the_pass(tmp_path: Path) -> None:
    capability = bytes.fromhex("0100000200040000000000000000000000000000")

    def body() -> tuple[int, bytes, bool]:
        lower = tmp_path / "00"
        lower.mkdir()
        (lower / "a").write_text("x")
        (lower / "a").chmod(0o4755)
        os.link(lower / "a", lower / "b")
        os.link(lower / "a", lower / "c")
        os.setxattr(lower / "a", "security.capability", capability)
        upper = tmp_path / "01"
        with step_overlay(
            [lower], upper, scratch=tmp_path / "mount", merged=tmp_path / "merged", clamp_to_s=None
        ) as tree:
            os.unlink(tree / "c")
        with stacked([upper, lower], tmp_path / "merged", tmp_path / "view") as tree:
            status = os.lstat(tree / "b")
            same = os.lstat(tree / "a").st_ino == status.st_ino
            return status.st_mode, os.getxattr(tree / "b", "security.capability"), same

    mode, kept, same = run_privately(body)
    assert stat.S_IMODE(mode) == 0o4755
    assert kept == capability
    assert same


def test_root_keeps_its_mode_owner_and_attributes(tmp_path: Path) -> None:
    lower, upper = tmp_path / "lower", tmp_path / "upper"
    lower.mkdir()
    upper.mkdir()
    os.setxattr(lower, "user.mark", b"1")
    os.chown(lower, 5, 6)
    lower.chmod(0o1777)
    copy_root_attributes(lower, upper)
    status = os.stat(upper)
    assert (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid) == (0o1777, 5, 6)
    assert os.getxattr(upper, "user.mark") == b"1"


def test_times_after_the_epoch_are_clamped_and_others_stay(tmp_path: Path) -> None:
    old, new, link = tmp_path / "old", tmp_path / "new", tmp_path / "link"
    old.write_text("")
    new.write_text("")
    link.symlink_to("nowhere")
    os.utime(old, (5, EPOCH_S - 5))
    clamp_times(tmp_path, EPOCH_S)
    assert os.lstat(old).st_mtime == EPOCH_S - 5
    assert os.lstat(new).st_mtime == EPOCH_S
    assert os.lstat(link).st_mtime == EPOCH_S
    assert os.stat(tmp_path).st_mtime == EPOCH_S


def test_many_layers_fit_one_mount(tmp_path: Path) -> None:
    def body() -> list[str]:
        layers = []
        for number in range(120):
            layer = tmp_path / "a-directory-with-a-rather-long-name" / f"{number:03d}"
            layer.mkdir(parents=True)
            (layer / f"file-{number}").write_text("")
            layers.append(layer)
        scratch = layers[0].parent / "view"
        with stacked(layers[::-1], tmp_path / "merged", scratch) as tree:
            return sorted(os.listdir(tree))

    assert len(run_privately(body)) == 120


def test_names_with_commas_and_colons_can_be_mounted(tmp_path: Path) -> None:
    def body() -> str:
        place = tmp_path / "a,b:c\\d"
        (place / "00").mkdir(parents=True)
        (place / "00" / "file").write_text("content")
        with stacked([place / "00"], tmp_path / "merged", place / "view") as tree:
            return (tree / "file").read_text()

    assert run_privately(body) == "content"
