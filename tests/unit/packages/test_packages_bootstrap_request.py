"""What a request for a tree may say, and what is refused before anything runs."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from goldsmith.errors import MissingToolError
from goldsmith.host import checks
from goldsmith.host.process import Completed
from goldsmith.packages import bootstrap as module
from goldsmith.packages.apt_request import PACKAGE_NAME, AptRequest, implied_packages
from goldsmith.packages.apt_sources import AptSource
from goldsmith.packages.bootstrap import bootstrap_apt
from goldsmith.packages.errors import PackageError
from goldsmith.packages.unpack import mounts_below, require_archive, require_tree

SOURCE = AptSource(("deb",), ("http://deb.example.invalid",), ("bookworm",), ("main",))


@pytest.mark.parametrize(
    ("packages", "implied"),
    [
        (["linux-image-cloud-amd64"], ("zstd",)),
        (["initramfs-tools-core=0.142"], ("zstd",)),
        (["linux-image-amd64/bookworm", "dracut"], ()),
        (["dracut-core", "initramfs-tools:amd64"], ("zstd",)),
        (["openssh-server", "linux-libc-dev"], ()),
    ],
)
def test_zstd_goes_with_an_initramfs(packages: list[str], implied: tuple[str, ...]) -> None:
    assert implied_packages(packages) == implied


def test_packages_are_named_once() -> None:
    request = AptRequest("bookworm", ("zstd", "sudo", "linux-image-amd64", "sudo"), (SOURCE,))
    assert request.all_packages() == ("zstd", "sudo", "linux-image-amd64")


@pytest.mark.parametrize(
    "name", ["-oX=y", "a,b", "a b", "", "?essential", "~nfoo", "foo-", "foo=", "A", "../x.deb",
             "a\nb", "$(id)", "foo/;x"]
)  # fmt: skip
def test_refused_names(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.os, "geteuid", lambda: 0)
    monkeypatch.setattr(module, "get_tool", lambda tool: tool)
    request = AptRequest("bookworm", ("sudo", name), (SOURCE,))
    with pytest.raises(PackageError, match="not a package's name"):
        bootstrap_apt(
            tmp_path / "tree", request, emit=lambda *_: None, scratch=tmp_path,
            run_tool=lambda *args, **more: pytest.fail("it was run"),
        )  # fmt: skip


@pytest.mark.parametrize(
    "name", ["g++", "libc6:i386", "nginx=1.22.1-9+deb12u1", "nginx/bookworm-backports",
             "ssh-server^", "0ad", "linux-image-6.1.0-56-cloud-amd64", "vim=1:2.0~rc1"]
)  # fmt: skip
def test_allowed_names(name: str) -> None:
    assert PACKAGE_NAME.fullmatch(name)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"variant": "tiny"}, "no variant 'tiny'"),
        ({"sources": ()}, "no APT sources"),
    ],
)
def test_refused_requests(
    change: dict[str, object], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module.os, "geteuid", lambda: 0)
    monkeypatch.setattr(module, "get_tool", lambda tool: tool)
    request = AptRequest(**{"suite": "x", "packages": (), "sources": (SOURCE,), **change})
    with pytest.raises(PackageError, match=message):
        bootstrap_apt(tmp_path / "tree", request, emit=lambda *_: None, scratch=tmp_path)


def test_a_target_in_use_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.os, "geteuid", lambda: 0)
    monkeypatch.setattr(module, "get_tool", lambda tool: tool)
    (tmp_path / "file").touch()
    with pytest.raises(PackageError, match="is not empty"):
        bootstrap_apt(
            tmp_path, AptRequest("x", (), (SOURCE,)), emit=lambda *_: None, scratch=tmp_path
        )


def test_all_that_is_written_for_it_is_in_the_scratch_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may hold passwords, and whoever is killed leaves it: never in the host's TMPDIR."""
    monkeypatch.setattr(module.os, "geteuid", lambda: 0)
    monkeypatch.setattr(module, "get_tool", lambda tool: tool)
    elsewhere, scratch = tmp_path / "elsewhere", tmp_path / "scratch"
    elsewhere.mkdir()
    scratch.mkdir()
    monkeypatch.setenv("TMPDIR", str(elsewhere))
    monkeypatch.setattr(tempfile, "tempdir", None)
    places: list[Path] = []

    def run_tool(
        argv: Sequence[str], *, env: Mapping[str, str] | None = None, **more: object
    ) -> Completed:
        assert env is not None
        assert env["TMPDIR"].startswith(f"{scratch}/")
        assert os.listdir(elsewhere) == []
        places.extend(Path(word.partition("=")[2]) for word in argv if "apt.conf" in word)
        assert "deb.example.invalid" in Path(argv[-1]).read_text()
        places.append(Path(argv[-1]))
        return Completed(tuple(argv), 1, b"", (), 0.0)

    request = AptRequest("bookworm", ("sudo",), (SOURCE,))
    with pytest.raises(PackageError):
        bootstrap_apt(tmp_path / "tree", request, emit=lambda *_: None, scratch=scratch,
                      run_tool=run_tool)  # fmt: skip
    assert [place.is_relative_to(scratch) for place in places] == [True, True]
    assert os.listdir(scratch) == []


