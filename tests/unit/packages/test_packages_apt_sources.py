"""APT's sources: both written forms, and the choice of a suite's entries."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from goldsmith.packages.apt_sources import (
    AptSource,
    parse_source_lines,
    parse_sources,
    read_host_sources,
    render_sources,
)
from goldsmith.packages.errors import PackageError
from goldsmith.packages.keyrings import DEBIAN_KEYRING
from goldsmith.packages.mirrors import sources_for

HOST = """\
# a comment
Types: deb deb-src
# another one
URIs: http://deb.example.invalid/debian
Suites: bookworm bookworm-updates bookworm-backports
Components: main contrib
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://deb.example.invalid/debian-security
Suites: bookworm-security
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
Check-Valid-Until: no

Enabled: no
Types: deb
URIs: http://off.example.invalid/debian
Suites: bookworm
Components: main
"""
VENDOR = (
    "deb [arch=amd64,i386 signed-by=/usr/share/keyrings/vendor.gpg] "
    "https://vendor.example.invalid bookworm main"
)


@pytest.fixture
def host(tmp_path: Path) -> Path:
    folder = tmp_path / "etc/apt/sources.list.d"
    folder.mkdir(parents=True)
    (folder / "debian.sources").write_text(HOST)
    (folder / "vendor.list").write_text(VENDOR + "\n")
    (folder / "old.list.disabled").write_text("not read at all")
    return tmp_path


def add(host: Path, name: str, text: str) -> None:
    (host / "etc/apt/sources.list.d" / name).write_text(text)


def test_deb822_paragraphs() -> None:
    first, second = parse_sources(HOST, "x")
    assert first.types == ("deb", "deb-src")
    assert first.suites == ("bookworm", "bookworm-updates", "bookworm-backports")
    assert first.components == ("main", "contrib")
    assert second.options == {"check-valid-until": "no"}
    assert "Check-Valid-Until: no\n" in second.render()


def test_inline_key_survives_rendering() -> None:
    key = "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nmDMEY\n=x\n-----END PGP PUBLIC KEY BLOCK-----"
    source = AptSource(("deb",), ("http://a.invalid",), ("x",), ("main",), key)
    text = render_sources([source, source])
    assert "Signed-By: \n -----BEGIN" in text
    assert "\n .\n" in text
    assert parse_sources(text, "x") == [source, source]
    assert source.inline_key


def test_one_line_form() -> None:
    (source,) = parse_source_lines(VENDOR, "x")
    assert source.architectures == ("amd64", "i386")
    assert source.signed_by == "/usr/share/keyrings/vendor.gpg"
    assert (source.uris, source.suites) == (("https://vendor.example.invalid",), ("bookworm",))
    flat, disc = parse_source_lines(
        "deb [ trusted=yes lang=de ] copy:/srv/x ./ # flat\n\ndeb cdrom:[A B]/ bookworm main", "x"
    )
    assert flat.suites == ("./",)
    assert flat.components == ()
    assert flat.options == {"trusted": "yes", "languages": "de"}
    assert flat.is_unverified
    assert flat.verified().options == {"languages": "de"}
    assert flat.is_local
    assert disc.uris == ("cdrom:[A B]/",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("deb http://a.invalid", "x:1: not a source"),
        ("\nrpm http://a.invalid b main", "x:2: not a source"),
        ("deb [trusted] http://a.invalid b main", "x:1: not an option: trusted"),
    ],
)
def test_wrong_lines(text: str, message: str) -> None:
    with pytest.raises(PackageError, match=message):
        parse_source_lines(text, "x")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Types: deb\nURIs: http://a.invalid\n", "x: a paragraph has no Suites"),
        ("Types: deb\nnonsense\n", "x: line 2: not a field"),
        (" more\n", "x: line 1: a continuation line"),
    ],
)
def test_wrong_paragraphs(text: str, message: str) -> None:
    with pytest.raises(PackageError, match=message):
        parse_sources(text, "x")


def test_passwords_are_known_and_removed() -> None:
    source = AptSource(("deb",), ("https://me:p%40ss@a.invalid/debian", "http://b.invalid"), ("x",))
    assert source.passwords() == {"p%40ss", "p@ss"}
    assert source.without_passwords().uris == ("https://a.invalid/debian", "http://b.invalid")
    assert source.without_passwords().passwords() == frozenset()


words = st.text("abcdefgh-./", min_size=1, max_size=8)
sources = st.builds(
    AptSource,
    types=st.sampled_from([("deb",), ("deb", "deb-src")]),
    uris=st.lists(words, min_size=1, max_size=2).map(tuple),
    suites=st.lists(words, min_size=1, max_size=2).map(tuple),
    components=st.lists(words, max_size=2).map(tuple),
    signed_by=st.sampled_from(["", "/k.gpg", "-BEGIN PGP\n\nab\n-"]),
    architectures=st.lists(words, max_size=2).map(tuple),
    options=st.dictionaries(st.sampled_from(["trusted", "by-hash"]), words, max_size=2),
)


@given(st.lists(sources, max_size=3))
def test_what_is_rendered_is_read_again(given_sources: list[AptSource]) -> None:
    assert parse_sources(render_sources(given_sources), "x") == given_sources


def test_host_entries_of_a_suite(host: Path) -> None:
    chosen = sources_for("bookworm", "", host)
    assert [(s.types, s.suites) for s in chosen] == [
        (("deb",), ("bookworm", "bookworm-updates")),
        (("deb",), ("bookworm-security",)),
    ]
    assert len(read_host_sources(host)) == 3


def test_a_resigned_mirror_stands_alone(host: Path) -> None:
    add(host, "debian.sources", HOST.replace("debian-archive-keyring", "site"))
    uris = {s.uris for s in sources_for("bookworm", "", host, architecture="amd64")}
    assert ("http://deb.example.invalid/debian",) in uris
    # Debian's own security suite does not push out the site's mirror of the release.
    add(host, "debian.sources", HOST.replace("debian-archive-keyring", "site", 1))
    chosen = sources_for("bookworm", "", host)
    assert {suite for s in chosen for suite in s.suites} == {
        "bookworm", "bookworm-updates", "bookworm-security"
    }  # fmt: skip


def test_entries_of_other_architectures_and_discs(host: Path) -> None:
    add(host, "debian.sources", "")
    add(host, "cd.list", "deb cdrom:[Debian]/ bookworm main")
    assert sources_for("bookworm", "", host, architecture="i386")[0].architectures
    with pytest.raises(PackageError, match="no suite 'bookworm': it has none at all"):
        sources_for("bookworm", "", host, architecture="arm64")


def test_unknown_suite_lists_the_known_ones(host: Path) -> None:
    with pytest.raises(PackageError, match="no suite 'trixie': it has bookworm, ") as caught:
        sources_for("trixie", "", host)
    assert "mirror" in str(caught.value.hint)
    with pytest.raises(PackageError):
        sources_for("bookworm-sec", "", host)


def test_a_list_of_mirrors_becomes_its_first(host: Path) -> None:
    lists = host / "etc/apt/mirrors"
    lists.mkdir()
    (lists / "debian.list").write_text("# ours\nhttps://one.invalid/debian priority:1\nhttps://two")
    named = "URIs: mirror+file:///etc/apt/mirrors/debian.list\n"
    add(host, "debian.sources", HOST.replace("URIs: http://deb.example.invalid/debian\n", named))
    assert sources_for("bookworm", "", host)[0].uris == ("https://one.invalid/debian",)
    (lists / "debian.list").write_text("# none\n")
    with pytest.raises(PackageError, match="names none"):
        sources_for("bookworm", "", host)


def test_named_mirror(host: Path) -> None:
    with pytest.raises(PackageError, match="signatures") as caught:
        sources_for("trixie", "http://m.example.invalid/debian", host)
    assert caught.value.hint == "apt-get install debian-archive-keyring"
    keyring = host / DEBIAN_KEYRING.lstrip("/")
    keyring.parent.mkdir(parents=True)
    keyring.write_bytes(b"key")
    (only,) = sources_for("trixie", "http://m.example.invalid/debian", host)
    assert (only.uris, only.suites) == (("http://m.example.invalid/debian",), ("trixie",))
    assert (only.components, only.signed_by) == (("main",), DEBIAN_KEYRING)
    mirror, security = sources_for("bookworm", "http://m.example.invalid/debian", host)
    assert mirror.suites == ("bookworm",)
    assert security.uris == ("http://deb.example.invalid/debian-security",)
    _, named = sources_for("trixie", "file:///m", host, security_mirror="file:///s")
    assert (named.uris, named.suites) == (("file:///s",), ("trixie-security",))
