"""Packages that want to lead us out of the tree, and stores that were changed by others."""

import contextlib
import hashlib
import os
import resource
import signal
import tarfile
from concurrent.futures import ThreadPoolExecutor

import pytest
from debs import archive, deb, directory, entry, take
from private_namespace import run_privately

from goldsmith.host.confined import ConfinedPathError
from goldsmith.host.process import run
from goldsmith.packages.apt_request import AptRequest
from goldsmith.packages.apt_sources import AptSource
from goldsmith.packages.errors import PackageError, StoreRefused
from goldsmith.packages.host_apt import HostApt
from goldsmith.packages.package_store import Archive, PackageStore
from goldsmith.packages.unpacked.content_store import (
    ContentStore,
    changed_packages,
    changed_path,
)
from goldsmith.packages.unpacked.deciding import decide, with_automatic
from goldsmith.packages.unpacked.dpkg_state import write_database
from goldsmith.packages.unpacked.laid_paths import missing_paths
from goldsmith.packages.unpacked.laying import lay_tree
from goldsmith.packages.unpacked.links import Links
from goldsmith.packages.unpacked.resolution import Resolution
from goldsmith.packages.unpacked.tree_plan import plan_tree
from goldsmith.packages.unpacked.unpacking import _missing

pytestmark = pytest.mark.root

USR = [directory("./usr"), directory("./usr/bin")]


@pytest.fixture
def store(tmp_path):
    return ContentStore(tmp_path / "store")


@pytest.mark.parametrize(
    "entries",
    [
        # One directory of the merged tree, by its old name and its new one.
        [*USR, entry("./usr/bin/x", kind=tarfile.SYMTYPE, target="/outside"), directory("./bin"),
         directory("./bin/x"), entry("./bin/x/evil", b"1")],
        [directory("./bin"), directory("./bin/x"), *USR,
         entry("./usr/bin/x", kind=tarfile.SYMTYPE, target="/outside")],
        [directory("./usr"), entry("./usr/bin", kind=tarfile.SYMTYPE, target="/outside")],
        [entry("./bin", kind=tarfile.SYMTYPE, target="/outside")],
        [directory("./var"), entry("./var/lib", kind=tarfile.SYMTYPE, target="/outside")],
        [directory("./var"), directory("./var/lib"), directory("./var/lib/dpkg"),
         entry("./var/lib/dpkg/status", b"mine")],
        [directory("./var"), directory("./var/lib"), directory("./var/lib/apt"),
         entry("./var/lib/apt/lists", kind=tarfile.SYMTYPE, target="/outside")],
    ],
)  # fmt: skip
def test_no_package_has_a_say_in_where_we_write(store, tmp_path, entries):
    plan = plan_tree(take(store, tmp_path, deb("a", entries)))
    assert plan.laid == ()
    assert plan.slow[0].reason


@pytest.mark.parametrize("name", ["../out", "a/b", "Lock", "Unincorp", "\x01"])
def test_a_trigger_of_an_odd_name_is_dpkgs(store, tmp_path, name):
    content = deb("a", [*USR], control={"triggers": f"interest {name}\n"})
    assert "no trigger's name" in str(plan_tree(take(store, tmp_path, content)).slow[0])


@pytest.mark.parametrize(
    "fields",
    [{"Package": "../../out"}, {"Package": "a/b"}, {"Architecture": "../x"}, {"Architecture": ""},
     {"Version": "1 2"}],
)  # fmt: skip
def test_names_that_lead_out_are_errors(store, tmp_path, fields):
    with pytest.raises(PackageError, match="of the usual form"):
        take(store, tmp_path, deb("a", [*USR], **fields))


def test_a_control_file_is_no_list_and_leads_nowhere(store, tmp_path):
    plan = plan_tree(take(store, tmp_path, deb("a", [*USR], control={"list": "/etc/passwd\n"})))
    (tmp_path / "tree").mkdir()
    write_database(tmp_path / "tree", plan.laid, diversions={}, architecture="amd64")
    listed = tmp_path / "tree/var/lib/dpkg/info/a.list"
    assert listed.read_text() == "/.\n/usr\n/usr/bin\n"
    with pytest.raises(PackageError, match="control archive has"):
        take(store, tmp_path, deb("b", [*USR], control={"..": "x"}))


