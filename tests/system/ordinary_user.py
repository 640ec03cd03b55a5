"""A user of this host who is not root: made for a test session, and removed at its end."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import goldsmith

ENDS_WITHIN_S = 60.0


@dataclass(frozen=True)
class OrdinaryUser:
    """A user with subordinate ids and a home that nobody else may enter."""

    name: str
    uid: int
    home: Path
    first_subordinate: int

    @property
    def state(self) -> Path:
        """Where goldsmith keeps the runs of this user."""
        return self.home / ".cache/goldsmith"

    def runs(self) -> list[str]:
        """The run directories that are left."""
        runs = self.state / "runs"
        return sorted(path.name for path in runs.iterdir()) if runs.is_dir() else []

    def directory(self, name: str) -> Path:
        """A new directory of the user's own."""
        path = self.home / name
        path.mkdir()
        os.chown(path, self.uid, self.uid)
        return path

    def words(self, *argv: str | os.PathLike[str], env: Mapping[str, str]) -> list[str]:
        """The command line by which root runs a program as the user."""
        environment = {"HOME": str(self.home), "USER": self.name, "LANG": "C.UTF-8",
                       "PATH": "/usr/local/bin:/usr/bin:/bin", "TMPDIR": os.environ["TMPDIR"],
                       **env}  # fmt: skip
        pairs = [f"{name}={value}" for name, value in environment.items()]
        return ["setpriv", f"--reuid={self.uid}", f"--regid={self.uid}", "--init-groups", "env",
                "--ignore-environment", *pairs, *map(os.fspath, argv)]  # fmt: skip

    def python(self, *args: str, **env: str) -> list[str]:
        """The command line of Python, with our modules, as the user."""
        return self.words(_python_of(self), *args, env={"PYTHONPATH": _MODULES, **env})

    def goldsmith(self, *args: str, **env: str) -> list[str]:
        """The command line of goldsmith as the user."""
        return self.python("-P", "-m", "goldsmith", *args, **env)

    def run(self, *args: str, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
        """Run goldsmith to its end; both streams are in `stdout`."""
        return subprocess.run(
            self.goldsmith(*args, **env), cwd=cwd, text=True, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, errors="replace", check=False,
        )  # fmt: skip

    def processes(self) -> list[str]:
        """The living processes of the user and of his subordinate ids."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    uid = entry.stat().st_uid
                    line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                except OSError:
                    continue
                if uid == self.uid or uid in range(
                    self.first_subordinate, self.first_subordinate + 65536
                ):
                    found.append(f"{entry.name} {line}")
        return found


_MODULES = f"{Path(goldsmith.__file__).parents[1]}:{sysconfig.get_path('purelib')}"


def _python_of(user: OrdinaryUser) -> str:
    """An interpreter of our version that others than root can run: a home may hold ours."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    for candidate in (
        sys.executable,
        f"/usr/bin/python{version}",
        f"/usr/local/bin/python{version}",
    ):
        words = user.words(candidate, "-c", "pass", env={})
        if subprocess.run(words, capture_output=True, check=False).returncode == 0:
            return candidate
    raise AssertionError(f"no python{version} of this host can be run by other users than root")


@contextmanager
def ordinary_user(home: Path) -> Iterator[OrdinaryUser]:
    """Add a user to this host, and remove him with his home and what he still runs."""
    name = f"goldsmith-{secrets.token_hex(4)}"
    subprocess.run(
        ["useradd", "--no-create-home", "--user-group", f"--home-dir={home}", "--shell=/bin/sh",
         name], check=True,
    )  # fmt: skip
    try:
        if _first_subordinate(name) is None:
            ids = "2000000000-2000065535"
            subprocess.run(["usermod", f"--add-subuids={ids}", f"--add-subgids={ids}", name],
                           check=True)  # fmt: skip
        uid = int(subprocess.check_output(["id", "--user", name]))
        home.mkdir(mode=0o700)
        os.chown(home, uid, uid)
        first = _first_subordinate(name)
        assert first is not None
        user = OrdinaryUser(name, uid, home, first)
        yield user
        deadline_s = time.monotonic() + ENDS_WITHIN_S
        while user.processes():
            assert time.monotonic() < deadline_s, user.processes()
            time.sleep(0.05)
    finally:
        shutil.rmtree(home, ignore_errors=True)
        subprocess.run(["userdel", "--force", name], check=True, capture_output=True)


def _first_subordinate(name: str) -> int | None:
    lines = Path("/etc/subuid").read_text().splitlines() if os.path.exists("/etc/subuid") else []
    return next((int(line.split(":")[1]) for line in lines if line.startswith(f"{name}:")), None)
