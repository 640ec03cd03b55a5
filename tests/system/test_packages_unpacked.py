"""Packages are unpacked once, exactly, and what is not safe that way is left to dpkg."""

import os
import stat
import tarfile

import pytest
from debs import COMPRESSORS, ar, archive, deb, directory, entry, take
from hypothesis import given, settings
from hypothesis import strategies as st

from goldsmith.cli import cache
from goldsmith.layers import content as layer_content
from goldsmith.layers.content import describe
from goldsmith.packages.errors import PackageError
from goldsmith.packages.unpacked.content_store import ContentStore
from goldsmith.packages.unpacked.deb_file import DebFile, UnusualPackage
from goldsmith.packages.unpacked.dpkg_state import write_automatic, write_database
from goldsmith.packages.unpacked.laid_paths import missing_paths
from goldsmith.packages.unpacked.laying import lay_tree
from goldsmith.packages.unpacked.links import Links
from goldsmith.packages.unpacked.tree_plan import is_first, merged, plan_tree

pytestmark = pytest.mark.root

USR = [directory("./usr"), directory("./usr/bin")]


@pytest.fixture
def store(tmp_path):
    return ContentStore(tmp_path / "store")


@pytest.mark.parametrize("compression", COMPRESSORS)
def test_files_keep_what_the_archive_says(store, tmp_path, compression):
    content = deb("a", [
        *USR, entry("./usr/bin/x", b"program", mode=0o4755),
        entry("./usr/bin/y", kind=tarfile.LNKTYPE, target="./usr/bin/x", mode=0o4755),
        entry("./usr/bin/z", kind=tarfile.SYMTYPE, target="x"),
        directory("./var", 0o1777), entry("./var/mine", b"", uid=12, mode=0o600),
    ], compression=compression)  # fmt: skip
    (package,) = take(store, tmp_path, content)
    root = package.directory / "root"
    program = (root / "usr/bin/x").stat()
    assert (stat.S_IMODE(program.st_mode), program.st_mtime) == (0o4755, 1000)
    assert program.st_ino == (root / "usr/bin/y").stat().st_ino
    assert os.readlink(root / "usr/bin/z") == "x"
    assert stat.S_IMODE((root / "var").stat().st_mode) == 0o1777
    assert (root / "var/mine").stat().st_uid == 12
    assert [member.kind for member in package.members] == ["d", "d", "d", "f", "h", "l", "d", "f"]
    assert package.control("md5sums") == b""
    assert store.take(archive(content), tmp_path / "nosuch") == package


@pytest.mark.parametrize(
    "entries",
    [
        [entry("../x", b"out")],
        [entry("/etc/x", b"out")],
        [directory("./usr"), entry("./usr/l", kind=tarfile.SYMTYPE, target="/"),
         entry("./usr/l/x", b"out")],
        [entry("./l", kind=tarfile.SYMTYPE, target="/tmp"), directory("./l/x")],
        [entry("./h", kind=tarfile.LNKTYPE, target="../../etc/passwd")],
        [entry("./l", kind=tarfile.SYMTYPE, target="/etc"),
         entry("./h", kind=tarfile.LNKTYPE, target="./l/passwd")],
        [entry("./x", b"1"), entry("./x", b"2")],
        [entry("./node", kind=tarfile.CHRTYPE)],
        [entry("./fifo", kind=tarfile.FIFOTYPE)],
        [entry("./usr/x", b"no directory")],
    ],
)  # fmt: skip
def test_what_could_lead_out_is_left_to_dpkg(store, tmp_path, entries):
    (package,) = take(store, tmp_path, deb("a", entries))
    assert package.unusual
    assert package.members == ()
    assert not (package.directory / "root").exists()
    assert plan_tree([package]).slow[0].reason == package.unusual


def test_the_store_is_its_owners_alone(store, tmp_path):
    store.directory.mkdir(mode=0o755)
    take(store, tmp_path, deb("a", [*USR, entry("./usr/bin/x", b"program", mode=0o4755)]))
    assert stat.S_IMODE(store.directory.stat().st_mode) == 0o700


@pytest.mark.parametrize("torn", ["", "null", '{"version": 0}'])
def test_what_a_crash_or_another_version_left_is_replaced(store, tmp_path, torn):
    content = deb("a", [*USR, entry("./usr/bin/x", b"program")])
    (package,) = take(store, tmp_path, content)
    (package.directory / "index").write_text(torn)
    (package.directory / "root/usr/bin/x").write_bytes(b"")
    assert take(store, tmp_path, content, content) == [package, package]
    assert (package.directory / "root/usr/bin/x").read_bytes() == b"program"
    assert list((store.directory / "partial").iterdir()) == []


