"""Which calls of mmdebstrap are done by the store of packages: those that are known to the word."""

from pathlib import Path

import pytest

from goldsmith.elements.quick_mmdebstrap import Call, understand
from goldsmith.packages.apt_sources import AptSource

UPSTREAM = (
    "--verbose", "--variant=minbase", "--components=main,universe", "--arch=amd64",
    "--keyring=/keys/test.gpg", "--include=apt,tzdata", "noble", "/build/mnt",
    "http://127.0.0.1:80/ubuntu",
)  # fmt: skip


def test_upstream_s_call_is_understood():
    assert understand(UPSTREAM, {}) == Call(
        suite="noble", target=Path("/build/mnt"), mirror="http://127.0.0.1:80/ubuntu",
        variant="minbase", components=("main", "universe"), architecture="amd64",
        keyring="/keys/test.gpg", packages=("apt", "tzdata"),
    )  # fmt: skip


def test_packages_of_several_words_are_joined():
    call = understand(("--include=aa,bb", *UPSTREAM[1:], "--include=cc dd,,cc"), {})
    assert call is not None
    assert call.packages == ("aa", "bb", "apt", "tzdata", "cc", "dd")


@pytest.mark.parametrize(
    "more",
    ["--skip=check/signed-by", "--aptopt=Acquire::Retries 3", "--hook-dir=/x", "--include",
     "--include=", "--mode=unshare", "--format=tar", "--dpkgopt=x", "--no-check-gpg", "--help",
     "--include=?priority(required)", "--include=./x.deb", "--include=a-", "another",
     "--components=a;b", "--variant=buildd", "--simulate"],
)  # fmt: skip
def test_whatever_else_is_said_is_left_to_mmdebstrap(more):
    assert understand((*UPSTREAM, more), {}) is None


@pytest.mark.parametrize(
    "places",
    [(), ("noble",), ("noble", "/build/mnt"), ("noble", "mnt", "http://a/b"),
     ("noble", "/build/mnt", "file:///a"), ("noble", "/build/mnt", "deb http://a/b noble main"),
     ("noble", "/build/mnt", "/etc/apt/sources.list"), ("", "/build/mnt", "http://a/b"),
     ("noble", "/build/mnt", "-"), ("../noble", "/build/mnt", "http://a/b")],
)  # fmt: skip
def test_other_suites_targets_and_mirrors_are_left_to_mmdebstrap(places):
    assert understand((*UPSTREAM[:-3], *places), {}) is None


def upgrades(conf: str, element: str = "debian-minimal") -> tuple[AptSource, ...]:
    given = {"DIB_APT_SOURCES_CONF": conf, "IMAGE_ELEMENT": f"base {element} vm"}
    call = understand(UPSTREAM, given)
    assert call is not None
    return call.upgrades


def test_what_hooks_upgrade_to_is_taken_at_once():
    conf = (
        "default:deb http://a/ubuntu noble main universe\n"
        "security:deb http://b/ubuntu noble-security main\n"
        "updates:deb http://a/ubuntu noble-updates universe\n"
    )
    assert upgrades(conf) == (
        AptSource(("deb",), ("http://b/ubuntu",), ("noble-security",), ("main",)),
        AptSource(("deb",), ("http://a/ubuntu",), ("noble-updates",), ("universe",)),
    )
    assert upgrades(conf, element="debian-of-mine") == ()


@pytest.mark.parametrize(
    "line",
    ["deb http://c/other stable main", "deb http://b/ubuntu noble-backports main",
     "deb [trusted=yes] http://b/ubuntu noble-updates main", "nonsense",
     "deb [signed-by=/k.gpg] http://b/ubuntu noble-updates main",
     "deb http://b/ubuntu noble-updates multiverse", "deb file:///b noble-updates main",
     "deb [arch=i386] http://b/ubuntu noble-updates main", "deb http://b/ubuntu noble-updates/"],
)  # fmt: skip
def test_with_a_source_that_is_not_of_the_release_nothing_is_taken_at_once(line):
    assert not upgrades(f"updates:deb http://a/ubuntu noble-updates main\nother:{line}\n")
