"""The quicker function of mkinitramfs copies what the real one copies, and says the same."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
from pathlib import Path

import pytest

from goldsmith.packages import quick_copies
from goldsmith.packages.apt_settings import read_apt_settings
from goldsmith.packages.download import Download, fetch_packages
from goldsmith.packages.host_apt import host_architecture
from goldsmith.packages.mirrors import sources_for

pytestmark = [pytest.mark.root, pytest.mark.network]

FUNCTION = re.compile(r"^copy_file\(\) \{\n.*?^\}\n", re.MULTILINE | re.DOTALL)
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
    """A tree with the files of Debian's initramfs-tools-core."""
    work = tmp_path_factory.mktemp("functions")
    work.chmod(0o755)
    (work / "apt").mkdir()
    download = Download(
        directory=work / "apt", sources=sources_for("bookworm", ""),
        settings=read_apt_settings(), architecture=host_architecture(),
    )  # fmt: skip
    (fetched,) = fetch_packages(["initramfs-tools-core"], download)
    tree = work / "tree"
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


def function_digest(tree: Path) -> str:
    (text,) = FUNCTION.findall((tree / quick_copies.FUNCTIONS.lstrip("/")).read_text())
    return hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.nightly
def test_debian_has_the_function_that_is_known(functions: Path) -> None:
    with quick_copies.lent(functions) as could:
        assert could, f"if the test below passes, add the digest: {function_digest(functions)}"


def test_both_copy_the_same(
    functions: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Whatever Debian has by now.
    monkeypatch.setattr(quick_copies, "_KNOWN", frozenset({function_digest(functions)}))
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
