"""What all tests share: who may run what, the host as it was before, goldsmith itself, a tiny tree.

Tests that touch the kernel must leave the host as they found it: `host_unchanged` looks before and
after each of them. The whole session keeps its temporary files and goldsmith's state in places of
its own, so what it finds there is what the tests left, not what somebody else does meanwhile.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

SKIP_ROOT = "GOLDSMITH_SKIP_ROOT"
TOUCHES_THE_HOST = ("root", "boot", "network")
SETTLES_WITHIN_S = 20.0
"""Partition nodes, autocleared loop devices and killed processes vanish a moment late."""

_PASSED_ON = ("PATH", "HOME", "TMPDIR", "LANG", "http_proxy", "https_proxy", "no_proxy",
              "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR")  # fmt: skip
_SESSION_PLACES = re.compile(
    r"/pytest-of-[^/]+/pytest-\d+(?:/popen-gw\d+)?(?=/)|/[^ ]*/goldsmith-tests\.[^/]+(?=/)"
)
_NO_OVERLAY_UPPER = frozenset({"overlay", "nfs", "nfs4", "9p", "vfat", "ecryptfs", "virtiofs"})


# No test is about time: a machine may do anything else meanwhile.
settings.register_profile(
    "any-machine", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("any-machine")


def pytest_make_parametrize_id(config: pytest.Config, val: object, argname: str) -> str | None:
    """Bytes stand under the parameter's name: an archive holds the time when it was made.

    Processes that share the tests (pytest-xdist) must find the same names.
    """
    return argname if isinstance(val, bytes) else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip what needs root only where that was asked for; otherwise not being root is a failure."""
    if os.environ.get(SKIP_ROOT) != "1":
        return
    skip = pytest.mark.skip(reason=f"{SKIP_ROOT}=1")
    for item in items:
        if item.get_closest_marker("root"):
            item.add_marker(skip)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Say clearly why a test cannot pass, before it fails in the middle."""
    if item.get_closest_marker("root") and os.geteuid() != 0:
        pytest.fail(
            f"this test needs root: run the tests as root, or set {SKIP_ROOT}=1 to leave out "
            "everything that needs it",
            pytrace=False,
        )


@pytest.fixture(scope="session", autouse=True)
def own_places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Temporary files and goldsmith's state in a directory of this session, not in the host's.

    Everybody may write there, as to any temporary directory: APT drops its privileges.
    """
    # pytest's own directories stay where people look for them.
    tmp_path_factory.getbasetemp()
    place = Path(tempfile.mkdtemp(prefix="goldsmith-tests."))
    place.chmod(0o755)
    temporary = place / "tmp"
    temporary.mkdir()
    temporary.chmod(0o1777)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(temporary))
        patch.setattr(tempfile, "tempdir", None)
        for name in ("GITHUB_ACTIONS", "GITLAB_CI"):
            patch.delenv(name, raising=False)
        patch.setenv("GOLDSMITH_CACHE_DIR", str(place / "cache"))
        yield place
    shutil.rmtree(place)


@dataclass(frozen=True)
class Host:
    """What tests may change of a host and must put back, each item as people would name it."""

    mounts: Counter[str] = field(default_factory=Counter)
    loops: Counter[str] = field(default_factory=Counter)
    processes: Counter[str] = field(default_factory=Counter)
    files: Counter[str] = field(default_factory=Counter)

    @classmethod
    def now(cls, places: list[Path]) -> Host:
        """Look; `places` are the session's directories: what names them is ours."""
        found = (_mounts(), _loops(), _processes(places), _files(places))
        return cls(*(_without_others(counted, places) for counted in found))

    def differences(self, before: Host) -> list[str]:
        """What is there now and was not, and what is gone."""
        found = []
        for kind in ("mounts", "loops", "processes", "files"):
            now, then = getattr(self, kind), getattr(before, kind)
            new = now - then
            if kind == "processes":
                # A server may change its title when it is ready: it is the one that it was.
                known = {_identity(item) for item in then}
                new = Counter(item for item in new if _identity(item) not in known)
            found += [f"left behind ({kind}): {item}" for item in sorted(new)]
            # A process or file of an earlier test may end late; a mount of the host may not.
            if kind in ("mounts", "loops"):
                found += [f"gone from the host ({kind}): {item}" for item in sorted(then - now)]
        return found


