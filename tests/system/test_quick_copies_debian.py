"""The quicker functions of mkinitramfs copy what the real ones copy, and say the same."""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path

import pytest

from goldsmith.packages import quick_copies
from goldsmith.packages.apt_settings import read_apt_settings
from goldsmith.packages.download import Download, fetch_packages
from goldsmith.packages.host_apt import host_architecture
from goldsmith.packages.mirrors import sources_for

pytestmark = [pytest.mark.root, pytest.mark.network]

CALLS = r"""
copy module "$FILES/plain"
copy module "$FILES/plain"
copy module "$FILES/deep/er/file"
copy module "$FILES/link"
copy module "$FILES/chain"
copy module "$FILES/linked-directory/file"
copy module "$FILES/linked-directory/file"
copy module "$FILES//deep/./er/../other"
copy module "$FILES/absent"
copy module "$FILES/deep"
copy module "$FILES/dangling"
copy binary "$FILES/program" /bin
copy binary "$FILES/program" /bin/
copy binary "$FILES/program" /sbin/renamed
copy binary "$FILES/program" "$FILES/program"
copy binary "$FILES/a name" ""
copy binary /bin/sh
copy binary /bin/sh /bin
copy binary /usr/bin/env
copy binary /bin/env
copy binary /sbin/ldconfig
copy library "$(ldd /bin/env | sed -n 's/.*=> \([^ ]*\).*/\1/p' | head -n 1)"
copy module "$FILES/occupied"
cd "$FILES"
copy module plain
copy module ./deep/er/file
"""
SCRIPT = (
    '. "$FUNCTIONS"\ncopy() { copy_file "$@"; echo "$? $*"; }\n'
    'mkdir -p "$DESTDIR/usr/bin" "$DESTDIR/$FILES/occupied"\n' + CALLS
)


@pytest.fixture(scope="module")
def functions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tree with the files of Debian's initramfs-tools-core, and of cpio, which it depends on."""
    work = tmp_path_factory.mktemp("functions")
    work.chmod(0o755)
    (work / "apt").mkdir()
    download = Download(
        directory=work / "apt", sources=sources_for("bookworm", ""),
        settings=read_apt_settings(), architecture=host_architecture(),
    )  # fmt: skip
    tree = work / "tree"
    for fetched in fetch_packages(["initramfs-tools-core", "cpio"], download):
        subprocess.run(["dpkg-deb", "--extract", fetched.path, tree], check=True)
    return tree


def make_files(place: Path) -> Path:
    (place / "deep/er").mkdir(parents=True)
    for name in ("plain", "deep/er/file", "deep/other", "program", "a name", "occupied"):
        (place / name).write_text(f"content of {name}")
        os.utime(place / name, (1000, 1000))
    (place / "program").chmod(0o755)
    (place / "link").symlink_to("deep/er/file")
    (place / "chain").symlink_to("link")
    (place / "dangling").symlink_to("nothing")
    (place / "linked-directory").symlink_to("deep/er")
    return place


def copied(tree: Path, files: Path, target: Path) -> tuple[str, dict[str, object]]:
    """What the functions of a tree say, and what they have made."""
    done = subprocess.run(
        ["/bin/sh", "-c", SCRIPT], check=True, text=True, capture_output=True,
        env={"FUNCTIONS": f"{tree}{quick_copies.FUNCTIONS}", "FILES": str(files), "verbose": "y",
             "DESTDIR": str(target), "PATH": "/usr/bin:/sbin:/bin", "version": "6.1"},
    )  # fmt: skip
    made: dict[str, object] = {}
    for path in sorted(target.rglob("*")):
        status = path.lstat()
        what: object = None
        if path.is_symlink():
            what = os.readlink(path)
        elif path.is_file():
            what = (path.read_bytes(), status.st_mtime_ns)
        made[str(path.relative_to(target))] = (status.st_mode, what)
    return done.stdout + done.stderr, made


def digests(tree: Path) -> dict[str, str]:
    """The SHA-256 of each function that there is a quicker one for."""
    text = (tree / quick_copies.FUNCTIONS.lstrip("/")).read_text()
    found = {name: quick_copies.own_text(text, name) for name in quick_copies._KNOWN}
    return {name: hashlib.sha256((own or "").encode()).hexdigest() for name, own in found.items()}


