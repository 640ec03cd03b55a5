"""Packages of every kind, laid from the store and unpacked by mmdebstrap: the trees are one."""

from __future__ import annotations

import itertools
import shutil
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from debs import deb, directory, entry
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from private_namespace import run_privately
from store_site import StoreSite, configured, lay, store_site
from tree_comparison import differences

from goldsmith.packages.bootstrap import bootstrap_apt
from goldsmith.packages.installed import installed_packages
from goldsmith.packages.unpacked.content_store import ContentStore, changed_packages

pytestmark = pytest.mark.root

NAMES = ("alpha", "beta", "gamma", "lib-delta+1")


@dataclass
class Drawn:
    """A package in the making."""

    name: str
    entries: list[tuple[tarfile.TarInfo, bytes | None]] = field(default_factory=list)
    control: dict[str, str] = field(default_factory=dict)
    fields: dict[str, str] = field(default_factory=dict)
    made: set[str] = field(default_factory=set)

    def add(self, path: str, content: bytes = b"", **options: object) -> None:
        """A file, with the directories above it."""
        self.folder(path.rpartition("/")[0])
        self.entries.append(entry(f"./{path}", content, **options))  # type: ignore[arg-type]

    def folder(self, path: str, mode: int = 0o755) -> None:
        """A directory, once, with those above it."""
        if "/" in path:
            self.folder(path.rpartition("/")[0])
        if path not in self.made:
            self.made.add(path)
            self.entries.append(directory(f"./{path}", mode))

    def script(self, name: str, line: str) -> None:
        """One more line of a maintainer script."""
        self.control[name] = self.control.get(name, "#!/bin/sh\nset -e\n") + f"{line}\n"

    def content(self) -> bytes:
        """The package file."""
        return deb(self.name, self.entries, control=self.control, compression=".gz", **self.fields)


def conffile(one: Drawn, others: Sequence[Drawn]) -> None:
    one.add(f"etc/{one.name}/conf", b"value\n", mode=0o640)
    one.control["conffiles"] = f"/etc/{one.name}/conf\n"


def diversion(one: Drawn, others: Sequence[Drawn]) -> None:
    path = f"/usr/share/{others[0].name}/text"
    one.script("preinst", f"dpkg-divert --package {one.name} --add --rename --divert "
                          f"{path}.distrib {path}")  # fmt: skip
    one.add(path.lstrip("/"), b"mine\n")


def alternative(one: Drawn, others: Sequence[Drawn]) -> None:
    one.add(f"usr/bin/{one.name}-alt", b"#!/bin/sh\n", mode=0o755)
    priority = 10 + NAMES.index(one.name)
    one.script("postinst", f"update-alternatives --install /usr/bin/alt alt "
                           f"/usr/bin/{one.name}-alt {priority}")  # fmt: skip


def trigger(one: Drawn, others: Sequence[Drawn]) -> None:
    one.control["triggers"] = "interest-noawait /usr/share/noted\ninterest named-one\n"
    one.script("postinst", f'if [ "$1" = triggered ]; then echo "$2" > /var/lib/{one.name}; fi')
    others[0].add(f"usr/share/noted/{others[0].name}", b"noted")
    others[0].control["triggers"] = "activate-noawait named-one\n"


def pre_depends(one: Drawn, others: Sequence[Drawn]) -> None:
    one.fields["Pre_Depends"] = others[0].name
    one.script("preinst", f"test -e /usr/share/{others[0].name}/text")


def pre_depends_working(one: Drawn, others: Sequence[Drawn]) -> None:
    one.fields["Pre_Depends"] = others[0].name
    others[0].fields["Depends"] = others[1].name
    others[1].script("postinst", "echo works > /var/lib/works")
    others[0].script("postinst", "cp /var/lib/works /var/lib/works-too")
    one.script("preinst", "cat /var/lib/works-too > /var/lib/seen")


def moved_file(one: Drawn, others: Sequence[Drawn]) -> None:
    one.fields["Replaces"] = others[0].name
    one.add(f"usr/share/{others[0].name}/moved", b"new")
    others[0].add(f"usr/share/{others[0].name}/moved", b"old")


