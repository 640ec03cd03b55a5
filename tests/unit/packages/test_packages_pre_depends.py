"""Which preinsts may run before what they pre-depend on works."""

from __future__ import annotations

from pathlib import Path

import pytest

from goldsmith.packages.unpacked.content_store import UnpackedPackage
from goldsmith.packages.unpacked.pre_depends import (
    configured_before,
    does_nothing_when_new,
    in_order,
    offers,
    pre_depends_reason,
)

HELPED = b"""#!/bin/sh
set -e
# Automatically added by dh_installdeb/13.11.4
dpkg-maintscript-helper rm_conffile /etc/init.d/x 1.2~ \\
    -- "$@"
if [ "$1" = install ] ; then
  dpkg-maintscript-helper symlink_to_dir /usr/share/doc/x y 1~ -- "$@"
fi
case "$1" in
  install|upgrade)
  ;;
  *)
  ;;
esac
exit 0
"""


@pytest.mark.parametrize(
    "line",
    ["rm -rf /usr/share/x", "adduser --system x", "if [ -z `id x` ]; then", "x=1",
     "if [ \"$(id)\" ]; then", "test -e /x && touch /y", "dpkg-divert --list"],
)  # fmt: skip
def test_a_preinst_that_does_something(line: str) -> None:
    assert does_nothing_when_new(HELPED)
    assert does_nothing_when_new(b"#!/bin/sh\n")
    assert not does_nothing_when_new(HELPED.replace(b"exit 0", line.encode()))


def package(
    folder: Path, name: str, *, preinst: str = "", postinst: str = "", **fields: str
) -> UnpackedPackage:
    place = folder / name
    (place / "control").mkdir(parents=True)
    for script, text in (("preinst", preinst), ("postinst", postinst)):
        if text:
            (place / "control" / script).write_text(f"#!/bin/sh\n{text}\n")
    given = {"package": name, "version": "1", "architecture": "amd64",
             **{key.replace("_", "-"): value for key, value in fields.items()}}  # fmt: skip
    return UnpackedPackage(name, place, given, ())


def is_first(one: UnpackedPackage) -> bool:
    return one.fields.get("essential") == "yes"


def test_a_preinst_waits_for_what_has_to_be_configured(tmp_path: Path) -> None:
    deep = package(tmp_path, "deep", postinst="true")
    middle = package(tmp_path, "middle", depends="deep (>= 1) | other", provides="virtual (= 1)")
    top = package(tmp_path, "top", preinst="touch /x", pre_depends="virtual")
    helped = package(tmp_path, "helped", preinst="set -e", pre_depends="virtual")
    everything = [deep, middle, top, helped]
    offered = offers(everything, is_first)
    assert configured_before(top, offered) == [deep, middle]
    assert "may use deep" in pre_depends_reason(top, offered, ())
    assert pre_depends_reason(helped, offered, ()) == ""
    assert pre_depends_reason(deep, offered, ()) == ""


def test_libraries_work_as_they_are_laid(tmp_path: Path) -> None:
    library = package(tmp_path, "library")
    top = package(tmp_path, "top", preinst="touch /x", pre_depends="library")
    offered = offers([library, top], is_first)
    assert pre_depends_reason(top, offered, ()) == ""
    assert "may use library" in pre_depends_reason(top, offered, {library.digest})


def test_the_first_packages_and_what_they_need_work_already(tmp_path: Path) -> None:
    libc = package(tmp_path, "libc", postinst="ldconfig")
    base = package(tmp_path, "base", essential="yes", depends="libc", postinst="true")
    top = package(tmp_path, "top", preinst="touch /x", pre_depends="libc, base")
    assert pre_depends_reason(top, offers([libc, base, top], is_first), ()) == ""


@pytest.mark.parametrize("line", [b" " * 900 + b"x", b"if [" + b" " * (1 << 16), b"(a" * (1 << 16)])
def test_a_script_of_hostile_lines_is_read_in_no_time(line: bytes) -> None:
    assert not does_nothing_when_new(b"\n".join([b" " * 900 + b"true", line] * 200))


def test_each_is_unpacked_after_what_it_needs(tmp_path: Path) -> None:
    plain = package(tmp_path, "plain", postinst="true")
    one = package(tmp_path, "one", preinst="touch /x", pre_depends="two")
    two = package(tmp_path, "two", preinst="touch /y", pre_depends="plain")
    offered = offers([plain, one, two], is_first)
    assert in_order([one, two], offered) == [(two, [plain]), (one, [plain, two])]
    ring = package(tmp_path, "ring", preinst="touch /z", pre_depends="ring", postinst="true")
    assert in_order([ring], offers([ring], is_first)) == [(ring, [])]