def test_sources_of_the_wrong_kind(tmp_path: Path) -> None:
    (tmp_path / "archive.tar").touch()
    (tmp_path / "tree/usr").mkdir(parents=True)
    (tmp_path / "empty").mkdir()
    require_archive(tmp_path / "archive.tar")
    require_tree(tmp_path / "tree")
    with pytest.raises(PackageError, match="is a directory, not an archive"):
        require_archive(tmp_path / "tree")
    with pytest.raises(PackageError, match="there is no archive"):
        require_archive(tmp_path / "none")
    with pytest.raises(PackageError, match="is a file, not a directory"):
        require_tree(tmp_path / "archive.tar")
    with pytest.raises(PackageError, match="there is no directory"):
        require_tree(tmp_path / "none")
    with pytest.raises(PackageError, match="not a root file system"):
        require_tree(tmp_path / "empty")
    with pytest.raises(PackageError, match="running host"):
        require_tree(Path("/"))


def test_mounts_below() -> None:
    mountinfo = "".join(
        f"{n} 1 0:1 / {place} rw - ext4 /dev/vda rw\n"
        for n, place in enumerate(["/", "/srv/t", "/srv/t/proc", "/srv/t/dev/pts", "/srv/t/boot",
                                   "/srv/t/a\\040b", "/srv/tree/x", "/srv/t/devices"])
    )  # fmt: skip
    assert mounts_below(Path("/srv/t"), mountinfo) == [
        "/srv/t/boot", "/srv/t/a b", "/srv/t/devices"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("present", "chosen"),
    [
        ({"mmdebstrap", "debootstrap"}, "mmdebstrap"),
        ({"mmdebstrap"}, "mmdebstrap"),
        ({"debootstrap"}, "debootstrap"),
        (set(), None),
    ],
)
def test_either_program_makes_trees(
    present: set[str], chosen: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def find(tool: str) -> str | None:
        return tool if tool in present else None

    def get(tool: str) -> str:
        if find(tool) is None:
            raise MissingToolError(tool, tool)
        return tool

    monkeypatch.setattr(module, "find_tool", find)
    monkeypatch.setattr(module, "get_tool", get)
    monkeypatch.setattr(checks, "find_tool", find)
    verdict = checks._look_for_tools("mmdebstrap", ["mmdebstrap"])
    if chosen is None:
        with pytest.raises(MissingToolError, match="mmdebstrap is not installed"):
            module.bootstrap_tool()
        assert verdict.outcome == "missing"
        return
    assert module.bootstrap_tool() == chosen
    assert chosen in module.bootstrap_tools()
    assert verdict.outcome == ("ok" if "mmdebstrap" in present else "warning")
