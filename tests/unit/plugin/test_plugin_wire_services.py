"""Every service with goldsmith on both ends of the wire."""

from __future__ import annotations

import contextlib
import io
import socket
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from goldsmith.errors import GoldsmithError, Interrupted
from goldsmith.host.cancellation import Cancellation
from goldsmith.plugin.cancel import Cancel
from goldsmith.plugin.protocols import FileInfo, PostProcessed, Prepared
from goldsmith.plugin.services import calls
from goldsmith.plugin.services.connection import HostConnection, serve_component
from goldsmith.plugin.wire.broker import MAIN, Broker
from goldsmith.plugin.wire.errors import ConnectionLost, RemoteError, TimedOut, WireError
from goldsmith.plugin.wire.hcl_spec import AttributeSpec, BlockSpec, ObjectSpec
from goldsmith.plugin.wire.yamux import Session
from goldsmith.values.types import NUMBER, STRING
from goldsmith.values.value import list_of, number, object_of, string

PATIENCE_S = 120
SPEC = ObjectSpec({"a": AttributeSpec("a", STRING),
                   "b": BlockSpec("b", ObjectSpec({"n": AttributeSpec("n", NUMBER)}))})  # fmt: skip
BODY = object_of({"a": string("x"), "n": number(2.5)})


class Screen:
    """A user interface that notes what it is told."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    def say(self, text: str) -> None:
        self.told.append(("say", text))

    def message(self, text: str) -> None:
        self.told.append(("message", text))

    def error(self, text: str) -> None:
        self.told.append(("error", text))

    def ask(self, question: str) -> str:
        if question == "nobody?":
            raise GoldsmithError("no available tty")
        return question.upper()

    def machine(self, category: str, args: Any) -> None:
        self.told.append((category, list(args)))

    @contextmanager
    def progress(self, name: str, *, current: int = 0, total: int = 0) -> Iterator[Any]:
        if name == "refused":
            raise GoldsmithError("no bars here")
        self.told.append((name, current, total))
        yield self
        self.told.append("done")

    def add(self, count: int) -> None:
        self.told.append(count)


class Command:
    """A command that copies its input to its output."""

    def __init__(self, command: str, stdin: Any, stdout: Any, stderr: Any) -> None:
        self._command = command
        self._streams = stdin, stdout, stderr

    def wait(self) -> int:
        stdin, stdout, stderr = self._streams
        if self._command == "lost":
            raise GoldsmithError("the machine has gone")
        while stdin is not None and (piece := stdin.read(65536)):
            stdout.write(piece)
        if stderr is not None:
            stderr.write(b"warning\nlast")
        return 7


class Machine:
    """A communicator whose files are in memory, or only counted."""

    def __init__(self) -> None:
        self.files: dict[str, Any] = {}
        self.copied: list[Any] = []

    def start(self, command: str, *, stdin: Any = None, stdout: Any = None,
              stderr: Any = None) -> Command:  # fmt: skip
        if command == "cannot":
            raise GoldsmithError("no such command")
        return Command(command, stdin, stdout, stderr)

    def upload(self, path: str, content: Any, info: FileInfo | None = None) -> None:
        if path == "/full":
            content.read(1)
            raise GoldsmithError("no space left")
        count = 0
        while piece := content.read(1 << 20):
            count += len(piece)
        self.files[path] = (count, info)

    def download(self, path: str, to: Any) -> None:
        if path not in self.files:
            raise GoldsmithError(f"there is no {path}")
        for _ in range(self.files[path][0] // 65536):
            to.write(bytes(65536))

    def upload_directory(self, destination: str, source: str, exclude: Any = ()) -> None:
        self.copied.append(("up", destination, source, list(exclude)))

    def download_directory(self, source: str, destination: str, exclude: Any = ()) -> None:
        self.copied.append(("down", source, destination, list(exclude)))
        raise GoldsmithError("not a directory")


class Zeros:
    """So many bytes, and where so many went, without keeping them."""

    def __init__(self, size: int = 0) -> None:
        self.size = size
        self.count = 0

    def read(self, size: int) -> bytes:
        size = min(size, self.size)
        self.size -= size
        return bytes(size)

    def write(self, data: bytes) -> None:
        self.count += len(data)


class Made:
    """An artifact."""

    builder_id, id, string, files = "b", "i", "s", ["f"]

    def __init__(self) -> None:
        self.destroyed = 0

    def state(self, name: str) -> Any:
        return {"k": [1, b"\0"]} if name == "known" else None

    def destroy(self) -> None:
        self.destroyed += 1
        if self.destroyed > 1:
            raise GoldsmithError("it has gone")


class Component:
    """A component of every kind; `work` is what its one call does."""

    def __init__(self, work: Callable[..., Any] = lambda *given: None) -> None:
        self.configs: Any = None
        self.run = self.provision = self.post_process = work
        self.execute = work

    def config_spec(self) -> ObjectSpec:
        return SPEC

    output_spec = config_spec

    def prepare(self, configs: Any) -> Prepared:
        self.configs = configs
        if configs and configs[0] == {"bad": True}:
            raise GoldsmithError("unknown configuration key: bad")
        return Prepared(["V"], ["careful"])

    configure = prepare


class Hook:
    """A hook that runs a function of the test."""

    def __init__(self, work: Callable[..., None] = lambda *given: None) -> None:
        self.work = work
        self.cancelled = threading.Event()

    def run(self, name: str, ui: Any, communicator: Any, data: Any) -> None:
        self.work(name, ui, communicator, data)

    def cancel(self) -> None:
        self.cancelled.set()


@contextmanager
def plugin(component: Any, kind: str, *, protobuf: bool = True) -> Iterator[Any]:
    """A client of a component that is served at the other end."""
    ours, theirs = socket.socketpair()
    problems: list[str] = []
    thread = threading.Thread(
        target=serve_component, args=(theirs, component), daemon=True,
        kwargs={"kind": kind, "protobuf": protobuf, "log": problems.append},
    )  # fmt: skip
    thread.start()
    with HostConnection(ours, protobuf=protobuf, log=problems.append) as host:
        yield getattr(host, kind.replace("-", "_"))()
    thread.join(PATIENCE_S)
    assert not thread.is_alive()
    assert not [line for line in problems if "a command was lost" not in line]


@pytest.mark.parametrize("protobuf", [True, False])
@pytest.mark.parametrize("kind", ["builder", "provisioner", "post-processor", "datasource"])
def test_every_kind_is_configured(kind, protobuf):
    component = Component()
    with plugin(component, kind, protobuf=protobuf) as client:
        assert client.config_spec() == SPEC
        configure = client.prepare if hasattr(client, "prepare") else client.configure
        configs = [{"n": 3.0, "l": ["a"]}, None, BODY]
        found = configure(configs)
        assert component.configs == configs
        assert found == (Prepared(["V"], ["careful"]) if kind == "builder" else None)
        with pytest.raises(RemoteError, match=r"^unknown configuration key: bad$"):
            configure([{"bad": True}])


@pytest.mark.parametrize("protobuf", [True, False])
def test_a_data_source_answers(protobuf):
    value = object_of({"l": list_of(STRING, [string("é")]), "n": number(10**30)})
    with plugin(Component(lambda: value), "datasource", protobuf=protobuf) as client:
        assert client.output_spec() == SPEC
        assert client.execute() == value


def test_the_user_interface():
    screen = Screen()

    def provision(ui: Any, communicator: Any, generated: Any, cancel: Cancel) -> None:
        ui.say("a")
        ui.message("b")
        ui.error("c")
        ui.machine("d", ["e,f"])
        ui.machine("g", [])
        assert ui.ask("h") == "H"
        with pytest.raises(RemoteError, match="no available tty"):
            ui.ask("nobody?")
        with ui.progress("x.y/z", current=1, total=3) as bar:
            bar.add(2)
        with ui.progress("refused") as bar:
            bar.add(1)
        ui.progress("left open").__enter__()

    with plugin(Component(provision), "provisioner") as client:
        client.provision(screen, Machine(), {}, Cancel())
    assert screen.told == [
        ("say", "a"), ("message", "b"), ("error", "c"), ("d", ["e,f"]), ("g", []),
        ("x.y/z", 1, 3), 2, "done", ("left open", 0, 0), "done",
    ]  # fmt: skip


def test_the_communicator():
    machine, kept = Machine(), io.BytesIO()

    def provision(ui: Any, communicator: Any, generated: Any, cancel: Cancel) -> None:
        assert generated == {"ID": "x", "list": [1, None]}
        given, out, err = io.BytesIO(b"one\ntwo"), io.BytesIO(), io.BytesIO()
        assert communicator.start("copy", stdin=given, stdout=out, stderr=err).wait() == 7
        assert (out.getvalue(), err.getvalue()) == (b"one\ntwo", b"warning\nlast")
        assert communicator.start("quiet").wait() == 7
        assert communicator.start("lost", stdout=io.BytesIO()).wait() == 2_300_218
        with pytest.raises(RemoteError, match="no such command"):
            communicator.start("cannot", stdout=io.BytesIO(), stderr=io.BytesIO())
        communicator.upload("/f", Zeros(65536), FileInfo("f", 65536, 0o4750, 5))
        communicator.download("/f", kept)
        for refused in (
            lambda: communicator.download("/missing", io.BytesIO()),
            lambda: communicator.upload("/full", Zeros(8 << 20)),
            lambda: communicator.download_directory("/a", "b"),
        ):
            with pytest.raises(WireError):
                refused()
        communicator.upload_directory("/d", "s/", ["x"])

    screen = Screen()
    with plugin(Component(provision), "provisioner") as client:
        client.provision(screen, machine, {"ID": "x", "list": [1, None]}, Cancel())
    assert kept.getvalue() == bytes(65536)
    assert machine.files == {"/f": (65536, FileInfo("f", 65536, 0o4750, 5))}
    assert machine.copied == [("down", "/a", "b", []), ("up", "/d", "s/", ["x"])]


def test_large_files_need_little_memory():
    size, machine, target = 48 << 20, Machine(), Zeros()

    def provision(ui: Any, communicator: Any, generated: Any, cancel: Cancel) -> None:
        communicator.upload("/big", Zeros(size))
        communicator.download("/big", target)

    with plugin(Component(provision), "provisioner") as client:
        tracemalloc.start()
        try:
            client.provision(Screen(), machine, {}, Cancel())
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert (machine.files["/big"][0], target.count) == (size, size)
    assert peak < 16 << 20


def test_a_builder_with_its_hook_and_artifact():
    found: list[Any] = []

    def run(ui: Any, hook: Any, cancel: Cancel) -> Made:
        hook.run("packer_provision", Screen(), Machine(), {"ID": "x"})
        hook.run("packer_cleanup_provision", Screen(), Machine(), None)
        return Made()

    def work(name: str, ui: Any, communicator: Any, data: Any) -> None:
        ui.say("hello")
        found.append((name, data, communicator.start("x", stderr=io.BytesIO()).wait()))

    with plugin(Component(run), "builder") as client:
        artifact = client.run(Screen(), Hook(work), Cancel())
        assert (artifact.builder_id, artifact.id, artifact.string) == ("b", "i", "s")
        assert artifact.files == ["f"]
        assert artifact.state("known") == {"k": [1, b"\0"]}
        assert artifact.state("unknown") is None
        artifact.destroy()
        with pytest.raises(RemoteError, match="it has gone"):
            artifact.destroy()
        artifact.close()
    assert found == [("packer_provision", {"ID": "x"}, 7), ("packer_cleanup_provision", None, 7)]


def test_a_builder_may_make_nothing_or_fail():
    def fail(*given: Any) -> None:
        raise GoldsmithError("the build failed")

    with plugin(Component(), "builder") as client:
        assert client.run(Screen(), Hook(), Cancel()) is None
    with plugin(Component(fail), "builder") as client:
        with pytest.raises(RemoteError, match=r"^the build failed$"):
            client.run(Screen(), Hook(), Cancel())


def test_a_post_processor_may_hand_on_what_it_was_given():
    given_one = Made()

    def hand_on(ui: Any, artifact: Any, cancel: Cancel) -> PostProcessed:
        assert artifact.id == "i"
        return PostProcessed(artifact, True, True)

    with plugin(Component(hand_on), "post-processor") as client:
        done = client.post_process(Screen(), given_one, Cancel())
        assert (done.keep, done.force_keep) == (True, True)
        assert done.artifact.files == ["f"]
        done.artifact.destroy()
        done.artifact.close()
    assert given_one.destroyed == 1


def test_a_post_processor_may_hand_on_nothing_or_fail():
    def fail(*given: Any) -> None:
        raise GoldsmithError("cannot compress")

    with plugin(Component(lambda *given: PostProcessed(None)), "post-processor") as client:
        assert client.post_process(Screen(), Made(), Cancel()) == (None, False, False)
    with plugin(Component(fail), "post-processor") as client:
        with pytest.raises(RemoteError, match=r"^cannot compress$"):
            client.post_process(Screen(), Made(), Cancel())


def test_a_hook_is_served_too():
    hook = Hook(lambda name, ui, communicator, data: ui.say(f"{name} {data}"))
    screen = Screen()
    with plugin(hook, "hook") as client:
        client.run("packer_provision", screen, Machine(), {"a": 1})
        client.cancel()
        assert hook.cancelled.wait(PATIENCE_S)
    assert screen.told == [("say", "packer_provision {'a': 1}")]


def until_cancelled(running: threading.Event) -> Callable[..., Any]:
    def work(*given: Any) -> None:
        running.set()
        assert given[-1].wait(PATIENCE_S)
        raise GoldsmithError("context canceled")

    return work


@pytest.mark.parametrize("kind", ["builder", "provisioner", "post-processor"])
def test_a_call_is_cancelled(kind):
    running, cancel, hook = threading.Event(), Cancel(), Hook()

    def interrupt() -> None:
        running.wait(PATIENCE_S)
        cancel.cancel()

    thread = threading.Thread(target=interrupt)
    thread.start()
    with plugin(Component(until_cancelled(running)), kind) as client:
        with pytest.raises(RemoteError, match="context canceled"):
            call(client, kind, hook, cancel)
        if kind == "builder":
            assert hook.cancelled.wait(PATIENCE_S)
    thread.join()


def call(client: Any, kind: str, hook: Any, cancel: Cancel) -> None:
    if kind == "builder":
        client.run(Screen(), hook, cancel)
    elif kind == "provisioner":
        client.provision(Screen(), Machine(), {}, cancel)
    elif kind == "hook":
        client.run("event", Screen(), Machine(), None)
    else:
        client.post_process(Screen(), Made(), cancel)


def test_an_interrupt_of_the_thread_cancels_the_call():
    running, cancel, scope = threading.Event(), Cancel(), Cancellation()

    def interrupt() -> None:
        running.wait(PATIENCE_S)
        scope.cancel("SIGINT")

    thread = threading.Thread(target=interrupt)
    thread.start()
    with plugin(Component(until_cancelled(running)), "provisioner") as client:
        with pytest.raises(Interrupted), scope.installed():
            client.provision(Screen(), Machine(), {}, cancel)
        assert cancel.cancelled
    thread.join()
    scope.close()


@pytest.mark.parametrize("kind", ["builder", "provisioner", "post-processor"])
def test_a_plugin_that_goes_during_a_call(kind):
    ours, theirs = socket.socketpair()

    def go(*given: Any) -> None:
        theirs.shutdown(socket.SHUT_RDWR)

    thread = threading.Thread(
        target=serve_component, args=(theirs, Component(go)), daemon=True,
        kwargs={"kind": kind, "protobuf": True},
    )  # fmt: skip
    thread.start()
    with HostConnection(ours, protobuf=True) as host:
        client = getattr(host, kind.replace("-", "_"))()
        with pytest.raises(ConnectionLost, match="unexpected EOF"):
            call(client, kind, Hook(), Cancel())
        assert host.closed
    thread.join(PATIENCE_S)
    assert not thread.is_alive()


def test_no_thread_is_left():
    before = set(threading.enumerate())

    def work(name: str, ui: Any, communicator: Any, data: Any) -> None:
        communicator.start("x", stdin=Zeros(1), stdout=Zeros(), stderr=Zeros()).wait()

    def run(ui: Any, hook: Any, cancel: Cancel) -> Made:
        hook.run("packer_provision", Screen(), Machine(), None)
        return Made()

    with plugin(Component(run), "builder") as client:
        assert client.run(Screen(), Hook(work), Cancel()).id == "i"
    for thread in set(threading.enumerate()) - before:
        thread.join(PATIENCE_S)
        assert not thread.is_alive(), thread.name


def test_what_a_cancel_calls():
    cancel, called = Cancel(), []
    with cancel.calling(lambda: called.append(1)):
        cancel.cancel()
        cancel.cancel()
    with cancel.calling(lambda: called.append(2)):
        pass
    assert called == [1, 2]
    assert cancel.wait()


@settings(max_examples=40, deadline=None)
@given(st.binary(max_size=300))
def test_no_bytes_hang_a_host(garbage):
    ours, theirs = socket.socketpair()
    begin = bytes.fromhex("000100020000000100000000 000000000000000100000004 00000000")
    with theirs:
        theirs.sendall(begin + b"\0\0\0\0\0\0\0\1" + len(garbage).to_bytes(4, "big") + garbage)
        theirs.shutdown(socket.SHUT_WR)
        with contextlib.suppress(WireError):
            with HostConnection(ours, protobuf=True) as host:
                host.builder().config_spec()


@settings(max_examples=40, deadline=None)
@given(st.recursive(
    st.none() | st.booleans() | st.integers(-10, 300) | st.text(max_size=3) | st.binary(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(
        st.sampled_from(["Configs", "Name", "Data", "StreamId", "StreamID", "x"]), inner,
        max_size=3), max_leaves=6,
))  # fmt: skip
def test_no_argument_breaks_a_service(argument):
    def nothing(*given: Any) -> None:
        raise GoldsmithError("nothing was dialled")

    with plugin(Component(nothing), "builder") as client:
        with contextlib.suppress(RemoteError):
            client._rpc.call("Builder.Prepare", argument, PATIENCE_S)
        assert client.config_spec() == SPEC


def leave(*given: Any) -> Any:
    raise SystemExit(3)


@pytest.mark.parametrize("kind", ["builder", "provisioner", "post-processor", "hook"])
def test_a_component_that_exits_is_an_error_of_its_call(kind):
    ours, theirs = socket.socketpair()
    component = Hook(leave) if kind == "hook" else Component(leave)
    threading.Thread(
        target=serve_component, args=(theirs, component), daemon=True,
        kwargs={"kind": kind, "protobuf": True},
    ).start()  # fmt: skip
    with HostConnection(ours, protobuf=True) as host:
        client = getattr(host, kind.replace("-", "_"))()
        with pytest.raises(RemoteError, match="3"):
            call(client, kind, Hook(), Cancel())


def test_a_component_that_does_not_answer_is_given_up(monkeypatch):
    released = threading.Event()
    component = Component()
    component.prepare = lambda configs: released.wait(PATIENCE_S)  # type: ignore[assignment]
    monkeypatch.setattr(calls, "ANSWER_WITHIN_S", 0.1)
    try:
        with plugin(component, "provisioner") as client:
            with pytest.raises(TimedOut, match="was not answered within"):
                client.prepare([{}])
            released.set()
    finally:
        released.set()


def test_a_connection_is_closed_though_a_writer_is_stuck():
    ours, theirs = socket.socketpair()
    with theirs, Session(theirs, is_client=False) as session:
        accepting = threading.Thread(target=Broker(session, print).accept, args=(MAIN, PATIENCE_S))
        accepting.start()
        host = HostConnection(ours, protobuf=True)
        accepting.join(PATIENCE_S)
        ended = threading.Event()

        def prepare() -> None:
            # More than the window of a stream that nobody reads.
            with contextlib.suppress(WireError):
                host.provisioner().prepare([{"large": "x" * (1 << 20)}])
            ended.set()

        threading.Thread(target=prepare, daemon=True).start()
        host.close()
        assert ended.wait(PATIENCE_S)