def _identity(process: str) -> tuple[str, str]:
    """The number and the start of a process, of the text that stands for it."""
    return process.partition(" ")[0], process.rpartition("(")[2]


def _without_others(found: Counter[str], places: list[Path]) -> Counter[str]:
    """Leave out what names only places of another session of tests on this machine."""

    def is_others(text: str) -> bool:
        named = [match.group() for match in _SESSION_PLACES.finditer(text)]
        return bool(named) and not any(str(ours).endswith(n) for ours in places for n in named)

    return Counter({text: count for text, count in found.items() if not is_others(text)})


def _mounts() -> Counter[str]:
    """Mount point, root, type and source of each mount that this process sees; proc(5)."""
    found: Counter[str] = Counter()
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        first, _, second = line.partition(" - ")
        root, point = first.split()[3:5]
        kind, source = second.split()[:2]
        found[f"{point} ({kind} of {source}, {root})"] += 1
    return found


def _loops() -> Counter[str]:
    argv = ["losetup", "--list", "--json", "--output", "NAME,BACK-FILE,OFFSET"]
    listed = subprocess.run(argv, check=True, capture_output=True, text=True).stdout
    devices = json.loads(listed)["loopdevices"] if listed.strip() else []
    files = {device["name"]: device["back-file"] for device in devices}

    def shown(device: str) -> str:
        """The file of a loop device; of one on another, that of the other one besides."""
        file = files.get(device)
        below = re.match(r"/dev/loop\d+", str(file))
        return f"{file} ({files.get(below.group())})" if below else str(file)

    nodes = Counter(
        f"partition node {path} on {shown(str(path).rpartition('p')[0])}"
        for path in Path("/dev").glob("loop*p*")
    )
    return nodes + Counter(f"{d['name']} on {shown(d['name'])} at {d['offset']}" for d in devices)


@dataclass(frozen=True)
class _Process:
    pid: int
    parent: int
    started: str
    name: str
    command: str
    places: tuple[str, ...]

    @classmethod
    def read(cls, pid: int) -> _Process | None:
        """A process as /proc shows it; None for one that has gone, or is a zombie."""
        base = Path("/proc", str(pid))
        try:
            text = (base / "stat").read_text(errors="replace")
            name, _, rest = text.partition("(")[2].rpartition(")")
            fields = rest.split()
            if fields[0] in "ZX":
                return None
            words = (base / "cmdline").read_bytes().rstrip(b"\0").split(b"\0")
            command = b" ".join(words).decode(errors="replace")
            places = tuple(filter(None, (_link(base / "cwd"), _link(base / "root"))))
        except OSError:
            return None
        return cls(pid, int(fields[1]), fields[19], name, command, places)

    def is_ours(self, places: list[Path]) -> bool:
        """Whether it names goldsmith, or lives in a place of this session."""
        return "goldsmith" in self.name or any(
            word in text
            for text in (self.command, *self.places)
            for word in ("goldsmith", *map(str, places))
        )

    def __str__(self) -> str:
        return f"{self.pid} {self.name}: {self.command} (started at {self.started})"


def _link(path: Path) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""


def _processes(places: list[Path]) -> Counter[str]:
    """Everything below this process, and orphans that are ours.

    An orphan was given to one of our ancestors. What has a living parent elsewhere belongs to
    that: somebody else may be building on this machine.
    """
    pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal()]
    alive = {process.pid: process for pid in pids if (process := _Process.read(pid))}
    ancestors = {1}
    pid = os.getpid()
    while pid in alive and alive[pid].parent:
        pid = alive[pid].parent
        ancestors.add(pid)
    ours: set[int] = {os.getpid()}
    growing = True
    while growing:
        below = {p.pid for p in alive.values() if p.parent in ours} - ours
        ours |= below
        growing = bool(below)
    orphans = {p.pid for p in alive.values() if p.parent in ancestors and p.is_ours(places)}
    seen = (ours | orphans) - ancestors - {os.getpid()}
    return Counter(str(alive[pid]) for pid in seen)