@pytest.mark.parametrize("field", ["uid", "gid", "mtime"])
@pytest.mark.parametrize("number", [-1, (1 << 32) - 1, 1 << 50])
def test_owners_and_times_that_no_file_has_are_left_to_dpkg(store, tmp_path, field, number):
    info, content = entry("./x", b"1")
    setattr(info, field, number)
    (package,) = take(store, tmp_path, deb("a", [(info, content)]))
    assert "that no file has" in package.unusual


@pytest.mark.parametrize("compression", [".xz", ".gz", ".zst"])
@pytest.mark.parametrize("member", ["control.tar", "data.tar"])
def test_a_damaged_archive_is_told_and_named(store, tmp_path, compression, member):
    built = bytearray(deb("a", [*USR, entry("./usr/bin/x", b"program" * 500)],
                          compression=compression))  # fmt: skip
    at = built.index(member.encode()) + 60 + 30
    built[at : at + 30] = b"\xff" * 30
    try:
        (package,) = take(store, tmp_path, bytes(built))
    except PackageError as e:
        assert member == "control.tar"
        assert str(e).startswith("a_1_amd64.deb cannot be unpacked: control.tar")
    else:
        assert package.unusual.startswith("data.tar")
        assert str(plan_tree([package]).slow[0]).startswith("a is unpacked by dpkg: data.tar")


def test_a_second_name_of_a_directory_is_left_to_dpkg(store, tmp_path):
    link = entry("./usr/l", kind=tarfile.LNKTYPE, target="./usr/bin")
    (package,) = take(store, tmp_path, deb("a", [*USR, link]))
    assert "second name of a directory" in package.unusual


def test_a_path_behind_a_link_of_a_script_is_the_trees(store, tmp_path):
    outside, tree = tmp_path / "outside", tmp_path / "tree"
    for path in (outside, tree / "usr/share", tree / "var/lib/dpkg/info"):
        path.mkdir(parents=True)
    (outside / "x").touch()
    (tree / "var/lib/dpkg/info/a.list").write_text("/.\n/usr/share\n/usr/share/x\n")
    described = {"info": "a", "conffiles": []}
    (tree / "usr/share").rmdir()
    (tree / "usr/share").symlink_to(outside)
    assert list(missing_paths(tree, described)) == ["/usr/share/x"]
    (tree / "var/lib/dpkg/info/a.list").write_text("/../outside/x\n")
    assert list(missing_paths(tree, described)) == ["/../outside/x"]
    (tree / "var/lib/dpkg/info/a.list").write_text("/us\0r/x\n")
    with pytest.raises(ConfinedPathError):
        list(missing_paths(tree, described))
    (tree / "var/lib/dpkg/info/a.list").unlink()
    (tree / "var/lib/dpkg/info/a.list").symlink_to(outside / "x")
    assert list(missing_paths(tree, described)) == ["/var/lib/dpkg/info/a.list"]


def test_a_full_disk_says_nothing_of_the_package(store, tmp_path):
    content = deb("a", [*USR, entry("./usr/bin/x", b"x" * 100_000)], compression=".gz")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    # Here, too, the last write that fits is a short one, and only the next an error.
    resource.setrlimit(resource.RLIMIT_FSIZE, (64 << 10, before[1]))
    try:
        with pytest.raises(OSError, match="too large"):
            take(store, tmp_path, content)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert store.packages() == []
    (package,) = take(store, tmp_path, content)
    assert package.unusual == ""
    assert (package.directory / "root/usr/bin/x").stat().st_size == 100_000


SCRIPT_CHANGES = [
    lambda control: (control / "postinst").unlink(),
    lambda control: (control / "postinst").write_text("#!/bin/sh\nevil\n"),
    lambda control: (control / "postinst").chmod(0o644),
    lambda control: (control / "md5sums").write_text("?"),
]


