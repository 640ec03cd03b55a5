"""Texts are found wherever a file can hold them."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from goldsmith.host import search
from goldsmith.host.search import find_texts

SECRET = "s3cr3t-väl"


@pytest.fixture
def top(tmp_path):
    (tmp_path / "etc/app").mkdir(parents=True)
    (tmp_path / "etc/app/conf").write_text("nothing\n")
    os.mkfifo(tmp_path / "etc/pipe")
    return tmp_path


def test_a_tree_without_them_has_none(top):
    assert find_texts(top, [SECRET]) is None


@pytest.mark.parametrize("texts", [[], [""]])
def test_nothing_is_found_of_nothing(top, texts):
    assert find_texts(top, texts) is None


def test_it_is_found_in_a_file(top):
    (top / "etc/app/conf").write_text(f"password={SECRET}\n")
    assert find_texts(top, ["other", SECRET]) == "etc/app/conf"


def test_it_is_found_in_a_name(top):
    (top / "etc" / f"x{SECRET}").mkdir()
    assert find_texts(top, [SECRET]) == f"etc/x{SECRET}"


def test_it_is_found_in_a_link_that_is_not_followed(top):
    (top / "etc/link").symlink_to(f"/{SECRET}/x")
    (top / "etc/away").symlink_to("/proc/self/environ")
    assert find_texts(top, [SECRET]) == "etc/link"


@given(before=st.integers(0, 40), size=st.integers(1, 17))
def test_it_is_found_across_the_pieces_that_are_read(tmp_path_factory, before, size):
    top = tmp_path_factory.mktemp("pieces")
    (top / "file").write_bytes(b"." * before + SECRET.encode() + b"." * 5)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(search, "_READ_BYTES", size)
        assert find_texts(top, [SECRET]) == "file"
        assert find_texts(top, ["absent"]) is None


def test_long_texts_are_found_whole_or_not_at_all(top, capfd):
    texts = [f"{'head' * 10} {number:05} {'tail' * 100}" for number in range(3000)]
    (top / "etc/app/conf").write_text(texts[1234][:-1])
    assert find_texts(top, texts) is None
    (top / "etc/app/conf").write_text(f"a {texts[1234]} b")
    assert find_texts(top, texts) == "etc/app/conf"
    assert capfd.readouterr().err == ""
