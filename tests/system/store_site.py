"""A tiny Debian suite served on loopback, and trees of it that the store of packages lays."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from signed_repository import Repository, Signer, served, signing
from tiny_suite import SUITE, make_tiny_suite, publish

from goldsmith.host import chroot
from goldsmith.host.namespaces import step_namespace
from goldsmith.layers.overlay import filled, step_overlay
from goldsmith.packages.apt_request import AptRequest
from goldsmith.packages.apt_settings import read_apt_settings
from goldsmith.packages.apt_sources import AptSource
from goldsmith.packages.bootstrap import configure_apt, unpack_apt
from goldsmith.packages.keyrings import read_key
from goldsmith.packages.release_files import release_digests
from goldsmith.packages.unpacked.links import Links

LATEST_S = 2_000_000_000


@dataclass
class StoreSite:
    """The suite: `asked` is every path that was asked for, with the answer's status."""

    folder: Path
    repository: Repository
    signer: Signer
    source: AptSource
    asked: list[tuple[str, int]]

    def offer(self, contents: Mapping[str, bytes]) -> None:
        """Publish the base and packages of version 1, given by their names."""
        for path in self.repository.folder.glob("pool/*_1_*.deb"):
            if not path.name.startswith("tiny-base"):
                path.unlink()
        for name, content in contents.items():
            (self.repository.folder / "pool" / f"{name}_1_amd64.deb").write_bytes(content)
        publish(self.repository, self.signer)

    def request(self, place: Path, *names: str, tool: str = "store", **more: Any) -> AptRequest:
        """A tree of these packages; its stores lie in place/state."""
        read = read_apt_settings()
        direct = replace(read, options={**read.options,
                                        "Acquire::http::Proxy::127.0.0.1": "DIRECT",
                                        "Acquire::Retries": "0"})  # fmt: skip
        return AptRequest(SUITE, names, (self.source,), direct, variant="essential", tool=tool,
                          store=place / "state/packages", **more)  # fmt: skip

    def known(self, request: AptRequest, place: Path, *, offline: bool = False) -> AptRequest:
        """The same with the Release files as they are now, so that answers are kept."""
        states = release_digests(request.sources, request.settings, offline=offline,
                                 cache=place / "state/releases")  # fmt: skip
        digests = tuple(state.digest for state in states.values())
        return replace(request, release_digests=digests, offline=offline)


def lay(place: Path, request: AptRequest) -> list[str]:
    """Unpack into place/laid, anew; returns what was told."""
    shutil.rmtree(place / "laid", ignore_errors=True)
    told: list[str] = []
    with filled(place / "laid", clamp_to_s=LATEST_S) as laid:
        unpack_apt(laid, request, emit=lambda level, line: told.append(line), scratch=place,
                   links=Links(LATEST_S))  # fmt: skip
    return told


@contextmanager
def configured(place: Path, request: AptRequest, told: list[str]) -> Iterator[Path]:
    """The tree of place/laid as a system, within the block; needs mounts of its own."""
    with step_overlay(
        [place / "laid"], place / "upper", scratch=place / "mount", merged=place / "ours",
        clamp_to_s=LATEST_S,
    ) as tree:  # fmt: skip
        with step_namespace(lambda: chroot.mount_api(tree, network=False)) as namespace:
            configure_apt(tree, request, emit=lambda level, line: told.append(line),
                          run_tool=namespace.run)  # fmt: skip
        yield tree


@contextmanager
def store_site(folder: Path, small_tree: Path) -> Iterator[StoreSite]:
    """Make the suite in a directory that APT's own user can read, and serve it."""
    folder.chmod(0o755)
    repository = make_tiny_suite(folder, small_tree)
    with signing(folder / "gnupg") as signer, served(repository.folder) as (uri, asked):
        source = AptSource(("deb",), (uri,), (SUITE,), ("main",), read_key(signer.key))
        yield StoreSite(folder, repository, signer, source, asked)