def link_for_directory(one: Drawn, others: Sequence[Drawn]) -> None:
    one.folder("usr/share/real")
    one.add("usr/share/real/one", b"1")
    one.add("usr/share/seen", kind=tarfile.SYMTYPE, target="real")
    others[0].fields["Depends"] = one.name
    others[0].add("usr/share/seen/two", b"2")


def old_places(one: Drawn, others: Sequence[Drawn]) -> None:
    one.add(f"bin/{one.name}", b"#!/bin/sh\n", mode=0o755)
    one.add(f"lib/{one.name}.so", b"library")


def odd_names(one: Drawn, others: Sequence[Drawn]) -> None:
    long = "long-" * 30
    for name in ("a b", "ä\u2028ö", "-rf", "x[1]*?", "plus+", long):
        one.add(f"usr/share/{one.name}/{name}", name.encode())


def kinds(one: Drawn, others: Sequence[Drawn]) -> None:
    one.add(f"usr/bin/{one.name}-set", b"program", mode=0o4755)
    one.add(f"usr/bin/{one.name}-hard", kind=tarfile.LNKTYPE, mode=0o4755,
            target=f"./usr/bin/{one.name}-set")  # fmt: skip
    one.add(f"usr/share/{one.name}/dangling", kind=tarfile.SYMTYPE, target="/nowhere")
    one.folder(f"var/lib/{one.name}-state", 0o2770)
    one.add(f"usr/share/{one.name}/empty", b"", uid=4, mode=0o600)


def multi_arch(one: Drawn, others: Sequence[Drawn]) -> None:
    one.fields["Multi_Arch"] = "same"


def removing_preinst(one: Drawn, others: Sequence[Drawn]) -> None:
    one.add(f"usr/share/{one.name}/docs/page", b"page")
    one.script("preinst", f"rm -rf /usr/share/{one.name}/docs")


def writing_preinst(one: Drawn, others: Sequence[Drawn]) -> None:
    one.add(f"usr/share/{one.name}/written", b"as it is packed")
    one.script("preinst", f"mkdir -p /usr/share/{one.name}\n"
                          f"echo otherwise > /usr/share/{one.name}/written")  # fmt: skip


def helped_preinst(one: Drawn, others: Sequence[Drawn]) -> None:
    one.fields["Pre_Depends"] = others[0].name
    one.script(
        "preinst",
        "# Automatically added by dh_installdeb\n"
        f'dpkg-maintscript-helper rm_conffile /etc/{one.name}-old 0.5~ -- "$@"',
    )


def writing_postinst(one: Drawn, others: Sequence[Drawn]) -> None:
    path = f"/usr/share/{one.name}/text"
    one.script("postinst", f"echo more >> {path}\nchmod 0600 {path}")


def other_hard_link(one: Drawn, others: Sequence[Drawn]) -> None:
    one.add(f"usr/lib/{one.name}/file", b"x", mode=0o755)
    one.add(f"usr/lib/{one.name}/name", kind=tarfile.LNKTYPE, mode=0o600,
            target=f"./usr/lib/{one.name}/file")  # fmt: skip


FEATURES = (
    conffile, diversion, alternative, trigger, pre_depends, moved_file, link_for_directory,
    old_places, odd_names, kinds, multi_arch, removing_preinst, writing_postinst,
    other_hard_link, pre_depends_working, writing_preinst, helped_preinst,
)  # fmt: skip
ALONE = (diversion, trigger, pre_depends, pre_depends_working, helped_preinst, moved_file,
         link_for_directory)  # fmt: skip
"""Features that speak of another package: at most one of them in a set, so that none contradict."""