@pytest.fixture
def known(functions: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever Debian has by now counts as known."""
    now = {name: frozenset({digest}) for name, digest in digests(functions).items()}
    monkeypatch.setattr(quick_copies, "_KNOWN", now)


@pytest.mark.nightly
def test_debian_has_the_functions_that_are_known(functions: Path) -> None:
    for name, digest in digests(functions).items():
        assert digest in quick_copies._KNOWN[name], "if the tests below pass, add the digest"


@pytest.mark.usefixtures("known")
def test_both_copy_the_same(functions: Path, tmp_path: Path) -> None:
    files = make_files(tmp_path / "files")
    said, made = copied(functions, files, tmp_path / "dest")
    os.rename(tmp_path / "dest", tmp_path / "dest of the real one")
    with quick_copies.lent(functions) as could:
        assert could
        quick_said, quick_made = copied(functions, files, tmp_path / "dest")
    assert quick_said == said
    assert quick_made == made
    assert len(made) > 30
    assert "0 module" in said
    assert "1 module" in said
    assert "2 module" in said


def fake(place: Path, text: str) -> Path:
    place.parent.mkdir(exist_ok=True)
    place.write_text(f"#!/bin/sh\n{text}")
    place.chmod(0o755)
    return place


ADDING = """
. "$FUNCTIONS"
add_firmware() { echo "$1" >> "$ASKED"; [ "$1" = there.bin ]; }
set -e
manual_add_modules
manual_add_modules one two
manual_add_modules three
echo "done"
"""


def added(functions: Path, tmp_path: Path, *, host_modules: str) -> tuple[object, ...]:
    """What `manual_add_modules` says, what it makes, and which firmware it asks for.

    Files of this host's libraries play the modules: links and plain files, in two directories.
    """
    libraries = Path(os.path.realpath("/lib/x86_64-linux-gnu"))
    files = sorted(path for path in libraries.glob("lib*.so*") if path.is_file())
    plain = [path for path in files if not path.is_symlink()]
    plain = [*plain[:3], *plain[-3:]]
    linked = [path for path in files if path.is_symlink()][:2]
    listed = [*(f"/lib/{path.relative_to('/usr/lib')}" for path in (*plain, *linked)),
              f"/usr/lib/{plain[0].relative_to('/usr/lib')}", "/usr/lib/os-release", "/absent",
              f"{tmp_path}/elsewhere.ko"]  # fmt: skip
    (tmp_path / "elsewhere.ko").write_text("a module")
    os.utime(tmp_path / "elsewhere.ko", (1000, 1000))
    text = (functions / quick_copies.FUNCTIONS.lstrip("/")).read_text()
    loaded, asked, dest = tmp_path / "loaded", tmp_path / "asked", tmp_path / "dest"
    modprobe = fake(tmp_path / "bin/modprobe", "echo builtin x\n" + "".join(
        f"echo insmod {path} option=1\n" for path in listed))  # fmt: skip
    fake(
        tmp_path / "bin/modinfo",
        """
shift 4
for one; do
    case ${one##*/} in libz*) echo other.bin ;; lib*) echo there.bin; echo missing.bin ;; esac
done
""",
    )
    text = text.replace("/sbin/modprobe", str(modprobe)).replace("/proc/modules", str(loaded))
    (tmp_path / "functions").write_text(text)
    loaded.unlink(missing_ok=True)
    if host_modules:
        names = [path.name.partition(".")[0] for path in plain]
        loaded.write_text(host_modules.format(*names))
    (dest / "usr/lib").mkdir(parents=True)
    (dest / "lib").symlink_to("usr/lib")
    (tmp_path / "etc").mkdir(exist_ok=True)
    (tmp_path / "etc/modules").write_text("# none\n")
    asked.write_text("")
    done = subprocess.run(
        ["/bin/sh", "-c", ADDING], check=True, text=True, capture_output=True,
        env={"FUNCTIONS": str(tmp_path / "functions"), "DESTDIR": str(dest), "version": "6.1",
             "verbose": "n", "PATH": f"{tmp_path / 'bin'}:{functions / 'bin'}:/usr/bin:/bin",
             "ASKED": str(asked), "CONFDIR": str(tmp_path / "etc")},
    )  # fmt: skip
    made = {}
    for path in sorted(dest.rglob("*")):
        status = path.lstat()
        what = os.readlink(path) if path.is_symlink() else path.is_file() and path.read_bytes()
        # An initramfs has whole seconds.
        when = int(status.st_mtime) if path.is_file() and not path.is_symlink() else 0
        made[str(path.relative_to(dest))] = (status.st_mode, status.st_uid, when, what)
    os.rename(dest, tmp_path / f"dest of {len(list(tmp_path.iterdir()))}")
    # A module that is listed by two names is warned of twice, or once.
    said = sorted({*done.stdout.splitlines(), *done.stderr.splitlines()})
    return said, made, sorted(set(asked.read_text().split()))


@pytest.mark.usefixtures("known")
@pytest.mark.parametrize("host_modules", ["", "{0} 1 0\n{1}x 1 0\n{2}\n"])
def test_both_add_the_same_modules(functions: Path, tmp_path: Path, host_modules: str) -> None:
    whole = added(functions, tmp_path, host_modules=host_modules)
    with quick_copies.lent(functions) as could:
        assert could
        quick = added(functions, tmp_path, host_modules=host_modules)
    assert quick == whole
    said, made, asked = quick
    assert "done" in said
    assert len(made) > 8
    assert {"there.bin", "missing.bin"} <= set(asked)
    assert any("Possible missing firmware" in line for line in said) == bool(host_modules)
