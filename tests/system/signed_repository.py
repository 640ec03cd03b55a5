"""A small APT repository made on the spot: packages by dpkg-deb, an index, a signature by gpg."""

from __future__ import annotations

import gzip
import hashlib
import os
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Signer:
    """A key of its own, kept in `home`; `key` is its public half in `folder`, binary."""

    def __init__(self, home: Path, folder: Path) -> None:
        folder.mkdir(mode=0o700)
        self._environment = {**os.environ, "GNUPGHOME": str(home), "LC_ALL": "C"}
        self._gpg("--passphrase", "", "--quick-gen-key", "Test <t@example.invalid>", "ed25519",
                  "sign", "never")  # fmt: skip
        self.key = folder / "public.gpg"
        self.key.write_bytes(self._gpg("--export"))
        self.armored = self._gpg("--armor", "--export").decode()

    def sign_in_line(self, release: Path) -> None:
        """Write InRelease beside a Release file."""
        text = self._gpg("--clearsign", "--output", "-", str(release))
        release.with_name("InRelease").write_bytes(text)

    def sign_apart(self, release: Path) -> None:
        """Write Release.gpg beside a Release file."""
        text = self._gpg("--detach-sign", "--armor", "--output", "-", str(release))
        release.with_name("Release.gpg").write_bytes(text)

    def close(self) -> None:
        """End the agent that gpg has started."""
        subprocess.run(["gpgconf", "--kill", "all"], env=self._environment, check=True)

    def _gpg(self, *words: str) -> bytes:
        argv = ["gpg", "--batch", "--quiet", "--no-tty", *words]
        return subprocess.run(argv, env=self._environment, check=True, capture_output=True).stdout


@contextmanager
def signing(folder: Path) -> Iterator[Signer]:
    """A new key, whose public half is put into `folder`."""
    # The path of the agent's socket has room for 107 bytes, and paths of tests are long.
    with tempfile.TemporaryDirectory(prefix="gpg-") as home:
        signer = Signer(Path(home), folder)
        try:
            yield signer
        finally:
            signer.close()


class Repository:
    """Packages in a directory, published as a suite or as a flat repository."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "pool").mkdir(parents=True)

    def add(self, name: str, version: str, *, text: str = "", fields: str = "") -> Path:
        """A package with one file, /usr/share/NAME/text."""
        root = self.folder.parent / f"build-{name}-{version}"
        (root / "DEBIAN").mkdir(parents=True)
        (root / "DEBIAN/control").write_text(
            f"Package: {name}\nVersion: {version}\nArchitecture: all\n{fields}"
            "Maintainer: Test <t@example.invalid>\nDescription: test\n"
        )
        (root / f"usr/share/{name}").mkdir(parents=True)
        (root / f"usr/share/{name}/text").write_text(text or f"{name} {version}\n")
        target = self.folder / "pool" / f"{name}_{version}_all.deb"
        subprocess.run(["dpkg-deb", "--root-owner-group", "--build", str(root), str(target)],
                       check=True, capture_output=True)  # fmt: skip
        return target

    def publish(
        self,
        suite: str,
        signer: Signer | None,
        *,
        apart: bool = False,
        components: Sequence[str] = ("main",),
        packages: Sequence[Path] | None = None,
    ) -> None:
        """Write index and Release file; `./` is flat. `packages` are all unless they are given.

        They are in the first of the components.
        """
        flat = suite.endswith("/")
        place = self.folder if flat else self.folder / "dists" / suite
        names = ["Packages"] if flat else [
            f"{component}/binary-{each}/Packages" for component in components
            for each in ("amd64", "arm64", "all")]  # fmt: skip
        chosen = sorted(self.folder.glob("pool/*.deb")) if packages is None else packages
        whole = "\n".join(self._record(path) for path in chosen)
        listed = {}
        for name in names:
            index = whole if flat or name.startswith(f"{components[0]}/") else ""
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            for ending, content in (("", index.encode()), (".gz", gzip.compress(index.encode()))):
                (place / f"{name}{ending}").write_bytes(content)
                listed[f"{name}{ending}"] = content
        release = place / "Release"
        release.write_text(_release(suite, listed, components))
        for old in ("InRelease", "Release.gpg"):
            (place / old).unlink(missing_ok=True)
        if signer is not None:
            (signer.sign_apart if apart else signer.sign_in_line)(release)

    def _record(self, path: Path) -> str:
        control = subprocess.run(["dpkg-deb", "--field", str(path)], check=True,
                                 capture_output=True, text=True).stdout  # fmt: skip
        content = path.read_bytes()
        return (
            f"{control.strip()}\nFilename: {path.relative_to(self.folder)}\n"
            f"Size: {len(content)}\nSHA256: {hashlib.sha256(content).hexdigest()}\n"
        )


def _release(suite: str, files: Mapping[str, bytes], components: Sequence[str]) -> str:
    lines = [
        f" {hashlib.sha256(content).hexdigest()} {len(content)} {name}"
        for name, content in files.items()
    ]
    name = "flat" if suite.endswith("/") else suite
    return "\n".join([
        "Origin: Test", f"Suite: {name}", f"Codename: {name}",
        f"Components: {' '.join(components)}",
        "Architectures: all amd64 arm64", "Date: Mon, 01 Jan 2024 00:00:00 UTC", "SHA256:", *lines,
        "",
    ])  # fmt: skip


class _Handler(SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        """Nothing is written to the terminal."""

    def send_response(self, code: int, message: str | None = None) -> None:
        self.server.asked.append((self.path, code))  # type: ignore[attr-defined]
        super().send_response(code, message)


@contextmanager
def served(folder: Path) -> Iterator[tuple[str, list[tuple[str, int]]]]:
    """Serve a directory on loopback; gives its address and what was asked for: path and status."""
    handler = partial(_Handler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = False
        asked: list[tuple[str, int]] = []
        server.asked = asked  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}", asked
        finally:
            server.shutdown()
            thread.join()
