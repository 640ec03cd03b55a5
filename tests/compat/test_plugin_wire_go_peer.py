"""Goldsmith against a peer in Go on the libraries that Packer's own programs use.

The peer (`go_peer/`) is built once per session where Go is installed; `script/bootstrap` does not
install it.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import msgpack
import pytest

from goldsmith.errors import GoldsmithError
from goldsmith.plugin.cancel import Cancel
from goldsmith.plugin.protocols import FileInfo
from goldsmith.plugin.services.connection import HostConnection, serve_component
from goldsmith.plugin.wire import hcl_spec_gob
from goldsmith.plugin.wire.cty_gob import decode_float
from goldsmith.plugin.wire.errors import RemoteError
from goldsmith.plugin.wire.gob import Decoder
from goldsmith.plugin.wire.gob_types import Named, Opaque
from goldsmith.plugin.wire.handshake import Listener, connect, parse_handshake
from goldsmith.plugin.wire.hcl_spec import AttributeSpec, BlockListSpec, BlockSpec, ObjectSpec
from goldsmith.values.types import (
    BOOL,
    NUMBER,
    STRING,
    ListType,
    MapType,
    ObjectType,
    SetType,
    TupleType,
)
from goldsmith.values.value import object_of, string

pytestmark = pytest.mark.nightly  # to compile the peer takes minutes on a small host

HERE = Path(__file__).parent / "go_peer"
PATIENCE_S = 1200
BIG = bytes(range(256)) * 12_000
"""Larger than ten windows of a stream."""


@pytest.fixture(scope="session")
def go_peer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The peer's program."""
    go = shutil.which("go")
    if go is None:
        pytest.skip("NOT TESTED: Go is not installed, so the peer in Go cannot be built")
    environment = {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly -buildvcs=false"}
    target = tmp_path_factory.mktemp("go-peer") / "go_peer"

    def run(*args: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([go, *args], cwd=HERE, env=environment, text=True, check=False,
                              capture_output=True, timeout=PATIENCE_S)  # fmt: skip

    try:
        modules = run("mod", "download")
    except subprocess.TimeoutExpired:
        pytest.skip("NOT TESTED: the modules of the peer in Go could not be fetched in time")
    if modules.returncode != 0:
        pytest.skip(f"NOT TESTED: the modules of the peer in Go are not here: {modules.stderr}")
    built = run("build", "-o", str(target), ".")
    assert built.returncode == 0, built.stderr
    return target


@contextmanager
def started(program: Path, *args: str) -> Iterator[subprocess.Popen[str]]:
    """A running peer, killed at the end."""
    with subprocess.Popen([program, *args], stdout=subprocess.PIPE, text=True) as running:
        try:
            yield running
        finally:
            running.kill()


@pytest.fixture
def plugin(go_peer: Path) -> Iterator[HostConnection]:
    """Our host's connection to the builder of the peer."""
    with started(go_peer, "plugin") as running:
        assert running.stdout is not None
        handshake = parse_handshake(running.stdout.readline())
        with HostConnection(connect(handshake), protobuf=True) as host:
            yield host
        assert running.wait(PATIENCE_S) == 0


class Screen:
    """A user interface that notes what it is told."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)

    def ask(self, question: str) -> str:
        self.said.append(question)
        return "an answer"


class Hook:
    """Runs a function of the test."""

    def __init__(self, work: Callable[[Any, Any, Any], None]) -> None:
        self._work = work
        self.cancelled = threading.Event()

    def run(self, name: str, ui: Any, communicator: Any, data: Any) -> None:
        self._work(ui, communicator, data)

    def cancel(self) -> None:
        self.cancelled.set()


def test_a_go_plugin_reads_our_configurations(plugin):
    builder = plugin.builder()
    body = object_of({"a": string("<x>")})
    prepared = builder.prepare([{"times": 3.0, "n": 7, "t": "x", "l": ["a"], "m": {"k": True}},
                                None, body])  # fmt: skip
    assert sorted(prepared.generated) == [
        "l is []interface {} [a]", "m is map[interface {}]interface {} map[k:true]",
        "n is int64 7", "t is string x", "times is float64 3",
    ]  # fmt: skip
    value = '{"value":{"a":"\\u003cx\\u003e"},"type":["object",{"a":"string"}]}'
    assert prepared.warnings == ["nil", f"bytes {value}"]
    with pytest.raises(RemoteError, match=r"^it says so$"):
        builder.prepare([{"fail": "it says so"}])
    with pytest.raises(RemoteError, match=r"can't find method Builder\.ConfigSpec"):
        builder.config_spec()


def test_a_go_builder_runs_our_hook(plugin):
    found: list[Any] = []

    def work(ui: Any, communicator: Any, data: Any) -> None:
        ui.say("back to Go")
        found.append(data)
        found.append(run(communicator, "echo", b"in" * 100_000))
        with pytest.raises(RemoteError, match="no such command"):
            communicator.start("cannot start", stdout=io.BytesIO())
        info = FileInfo("n", len(BIG), 0o4640, 1_700_000_000_000_000_005)
        communicator.upload("/big", io.BytesIO(BIG), info)
        for name in ("/big", "/big.info"):
            found.append(io.BytesIO())
            communicator.download(name, found[-1])
        with pytest.raises(RemoteError, match="there is no /missing"):
            communicator.download("/missing", io.BytesIO())

    screen = Screen()
    artifact = plugin.builder().run(screen, Hook(work), Cancel())
    data, command, big, info = found
    assert data == {
        "text": "t\udcff", "whole": 7, "negative": -300, "large": 2**63, "float": 2.5,
        "flag": True, "bytes": b"\0\xff", "nothing": None, "list": ["a", 1],
        "time": msgpack.Timestamp(1_700_000_000, 5),
    }  # fmt: skip
    assert command == (5, b"in" * 100_000, b"echo")
    assert big.getvalue() == BIG
    assert info.getvalue() == f"n {len(BIG)} urw-r----- 1700000000000000005".encode()
    assert screen.said == ["from Go", "really?"]
    assert (artifact.builder_id, artifact.id, artifact.string) == (
        "go.peer", "an answer", "from Go"
    )  # fmt: skip
    assert artifact.files == []
    assert artifact.state("generated_data") == {"ID": "go-1"}
    assert artifact.state("unknown") is None
    with pytest.raises(RemoteError, match="it does not go"):
        artifact.destroy()


def test_the_error_of_our_hook_is_the_builders(plugin):
    def work(ui: Any, communicator: Any, data: Any) -> None:
        raise GoldsmithError("the provisioner failed")

    with pytest.raises(RemoteError, match=r"^hook: the provisioner failed$"):
        plugin.builder().run(Screen(), Hook(work), Cancel())


def test_a_go_builder_is_cancelled(plugin):
    running = threading.Event()

    def work(ui: Any, communicator: Any, data: Any) -> None:
        running.set()
        assert hook.cancelled.wait(PATIENCE_S)
        raise GoldsmithError("cancelled")

    hook, cancel = Hook(work), Cancel()

    def interrupt() -> None:
        running.wait(PATIENCE_S)
        cancel.cancel()

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(RemoteError, match="context canceled"):
        plugin.builder().run(Screen(), hook, cancel)
    thread.join()


def run(communicator: Any, command: str, given: bytes) -> tuple[int, bytes, bytes]:
    """Run a command to its end: status and outputs."""
    stdout, stderr = io.BytesIO(), io.BytesIO()
    running = communicator.start(command, stdin=io.BytesIO(given), stdout=stdout, stderr=stderr)
    return running.wait(), stdout.getvalue(), stderr.getvalue()


SPEC = ObjectSpec({
    "text": AttributeSpec("text", STRING, required=True),
    "table": AttributeSpec("table", MapType(ListType(NUMBER))),
    "set": AttributeSpec("set", SetType(BOOL)),
    "pair": AttributeSpec("pair", TupleType((STRING, BOOL))),
    "object": AttributeSpec("object", ObjectType({"a": NUMBER, "b": STRING})),
    "block": BlockSpec("block", ObjectSpec({"in": AttributeSpec("in", BOOL)}), required=True),
    "many": BlockListSpec("many", ObjectSpec({}), 1, 300),
})  # fmt: skip


class Provisioner:
    """Does through the communicator of a host in Go what there is to do."""

    def __init__(self) -> None:
        self.configs: Any = None
        self.generated: Any = None

    def config_spec(self) -> ObjectSpec:
        return SPEC

    def prepare(self, configs: Any) -> None:
        self.configs = configs

    def provision(self, ui: Any, communicator: Any, generated: Any, cancel: Cancel) -> None:
        self.generated = generated
        ui.say(f"{run(communicator, 'echo', b'given')}")
        communicator.upload("big", io.BytesIO(BIG))
        kept = io.BytesIO()
        communicator.download("big", kept)
        ui.say(hashlib.sha256(kept.getvalue()).hexdigest())
        raise GoldsmithError("it fails at last")


def test_a_go_host_drives_our_provisioner(go_peer):
    provisioner = Provisioner()
    with Listener.open() as listener:
        with started(go_peer, "host", listener.handshake().address) as running:
            connection = listener.accept(PATIENCE_S)
            with connection:
                serve_component(connection, provisioner, kind="provisioner", protobuf=False)
            output, _ = running.communicate(timeout=PATIENCE_S)
    told = json.loads(output)
    digest = hashlib.sha256(BIG).hexdigest()
    assert told["spec"] == told["prepare"] == "<nil>"
    assert hcl_spec_gob.decode_spec(bytes.fromhex(told["blob"])) == SPEC
    assert told["provision"] == "it fails at last"
    assert told["said"] == ["(5, b'given', b'echo')", digest]
    assert told["file big"] == f"{len(BIG)} {digest}"
    assert told["unknown"] == "rpc: can't find method Provisioner.Nope"
    assert "a map is expected" in told["wrong shape"]
    assert provisioner.configs == [
        {"times": 3.0, "list": ["a"]}, None, object_of({"a": string("x")})
    ]  # fmt: skip
    assert provisioner.generated == {"ID": "go", "Time": msgpack.Timestamp(1_700_000_000, 5)}


def test_gob_of_go_is_read(go_peer):
    written = subprocess.run([go_peer, "encode"], check=True, capture_output=True)
    first, text, number, texts, again = Decoder(written.stdout).values()
    assert first == again
    assert (text, number, texts) == ("a text", 42, ["a", "b"])
    assert first.pop("Whole") == Opaque(b"\x03\x05")
    assert decode_float(first.pop("Number").data).to_fraction() == (
        Fraction(123456789012345678901234567890 * 2 + 1, 2)
    )
    assert isinstance(first.pop("Moment"), Opaque)
    assert first == {
        "Text": "téxt", "Negative": -129, "Smallest": -(2**63), "Largest": 2**64 - 1,
        "Float": -2.5, "Flag": True, "Bytes": b"\0\x80\xff", "Complex": 1 - 2j,
        "List": [{"Name": "a", "Count": 1}, {}], "Array": [0, 1, -1], "Map": {"x": [1.0, 0.5]},
        "Numbers": {-7: "seven"}, "Behind": Named("example/inner", {"Name": "b", "Count": 300}),
        "Nested": {"Name": "n"},
    }  # fmt: skip


def test_our_gob_is_read_by_go(go_peer):
    ran = subprocess.run([go_peer, "decode"], input=hcl_spec_gob.encode_spec(SPEC), check=True,
                         capture_output=True)  # fmt: skip
    assert json.loads(ran.stdout) == {
        "text": {"Name": "text", "Type": "string", "Required": True},
        "table": {"Name": "table", "Type": "map(list(number))", "Required": False},
        "set": {"Name": "set", "Type": "set(bool)", "Required": False},
        "pair": {"Name": "pair", "Type": "tuple(string,bool,)", "Required": False},
        "object": {"Name": "object", "Type": "object(2, a number)", "Required": False},
        "block": {"TypeName": "block", "Required": True,
                  "Nested": {"in": {"Name": "in", "Type": "bool", "Required": False}}},
        "many": {"TypeName": "many", "Nested": {}, "MinItems": 1, "MaxItems": 300},
    }  # fmt: skip
