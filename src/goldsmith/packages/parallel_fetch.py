"""Package files fetched over several connections: apt-get asks a mirror for one after the other.

Where every answer takes a moment, that is most of the time of a hundred small packages. APT's own
`apt-helper` does it, with the same settings, sandbox and check of digests, in several processes. It
is for files that a signed index names; whatever is not here afterwards is left to apt-get, which
says what is wrong. Source: apt-helper of apt 2.6.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import stat
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from goldsmith.host.journal import remove_tree
from goldsmith.host.process import LineSink, run
from goldsmith.packages.package_store import Archive

_HELPER: Final = "/usr/lib/apt/apt-helper"
_CONNECTIONS: Final = 6
_FEWEST: Final = 2 * _CONNECTIONS
"""Of fewer files nothing is gained."""
_MOST_AT_ONCE: Final = 500
"""Files of one process: their addresses stand on its command line."""
_SANDBOX_USER: Final = "_apt"


def fetch_in_parallel(
    archives: Sequence[Archive],
    folder: Path,
    *,
    environment: Mapping[str, str],
    sandboxed: bool,
    on_line: LineSink,
) -> None:
    """Fetch what is not in APT's archives directory yet, as well as it goes.

    `environment` names the configuration. Nothing is raised for what cannot be fetched.
    """
    missing = [one for one in archives if not (folder / one.name).exists()]
    if len(missing) < _FEWEST or not os.access(_HELPER, os.X_OK) or not all(map(_can, missing)):
        return
    place = folder / "partial" / "goldsmith"
    place.mkdir(mode=0o700)
    if sandboxed:
        with contextlib.suppress(KeyError):
            os.chown(place, pwd.getpwnam(_SANDBOX_USER).pw_uid, -1)
    lock = threading.Lock()

    def tell(stream: str, line: str) -> None:
        # Of errors apt-get tells.
        if line.startswith("Get:"):
            with lock:
                on_line(stream, line)

    def fetch(share: Sequence[Archive]) -> None:
        for start in range(0, len(share), _MOST_AT_ONCE):
            words: list[str] = []
            for one in share[start : start + _MOST_AT_ONCE]:
                words += [one.uri, f"{place}/{one.name}", f"SHA256:{one.sha256}"]
            run([_HELPER, "download-file", *words], env=environment, cwd=folder, check=False,
                on_line=tell)  # fmt: skip

    with ThreadPoolExecutor(_CONNECTIONS) as pool:
        list(pool.map(fetch, _shares(missing)))
    for one in missing:
        _take(place / one.name, folder / one.name, one)


def _can(archive: Archive) -> bool:
    """Whether it comes by network; a user's name in an address would be seen in a list of tasks."""
    return archive.uri.startswith(("http://", "https://")) and "@" not in archive.uri


def _shares(archives: Sequence[Archive]) -> list[list[Archive]]:
    """As many as there are connections, of about the same size."""
    shares: list[list[Archive]] = [[] for _ in range(_CONNECTIONS)]
    sizes = [0] * _CONNECTIONS
    for one in sorted(archives, key=lambda one: -one.size_bytes):
        smallest = sizes.index(min(sizes))
        shares[smallest].append(one)
        # Even the smallest takes the time of an answer.
        sizes[smallest] += one.size_bytes + (1 << 18)
    return [share for share in shares if share]


def _take(fetched: Path, target: Path, archive: Archive) -> None:
    """Put a file where apt-get would have: it is whole under this name, and its digest right."""
    # Whoever fetched it may change what stands in its own directory, but not in this one.
    try:
        fetched.rename(target)
    except (FileNotFoundError, PermissionError):
        return  # apt-get fetches it, and says why if it cannot
    try:
        fd = os.open(target, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        target.unlink()  # a link
        return
    try:
        status = os.fstat(fd)
        if stat.S_ISREG(status.st_mode) and status.st_size == archive.size_bytes:
            os.fchown(fd, 0, 0)
            os.fchmod(fd, 0o644)
        else:
            remove_tree(target)
    finally:
        os.close(fd)