def _files(places: list[Path]) -> Counter[str]:
    """Temporary files of any name, runs of goldsmith, and outputs that are half written."""
    patterns = ("cache/runs/[0-9]*", "*/state/runs/[0-9]*", "*/.*.partial", "*/*/.*.partial")
    left = (path for place in places for pattern in patterns for path in place.glob(pattern))
    return Counter(map(str, [*Path(tempfile.gettempdir()).iterdir(), *left]))


@pytest.fixture(autouse=True)
def host_unchanged(
    request: pytest.FixtureRequest, own_places: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[None]:
    """Fail a test that touches the host and does not leave it as it was.

    It is asked for before every other fixture of the test, so it looks after they have ended.
    """
    if not any(request.node.get_closest_marker(name) for name in TOUCHES_THE_HOST):
        yield
        return
    places = [own_places, tmp_path_factory.getbasetemp()]
    before = Host.now(places)
    yield
    deadline_s = time.monotonic() + SETTLES_WITHIN_S
    while differences := Host.now(places).differences(before):
        if time.monotonic() > deadline_s:
            pytest.fail("the host is not as it was:\n  " + "\n  ".join(differences), pytrace=False)
        time.sleep(0.05)


@dataclass(frozen=True)
class Result:
    """How a run of goldsmith ended."""

    status: int
    stdout: str
    stderr: str

    def __str__(self) -> str:
        return f"status {self.status}\n--- stdout\n{self.stdout}\n--- stderr\n{self.stderr}"


@dataclass(frozen=True)
class Goldsmith:
    """Runs the command line in a process of its own; `state` is its GOLDSMITH_CACHE_DIR."""

    state: Path
    directory: Path

    def __call__(
        self,
        *args: str | os.PathLike[str],
        cwd: Path | None = None,
        env: Mapping[str, str | None] | None = None,
        timeout_s: float = 600,
        check: bool = False,
    ) -> Result:
        """Run to the end; with `check` any status but 0 fails the test with all that was printed.

        `env` adds to a small environment, None takes away; nobody answers on standard input.
        """
        with self.start(*args, cwd=cwd, env=env) as running:
            try:
                stdout, stderr = running.communicate(timeout=timeout_s)
            except subprocess.TimeoutExpired:
                running.send_signal(signal.SIGTERM)
                stdout, stderr = running.communicate(timeout=60)
                pytest.fail(f"did not end within {timeout_s} s: {args}\n{stdout}\n{stderr}")
        result = Result(running.returncode, stdout, stderr)
        if check and result.status != 0:
            pytest.fail(f"goldsmith {' '.join(map(str, args))}: {result}")
        return result

    @contextlib.contextmanager
    def start(
        self,
        *args: str | os.PathLike[str],
        cwd: Path | None = None,
        env: Mapping[str, str | None] | None = None,
    ) -> Iterator[subprocess.Popen[str]]:
        """Start it, for tests that send signals; it is killed and reaped at the end."""
        given = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
        changes = {"GOLDSMITH_CACHE_DIR": str(self.state), **(env or {})}
        environment = {k: v for k, v in {**given, **changes}.items() if v is not None}
        running = subprocess.Popen(
            [sys.executable, "-P", "-m", "goldsmith", *map(os.fspath, args)],
            cwd=cwd or self.directory, env=environment, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace",
            start_new_session=True,
        )  # fmt: skip
        try:
            yield running
        finally:
            running.kill()
            running.wait()
            for pipe in (running.stdout, running.stderr):
                if pipe is not None:
                    pipe.close()


def _file_system_type(path: Path) -> str:
    """The type of the file system that a directory is on: the longest mount point that fits."""
    real, best, kind = os.path.realpath(path), "", ""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        first, _, second = line.partition(" - ")
        point = first.split()[4].encode().decode("unicode_escape")
        inside = real == point or real.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):
            best, kind = point, second.split()[0]
    return kind


