"""Where mkinitramfs is lent a quicker function, and that nothing of it stays."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from goldsmith.packages import quick_copies

FUNCTION = 'copy_file() {\n\tcp "$2" "${DESTDIR}/$2"\n}\n'
FUNCTIONS = f"# functions\nother() {{\n\t:\n}}\n\n{FUNCTION}\nlast() {{\n\tcopy_file x y\n}}\n"


def know(monkeypatch: pytest.MonkeyPatch, **functions: str) -> None:
    """Let these functions be those that are known, by their names."""
    digests = {name: frozenset({hashlib.sha256(text.encode()).hexdigest()})
               for name, text in functions.items()}  # fmt: skip
    monkeypatch.setattr(quick_copies, "_KNOWN", digests)


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    """The function of these tests counts as one that is known."""
    know(monkeypatch, copy_file=FUNCTION)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    place = tmp_path / quick_copies.FUNCTIONS.lstrip("/")
    place.parent.mkdir(parents=True)
    place.write_text(FUNCTIONS)
    os.utime(place, (1000, 1000))
    os.utime(place.parent, (1000, 1000))
    return tmp_path


def state(tree: Path) -> dict[str, object]:
    return {
        str(path): (path.lstat().st_mtime_ns, path.lstat().st_ino, path.is_dir() or
                    path.read_bytes())
        for path in tree.rglob("*")
    }  # fmt: skip


@pytest.mark.usefixtures("known")
def test_the_known_function_stays_under_another_name(tree: Path) -> None:
    before = state(tree)
    with quick_copies.lent(tree) as could:
        assert could
        text = (tree / quick_copies.FUNCTIONS.lstrip("/")).read_text()
    assert FUNCTION.replace("copy_file", "goldsmith_whole_copy_file") in text
    assert text.count("\ncopy_file() {") == 1
    assert text.startswith("# functions\nother() {")
    assert text.endswith("last() {\n\tcopy_file x y\n}\n")
    assert state(tree) == before


@pytest.mark.usefixtures("known")
def test_it_is_taken_back_after_an_error(tree: Path) -> None:
    before = state(tree)
    with pytest.raises(RuntimeError), quick_copies.lent(tree):
        raise RuntimeError
    assert state(tree) == before


def test_another_function_is_left_alone(tree: Path) -> None:
    before = state(tree)
    with quick_copies.lent(tree) as could:
        assert not could
        assert state(tree) == before


@pytest.mark.usefixtures("known")
@pytest.mark.parametrize("text", [FUNCTIONS + FUNCTION, "", "copy_file() {\n"])
def test_two_functions_or_none_are_left_alone(text: str) -> None:
    assert quick_copies.quickened(text) is None


def test_each_function_is_replaced_where_it_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    adding = 'manual_add_modules()\n{\n\tcopy_file module "$1"\n}\n'
    know(monkeypatch, copy_file="another", manual_add_modules=adding)
    text = quick_copies.quickened(FUNCTIONS + adding)
    assert text is not None
    assert text.startswith(FUNCTIONS)
    assert adding.replace("manual", "goldsmith_whole_manual", 1) in text
    assert text.count("\nmanual_add_modules()\n{") == 1
    know(monkeypatch, copy_file=FUNCTION, manual_add_modules=adding)
    text = quick_copies.quickened(FUNCTIONS + adding)
    assert text is not None
    assert text.count("\ncopy_file() {") == text.count("\nmanual_add_modules()\n{") == 1
    assert "goldsmith_whole_copy_file() {" in text


@pytest.mark.usefixtures("known")
def test_a_tree_without_the_file_or_with_a_link_is_left_alone(tree: Path) -> None:
    place = tree / quick_copies.FUNCTIONS.lstrip("/")
    place.rename(place.with_name("elsewhere"))
    with quick_copies.lent(tree) as could:
        assert not could
    place.symlink_to("elsewhere")
    with quick_copies.lent(tree) as could:
        assert not could
    assert place.is_symlink()