def packages(chosen: Sequence[tuple[int, int]]) -> list[Drawn]:
    """Packages with features, each given as numbers of a package and of a feature."""
    drawn = [Drawn(name) for name in NAMES]
    for one in drawn:
        one.add(f"usr/share/{one.name}/text", f"{one.name}\n".encode())
        # dpkg takes a package for gone when others have replaced all of its files.
        one.add(f"usr/share/{one.name}/own", b"own")
    done: set[object] = set()
    for which, number in dict.fromkeys(chosen):
        feature = FEATURES[number]
        group: object = "alone" if feature in ALONE else (which, number)
        if group not in done:
            done.add(group)
            first = drawn[which]
            feature(first, [one for one in drawn if one is not first])
    return drawn


@dataclass(repr=False)
class Comparison:
    """Trees of drawn packages, by mmdebstrap and from the store."""

    site: StoreSite
    numbers: Iterator[int]

    def check(self, chosen: Sequence[tuple[int, int]]) -> list[str]:
        """Make both trees and compare them; returns what was told of the store's."""
        place = self.site.folder / f"run-{next(self.numbers)}"
        place.mkdir(mode=0o755)
        self.site.offer({one.name: one.content() for one in packages(chosen)})
        try:
            told: list[str] = run_privately(lambda: self._compared(place))
        finally:
            shutil.rmtree(place)
        return told

    def _compared(self, place: Path) -> list[str]:
        theirs = self.site.request(place, *NAMES, tool="mmdebstrap")
        bootstrap_apt(place / "theirs", theirs, scratch=place, emit=lambda *line: None)
        ours = self.site.request(place, *NAMES)
        told = lay(place, ours)
        with configured(place, ours, told) as tree:
            assert installed_packages(tree) == installed_packages(place / "theirs")
            found = differences(tree, place / "theirs")
            assert found == [], "\n".join(found)
        store = ContentStore(place / "state/unpacked")
        assert changed_packages(store.packages()) == []
        return told


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, small_tree: Path) -> Iterator[Comparison]:
    with store_site(tmp_path_factory.mktemp("site"), small_tree) as site:
        yield Comparison(site, itertools.count())


def numbered(*chosen: tuple[int, object]) -> list[tuple[int, int]]:
    return [(which, FEATURES.index(feature)) for which, feature in chosen]  # type: ignore[arg-type]


def test_what_is_laid_by_links(site: Comparison) -> None:
    told = site.check(numbered(
        (0, conffile), (1, alternative), (2, alternative), (0, trigger), (3, multi_arch),
        (1, old_places), (2, odd_names), (3, kinds), (1, writing_postinst),
    ))  # fmt: skip
    assert [line for line in told if "is unpacked by dpkg" in line] == []


def test_what_is_left_to_dpkg(site: Comparison) -> None:
    told = site.check(numbered(
        (0, diversion), (2, removing_preinst), (1, conffile), (3, other_hard_link),
        (1, writing_preinst),
    ))  # fmt: skip
    slow = [line.partition(" ")[0] for line in told if "is unpacked by dpkg" in line]
    assert slow == ["alpha", "lib-delta+1", "beta", "gamma"]


def test_a_preinst_that_needs_what_it_pre_depends_on(site: Comparison) -> None:
    told = site.check(numbered((1, pre_depends_working), (0, conffile), (0, other_hard_link)))
    slow = [line.partition(" ")[0] for line in told if "is unpacked by dpkg" in line]
    assert slow == ["alpha", "beta"]


@pytest.mark.nightly
@pytest.mark.parametrize(
    "feature",
    [
        pre_depends,
        moved_file,
        link_for_directory,
        helped_preinst,
    ],
)
def test_packages_that_speak_of_each_other(site: Comparison, feature: object) -> None:
    site.check(numbered((1, feature), (0, conffile)))


@pytest.mark.nightly
@settings(
    max_examples=25,
    deadline=None,
    # A tree takes seconds, and few features make a set: what fails is small as it is.
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
    report_multiple_bugs=False,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    st.lists(
        st.tuples(st.integers(0, len(NAMES) - 1), st.integers(0, len(FEATURES) - 1)), max_size=9
    )
)
def test_any_set_of_packages(site: Comparison, chosen: list[tuple[int, int]]) -> None:
    site.check(chosen)