@pytest.fixture
def goldsmith(tmp_path: Path) -> Iterator[Callable[..., Result]]:
    """Runs goldsmith: `goldsmith("build", "x.pkr.hcl", check=True)`; works in tmp_path.

    Its state lies where overlays can be written: in tmp_path, or else in the first directory of
    this host whose file system can do it.
    """
    home = Path(__file__).parents[1]
    for place in (tmp_path, Path("/var/tmp"), Path("/var/cache"), Path("/dev/shm"), home):
        kind = _file_system_type(place)
        if place.is_dir() and kind not in _NO_OVERLAY_UPPER and not kind.startswith("fuse"):
            break
    else:
        pytest.fail("no file system here can hold the upper directory of an overlay: mount one, "
                    "a tmpfs is enough, on /var/tmp")  # fmt: skip
    if place == tmp_path:
        yield Goldsmith(tmp_path / "state", tmp_path)
        return
    with tempfile.TemporaryDirectory(prefix="goldsmith-state.", dir=place) as state:
        yield Goldsmith(Path(state), tmp_path)


_TREE_PROGRAMS = (
    "sh", "basename", "cat", "chmod", "chown", "chroot", "cp", "cut", "date", "dd", "dirname",
    "echo", "env", "expr", "false", "grep", "head", "hostname", "id", "ln", "ls", "mkdir", "mkfifo",
    "mknod", "mktemp", "mv", "nohup", "od", "printenv", "printf", "pwd", "readlink", "realpath",
    "rm", "rmdir", "sed", "seq", "setsid", "sha256sum", "sleep", "sort", "stat", "sync", "tail",
    "tee", "test", "timeout", "touch", "tr", "true", "uname", "uniq", "wc", "whoami",
)  # fmt: skip
_TREE_FILES = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
    "etc/group": "root:x:0:\nnogroup:x:65534:\n",
    "etc/shadow": "root:*:19000:0:99999:7:::\nnobody:*:19000:0:99999:7:::\n",
    "etc/os-release": 'NAME="Tiny"\nID=tiny\nVERSION_ID=1\nPRETTY_NAME="A tiny tree"\n',
    "etc/hostname": "tiny\n",
    "etc/hosts": "127.0.0.1 localhost\n",
}
_TREE_DIRECTORIES = ("dev", "home", "mnt", "opt", "proc", "root", "run", "srv", "sys", "tmp",
                     "usr/local/bin", "usr/sbin", "var/cache", "var/lib", "var/log",
                     "var/tmp")  # fmt: skip


@pytest.fixture(scope="session")
def small_tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tar archive of a tiny root file system: a shell, the basic programs, no packages.

    Made of this host's own programs, it needs no network and takes a fraction of a second. For
    builds with `method = "tar"` and `firmware = []`.
    """
    tree = tmp_path_factory.mktemp("small-tree") / "tree"
    for name in ("usr/bin", *_TREE_DIRECTORIES):
        (tree / name).mkdir(parents=True, exist_ok=True)
    (tree / "tmp").chmod(0o1777)
    for name in ("bin", "sbin", "lib", "lib64"):
        (tree / "usr" / name).mkdir(exist_ok=True)
        (tree / name).symlink_to(f"usr/{name}")
    needed: set[str] = set()
    for name in _TREE_PROGRAMS:
        path = shutil.which(name, path="/usr/sbin:/usr/bin:/sbin:/bin")
        if path is None:
            pytest.fail(f"this host has no {name}")
        shutil.copy2(os.path.realpath(path), tree / "usr/bin" / name)
        needed.add(path)
    for library in _libraries(needed):
        # On a merged /usr the loader's path leads through the links made above.
        target = tree / os.path.dirname(library).lstrip("/")
        target.mkdir(parents=True, exist_ok=True)
        shutil.copy2(os.path.realpath(library), target / os.path.basename(library))
    for name, content in _TREE_FILES.items():
        (tree / name).parent.mkdir(exist_ok=True)
        (tree / name).write_text(content)
    (tree / "etc/shadow").chmod(0o640)
    archive = tree.parent / "tree.tar"
    with tarfile.open(archive, "w", format=tarfile.PAX_FORMAT) as tar:
        tar.add(tree, ".", filter=_owned_by_root)
    shutil.rmtree(tree)
    return archive


def _libraries(programs: set[str]) -> set[str]:
    """The shared libraries that programs load, and the loader."""
    listed = subprocess.run(["ldd", *sorted(programs)], check=True, capture_output=True, text=True)
    words = (line.split() for line in listed.stdout.splitlines())
    return {word for line in words for word in line if word.startswith("/") and ".so" in word}


def _owned_by_root(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = "root"
    return member