@pytest.mark.parametrize("change", SCRIPT_CHANGES)
def test_changed_control_files_are_found(store, tmp_path, change):
    content = deb("a", [*USR], control={"postinst": "#!/bin/sh\ntrue\n"})
    (package,) = take(store, tmp_path, content)
    change(package.directory / "control")
    told: list[str] = []
    (again,) = store.take_all([(archive(content), tmp_path / "0.deb")], on_damage=told.append)
    assert len(told) == 1
    assert "/control/" in told[0]
    assert changed_path(again) is None


def test_a_changed_index_is_no_package(store, tmp_path):
    content = deb("a", [*USR], Priority="required")
    (package,) = take(store, tmp_path, content)
    index = package.directory / "index"
    index.write_text(index.read_text().replace("required", "Required"))
    assert store.find(package.digest) is None
    assert take(store, tmp_path, content) == [package]


def test_what_killed_builds_left_goes_after_a_day(store, tmp_path):
    take(store, tmp_path, deb("a", [*USR]))
    for name, age_s in (("old", 2 * 24 * 3600), ("young", 60)):
        left = store.directory / "partial" / name
        left.mkdir()
        os.utime(left, (left.stat().st_mtime - age_s,) * 2)
    take(store, tmp_path, deb("b", [*USR]))
    assert [path.name for path in (store.directory / "partial").iterdir()] == ["young"]
    assert store.forget(one.digest for one in store.packages())
    assert [path.name for path in store.directory.iterdir()] == ["lock"]


def kept_by(tmp_path, *archives: Archive) -> Resolution:
    return Resolution("amd64", archives, (), tmp_path / "lists")


def test_files_are_fetched_again_where_what_was_unpacked_is_not_enough(store, tmp_path):
    plain = deb("plain", [*USR, entry("./usr/bin/x", b"1")])
    diverting = deb("diverting", [], control={"preinst": "dpkg-divert --add /x\n"})
    packages = take(store, tmp_path, plain, diverting)
    archives = [archive(plain, "plain.deb"), archive(diverting, "diverting.deb")]
    kept, downloads = kept_by(tmp_path, *archives), PackageStore(tmp_path / "packages")
    # Of the package that dpkg unpacks the file itself is needed.
    assert _missing(kept, downloads, store) == ["diverting.deb"]
    assert downloads.take(tmp_path / "1.deb", archives[1])
    assert _missing(kept, downloads, store) == []
    (packages[0].directory / "root/usr/bin/x").write_bytes(b"2")
    assert _missing(kept, downloads, store) == ["plain.deb"]
    store.clear()
    assert downloads.take(tmp_path / "0.deb", archives[0])
    assert _missing(kept, downloads, store) == []
    place = downloads.path(archives[0].sha256)
    place.write_bytes(bytes(place.stat().st_size))
    assert _missing(kept, downloads, store) == ["plain.deb"]
    assert not place.exists()


def test_builds_that_share_a_store_unpack_the_same_at_once(store, tmp_path):
    contents = [deb(f"p{n}", [*USR, entry("./usr/bin/x", b"%d" % n * 5000)]) for n in range(12)]
    archives = []
    for number, content in enumerate(contents):
        (tmp_path / f"{number}.deb").write_bytes(content)
        archives.append((archive(content), tmp_path / f"{number}.deb"))
    builders = [ContentStore(store.directory) for _ in range(4)]
    with ThreadPoolExecutor(len(builders)) as pool:
        found = list(pool.map(lambda one: one.take_all(archives), builders))
    assert all(packages == found[0] for packages in found)
    assert [package.name for package in found[0]] == [f"p{n}" for n in range(12)]
    assert changed_packages(found[0]) == []
    assert list((store.directory / "partial").iterdir()) == []


def test_a_tree_on_another_file_system_is_copied(store, tmp_path):
    plan = plan_tree(take(store, tmp_path, deb("a", [*USR, entry("./usr/bin/x", b"1")])))
    tree = tmp_path / "tree"
    tree.mkdir()

    def laid():
        run(["mount", "-t", "tmpfs", "tmpfs", str(tree)])
        lay_tree(plan, tree, links=Links(2000))
        status = (tree / "usr/bin/x").stat()
        return (tree / "usr/bin/x").read_bytes(), status.st_nlink, status.st_mtime

    assert run_privately(laid) == (b"1", 1, 1000)