def test_pax_headers_are_dpkgs(store, tmp_path):
    info, content = entry("./x", b"1")
    info.pax_headers = {"SCHILY.xattr.user.a": "b"}
    (package,) = take(store, tmp_path, deb("a", [(info, content)], format=tarfile.PAX_FORMAT))
    assert "only dpkg unpacks" in package.unusual


@pytest.mark.parametrize(
    "content",
    [b"", b"!<arch>\n", b"no package", ar([("debian-binary", b"3.0\n")]),
     ar([("debian-binary", b"2.0\n"), ("control.tar", b"")]),
     ar([("debian-binary", b"2.0\n"), ("control.tar.xz", b"x"), ("data.tar.xz", b"x")]),
     ar([("debian-binary", b"2.0\n"), ("control.tar.lz", b"x"), ("data.tar", b"x")]),
     deb("a", [])[:-100]],
)  # fmt: skip
def test_what_is_no_package_is_an_error(store, tmp_path, content):
    with pytest.raises(PackageError):
        take(store, tmp_path, content)
    assert sorted(path.name for path in store.directory.rglob("*")) == ["partial"]


def test_another_content_than_the_index_names_is_never_unpacked(store, tmp_path):
    content = deb("a", [])
    (tmp_path / "a.deb").write_bytes(content.replace(b"2.0", b"2.1"))
    with pytest.raises(PackageError, match="not the package that the signed index names"):
        store.take(archive(content), tmp_path / "a.deb")


@settings(max_examples=60)
@given(st.data())
def test_damaged_packages_are_errors_and_nothing_else(data):
    content = bytearray(deb("a", [*USR, entry("./usr/bin/x", b"program" * 50)], compression=".gz"))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        package = DebFile.parse(bytes(content))
        package.control_files()
        with package.files() as files:
            for _, file in files:
                if file is not None:
                    file.read()
    except UnusualPackage as e:
        assert str(e)


BASE = deb("base-files", [directory("./etc"), directory("./usr"), directory("./tmp", 0o1777),
                          entry("./etc/issue", b"Debian\n")],
           control={"conffiles": "/etc/issue\n"}, Essential="yes")  # fmt: skip


def test_a_tree_is_laid_as_dpkg_unpacks(store, tmp_path):
    other = deb("tool", [
        directory("./etc"), directory("./bin"), entry("./bin/tool", b"x", mode=0o755),
        entry("./etc/tool", b"conf"), directory("./lib"), entry("./lib/l", b"lib"),
    ], control={"conffiles": "/etc/tool\n", "triggers": "interest-noawait /usr/share/x\n"
                "activate-noawait ldconfig\ninterest update-x # why\n",
                "postinst": "#!/bin/sh\n"}, Multi_Arch="same", Priority="optional")  # fmt: skip
    plan = plan_tree(take(store, tmp_path, other, BASE))
    assert [package.name for package in plan.laid] == ["base-files", "tool"]
    assert [package.name for package in plan.first] == ["base-files"]
    tree = tmp_path / "tree"
    tree.mkdir()
    lay_tree(plan, tree)
    assert os.readlink(tree / "bin") == "usr/bin"
    assert (tree / "usr/bin/tool").read_bytes() == b"x"
    assert (tree / "usr/lib/l").read_bytes() == b"lib"
    assert stat.S_IMODE((tree / "tmp").stat().st_mode) == 0o1777
    assert (tree / "etc/tool.dpkg-new").read_bytes() == b"conf"
    assert not (tree / "etc/tool").exists()
    write_database(tree, plan.laid, diversions={"/a": "/a.x"}, architecture="amd64")
    database = tree / "var/lib/dpkg"
    assert (database / "info/tool:amd64.list").read_text() == (
        "/.\n/etc\n/bin\n/bin/tool\n/etc/tool\n/lib\n/lib/l\n"
    )
    assert os.access(database / "info/tool:amd64.postinst", os.X_OK)
    assert (database / "triggers/File").read_text() == "/usr/share/x tool:amd64/noawait\n"
    assert (database / "triggers/update-x").read_text() == "tool:amd64\n"
    assert (database / "diversions").read_text() == "/a\n/a.x\n:\n"
    status = (database / "status").read_text()
    assert "Status: install ok unpacked\nConffiles:\n /etc/tool newconffile\n" in status
    described = {"info": "tool:amd64", "conffiles": ["/etc/tool"]}
    assert list(missing_paths(tree, described)) == []
    (tree / "usr/lib/l").unlink()
    assert list(missing_paths(tree, described)) == ["/lib/l"]
    write_automatic(tree, plan.laid[1:])
    assert (tree / "var/lib/apt/extended_states").read_text() == (
        "Package: tool\nArchitecture: amd64\nAuto-Installed: 1\n\n"
    )


@pytest.mark.parametrize(
    ("second", "reason"),
    [
        (deb("b", [directory("./etc"), entry("./etc/issue", b"mine")]), "also in base-files"),
        (deb("b", [directory("./etc"), directory("./etc/issue")]), "and none in another"),
        (deb("b", [], control={"preinst": "dpkg-divert --add /x\n"}), "diverts files"),
        (deb("b", [], control={"conffiles": "remove-on-upgrade /etc/x\n"}), "to be removed"),
        (deb("b", [], control={"conffiles": "/etc/nosuch\n"}), "no plain file"),
        (deb("b", [entry("./x", b"1")], control={"md5sums": None}), "makes its md5sums"),
        (deb("b", [directory("./bin"), entry("./bin/x", b""), *USR, entry("./usr/bin/x", b"")]),
         "in it twice"),
    ],
)  # fmt: skip
def test_each_rule_leaves_a_package_to_dpkg(store, tmp_path, second, reason):
    (slow,) = plan_tree(take(store, tmp_path, BASE, second)).slow
    assert slow.package.name == "b"
    assert reason in str(slow)


def test_a_path_behind_the_link_of_another_package_is_dpkgs(store, tmp_path):
    linked = deb("a", [directory("./opt"), entry("./opt/l", kind=tarfile.SYMTYPE, target="/etc")])
    behind = deb("b", [directory("./opt"), directory("./opt/l"), entry("./opt/l/x", b"1")])
    slow = plan_tree(take(store, tmp_path, BASE, linked, behind)).slow
    # Which of both dpkg takes depends on which it unpacks first.
    assert [one.package.name for one in slow] == ["a", "b"]
    only_below = deb("b", [directory("./opt"), entry("./opt/l/x", b"1")])
    assert plan_tree(take(store, tmp_path, BASE, linked, only_below)).slow[0].package.name == "b"


def test_essential_and_required_packages_come_first(store, tmp_path):
    packages = take(store, tmp_path, BASE, deb("b", [], Priority="required"), deb("c", []))
    assert [is_first(package) for package in packages] == [True, True, False]


@pytest.mark.parametrize(
    ("path", "place"),
    [("bin/x", "usr/bin/x"), ("lib", "usr/lib"), ("usr/bin/x", "usr/bin/x"), ("etc/x", "etc/x")],
)
def test_paths_of_a_merged_tree(path, place):
    assert merged(path) == place


def test_links_share_the_stores_files_but_those_that_are_dated_anew(store, tmp_path):
    late = deb("late", [*USR, entry("./usr/bin/late", b"x", mtime=5000)])
    plan = plan_tree(take(store, tmp_path, BASE, late))
    tree = tmp_path / "tree"
    tree.mkdir()
    lay_tree(plan, tree, links=Links(2000))
    stored = {one.name: one.directory / "root" for one in plan.laid}
    assert (tree / "etc/issue.dpkg-new").samefile(stored["base-files"] / "etc/issue")
    assert not (tree / "usr/bin/late").samefile(stored["late"] / "usr/bin/late")
    assert (tree / "usr/bin/late").read_bytes() == b"x"


def test_a_linked_file_is_not_read_again_unless_it_was_touched(store, tmp_path, monkeypatch):
    program = deb("tool", [*USR, entry("./usr/bin/x", b"program"), entry("./usr/bin/y", b"other")])
    plan = plan_tree(take(store, tmp_path, program))
    tree, links = tmp_path / "tree", Links(2000)
    tree.mkdir()
    lay_tree(plan, tree, links=links)
    assert len(links.contents) == 2
    whole = describe(tree)
    read = []
    monkeypatch.setattr(layer_content, "_file_digest",
                        lambda path, status, real=layer_content._file_digest:
                        read.append(path) or real(path, status))  # fmt: skip
    assert describe(tree, read=links.contents) == whole
    assert read == []
    change_content(plan.laid[0].directory / "root")
    changed = describe(tree, read=links.contents)
    assert [os.path.basename(path) for path in read] == [b"x"]
    assert changed.content == describe(tree).content != whole.content


@pytest.mark.parametrize("links", [Links(2000), None])
def test_a_store_that_is_damaged_after_the_check_is_an_error(store, tmp_path, links):
    plan = plan_tree(take(store, tmp_path, deb("tool", [*USR, entry("./usr/bin/x", b"program")])))
    os.truncate(plan.laid[0].directory / "root/usr/bin/x", 3)
    (tmp_path / "tree").mkdir()
    with pytest.raises(PackageError, match="usr/bin/x was changed while it was used"):
        lay_tree(plan, tmp_path / "tree", links=links)