def test_a_killed_build_leaves_nothing_that_counts(store, tmp_path):
    contents = [deb(f"p{n}", [*USR, entry("./usr/bin/x", os.urandom(1 << 20))], compression=".gz")
                for n in range(16)]  # fmt: skip
    archives = []
    for number, content in enumerate(contents):
        (tmp_path / f"{number}.deb").write_bytes(content)
        archives.append((archive(content), tmp_path / f"{number}.deb"))
    pid = os.fork()
    if pid == 0:
        store.take_all(archives)
        os._exit(0)
    partial = store.directory / "partial"
    # In the middle of it, or at its end: what is there then counts in either case.
    while os.waitpid(pid, os.WNOHANG) == (0, 0):
        if partial.is_dir() and any(partial.glob("*/*/root/usr/bin/x")):
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            break
    assert changed_packages(store.packages()) == []
    packages = store.take_all(archives)
    assert changed_packages(packages) == []
    assert len(store.packages()) == len(contents)


@pytest.mark.parametrize("essential", ["yes", "no"])
def test_apt_is_essential_only_where_the_index_says_so(tmp_path, essential):
    repository, work = tmp_path / "repository", tmp_path / "work"
    work.mkdir()
    repository.mkdir()
    tmp_path.chmod(0o755)
    text = ""
    for name, said in (("base", "yes"), ("apt", essential), ("library", "no"), ("leaf", "no")):
        content = deb(name, USR)
        (repository / f"{name}.deb").write_bytes(content)
        needs = "Depends: library\n" if name == "apt" else ""
        text += (
            f"Package: {name}\nVersion: 1\nArchitecture: amd64\nEssential: {said}\n{needs}"
            f"Filename: ./{name}.deb\nSize: {len(content)}\n"
            f"SHA256: {hashlib.sha256(content).hexdigest()}\n\n"
        )
    (repository / "Packages").write_text(text)
    source = AptSource(("deb",), (f"file:{repository}",), ("./",), ())
    request = AptRequest(
        "./", ("leaf",), (source,), architecture="amd64", variant="essential", trusted=True
    )
    apt = HostApt(request, work, lambda stream, line: None)
    found = with_automatic(decide(request, apt), request, apt)
    assert len(found.archives) == 4
    assert set(found.automatic) == (set() if essential == "yes" else {"apt", "library"})


@pytest.mark.parametrize(("kind", "good"), [("SHA256", True), ("MD5sum", False)])
def test_a_package_without_a_digest_is_never_left_out(tmp_path, kind, good):
    repository, work = tmp_path / "repository", tmp_path / "work"
    work.mkdir()
    repository.mkdir()
    tmp_path.chmod(0o755)
    text = ""
    for name, algorithm in (("base", "SHA256"), ("leaf", kind)):
        content = deb(name, USR)
        (repository / f"{name}.deb").write_bytes(content)
        digest = hashlib.new("sha256" if algorithm == "SHA256" else "md5", content).hexdigest()
        text += (
            f"Package: {name}\nVersion: 1\nArchitecture: amd64\nEssential: "
            f"{'yes' if name == 'base' else 'no'}\nFilename: ./{name}.deb\n"
            f"Size: {len(content)}\n{algorithm}: {digest}\n\n"
        )
    (repository / "Packages").write_text(text)
    source = AptSource(("deb",), (f"file:{repository}",), ("./",), ())
    request = AptRequest(
        "./", ("leaf",), (source,), architecture="amd64", variant="essential", trusted=True
    )
    apt = HostApt(request, work, lambda stream, line: None)
    with contextlib.nullcontext() if good else pytest.raises(StoreRefused, match="no SHA-256"):
        assert [one.name for one in decide(request, apt).archives] == [
            "base_1_amd64.deb", "leaf_1_amd64.deb",
        ]  # fmt: skip