def test_without_links_nothing_is_shared(store, tmp_path):
    plan = plan_tree(take(store, tmp_path, BASE))
    tree = tmp_path / "tree"
    tree.mkdir()
    lay_tree(plan, tree)
    assert (tree / "etc/issue.dpkg-new").stat().st_nlink == 1


def change_content(root):
    status = (root / "usr/bin/x").stat()
    (root / "usr/bin/x").write_bytes(b"Program")
    os.utime(root / "usr/bin/x", ns=(status.st_atime_ns, status.st_mtime_ns))


CHANGES = [
    change_content,
    lambda root: (root / "usr/bin/x").chmod(0o777),
    lambda root: (root / "usr/bin/x").unlink(),
    lambda root: os.chown(root / "usr/bin/x", 1, 1),
    lambda root: os.utime(root / "usr/bin/x", (1, 1)),
    lambda root: (root / "usr/bin").chmod(0o700),
    lambda root: ((root / "usr/bin/l").unlink(), (root / "usr/bin/l").symlink_to("y")),
]


@pytest.mark.parametrize("change", CHANGES)
def test_what_was_changed_in_the_store_is_named_and_made_again(store, tmp_path, change):
    link = entry("./usr/bin/l", kind=tarfile.SYMTYPE, target="x")
    content = deb("a", [*USR, entry("./usr/bin/x", b"program", mode=0o755), link])
    (package,) = take(store, tmp_path, content)
    change(package.directory / "root")
    told: list[str] = []
    (again,) = store.take_all([(archive(content), tmp_path / "0.deb")], on_damage=told.append)
    assert again == package
    assert len(told) == 1
    assert "a is unpacked again: /usr/bin" in told[0]
    assert (package.directory / "root/usr/bin/x").read_bytes() == b"program"
    assert store.take_all([(archive(content), tmp_path / "nosuch")]) == [package]


def test_the_links_of_a_merged_base_are_no_collision(store, tmp_path):
    merged_base = deb("base-files", [
        directory("./usr"), directory("./usr/bin"),
        entry("./bin", kind=tarfile.SYMTYPE, target="usr/bin", mtime=7),
    ], Essential="yes")  # fmt: skip
    other = deb("tool", [*USR, entry("./usr/bin/tool", b"x")])
    plan = plan_tree(take(store, tmp_path, merged_base, other))
    assert plan.slow == ()
    assert plan.is_merged
    tree = tmp_path / "tree"
    tree.mkdir()
    lay_tree(plan, tree)
    assert (tree / "bin/tool").read_bytes() == b"x"
    assert (tree / "bin").lstat().st_mtime == 7
    assert not plan_tree(take(store, tmp_path, BASE, other)).is_merged


@pytest.fixture
def state(tmp_path, monkeypatch):
    monkeypatch.setenv("GOLDSMITH_CACHE_DIR", str(tmp_path / "state"))
    (tmp_path / "state").mkdir(mode=0o700)
    return tmp_path / "state"


def run_cache(capsys, *words):
    status = cache.run(list(words), False)
    return status, capsys.readouterr().out


def unpacked_package(state):
    """A package in the store; its file lies beside it."""
    content = deb("tool", [directory("./usr"), entry("./usr/x", b"x")])
    unpacked = ContentStore(state / "unpacked")
    (state / "tool.deb").write_bytes(content)
    return unpacked, unpacked.take(archive(content), state / "tool.deb")


def test_old_unpacked_packages_are_pruned_by_age(state, capsys):
    unpacked, package = unpacked_package(state)
    assert "unpacked" not in run_cache(capsys, "prune", "--older-than", "1d")[1]
    os.utime(package.directory, (0, 0))
    assert (
        "Would remove 1 unpacked"
        in run_cache(capsys, "prune", "--older-than", "1d", "--dry-run")[1]
    )
    with unpacked.in_use():
        assert "they stay" in run_cache(capsys, "prune", "--older-than", "1d")[1]
    assert "Removed 1 unpacked" in run_cache(capsys, "prune", "--older-than", "1d")[1]
    assert unpacked.packages() == []


def test_verify_names_changed_files_of_unpacked_packages(state, capsys):
    unpacked, package = unpacked_package(state)
    assert run_cache(capsys, "verify")[0] == 0
    (package.directory / "root/usr/x").write_bytes(b"y")
    status, out = run_cache(capsys, "verify")
    assert status == 4
    assert "tool 1 (unpacked): /usr/x was changed" in out
    assert run_cache(capsys, "verify", "--forget")[0] == 0
    assert unpacked.packages() == []
