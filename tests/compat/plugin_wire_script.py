"""Objects that behave as one side of a recorded session did, behind goldsmith's own interfaces.

What is asked of them is compared with what was asked then, and they answer what was answered;
`Script.play` makes the calls that were made, through the objects that goldsmith gives.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from plugin_wire_recording import Message, Peer, Recording, other

from goldsmith.errors import GoldsmithError
from goldsmith.plugin.cancel import Cancel
from goldsmith.plugin.protocols import FileInfo, PostProcessed, Prepared
from goldsmith.plugin.services.communicator import decode_info
from goldsmith.plugin.services.config_spec import SpecForm
from goldsmith.plugin.services.configs import decode_configs
from goldsmith.plugin.wire.errors import WireError
from goldsmith.values.value import Value

LONG = ("Run", "Provision", "PostProcess")
"""Calls during which others are made."""


class Said(GoldsmithError):
    """An error that the recording says."""


class Script:
    """What our side did in a recorded session, to be done again."""

    def __init__(self, recording: Recording, peer: Peer) -> None:
        self.recording = recording
        self.peer = peer
        self.ours = other(peer.side)
        self.form = SpecForm(recording.protobuf)
        self.problems: list[str] = []
        self._lock = threading.Lock()
        self._answered: set[tuple[int, bool, int]] = set()

    def check(self, what: str, found: Any, expected: Any) -> None:
        """Note a difference; the calls go on."""
        if found != expected:
            self.problems.append(f"{what}: {found!r:.300} instead of {expected!r:.300}")

    def asked(self, stream: int | None, method: str, body: Any = None) -> Message:
        """The recorded call that this one is: the next of its method with this argument."""
        with self._lock:
            for call in self.recording.calls(self.peer.side, stream):
                if call.method == method and call.key not in self._answered:
                    if body is not None and call.body != body:
                        continue
                    self._answered.add(call.key)
                    return call
        self.problems.append(f"{method} was asked once too often")
        raise Said(f"unexpected {method}")

    def answer(self, call: Message) -> Any:
        """What was answered to a call: the result, or an error. Without one it never ends."""
        reply = self.recording.reply(call)
        if reply is None:
            self.peer.wait(lambda: self.peer._closed, "the end")
            raise Said("the other side has gone")
        self.peer.wait_sent(reply.at)
        if reply.error:
            raise Said(reply.error)
        return reply.body

    def all_asked(self) -> list[str]:
        """The recorded calls of the other side that our objects did not get."""
        return [call.method for call in self.recording.messages
                if call.sender == self.peer.side and not call.is_reply
                and call.key not in self._answered and self.recording.reply(call)
                and not call.method.endswith((".Cancel", "nothing", "Nope"))]  # fmt: skip

    def play(self, stream: int | None, do: Callable[[Message, Expect], None]) -> None:
        """Make our recorded calls of a stream, each when its turn has come.

        Long ones run beside those that follow.
        """
        threads = []
        for call in self.recording.calls(self.ours, stream):
            self.peer.wait_sent(call.at)
            expect = Expect(self, call)
            if call.method.rpartition(".")[2] in LONG:
                thread = threading.Thread(target=self._guard, args=(do, call, expect), daemon=True)
                thread.start()
                threads.append(thread)
                key = call.key
                self.peer.wait(lambda key=key: key in self.peer.heard, call.method)
            else:
                self._guard(do, call, expect)
        for thread in threads:
            thread.join()

    def _guard(self, do: Callable[[Message, Expect], None], call: Message, expect: Expect) -> None:
        try:
            do(call, expect)
        except Exception as e:
            self.problems.append(f"{call.method} failed: {type(e).__name__}: {e}")


class Expect:
    """The recorded outcome of one of our calls."""

    def __init__(self, script: Script, call: Message) -> None:
        self.script = script
        self.call = call
        self.reply = script.recording.reply(call)

    def __call__(
        self, run: Callable[[], Any], told: Callable[[Any], Any] = lambda body: body
    ) -> Any:
        """Run the call and compare its result with `told` of the recorded one, or its error."""
        try:
            found = run()
        except WireError as e:
            body = self.reply.body if self.reply else None
            texts = ["unexpected EOF", "the connection is closed"]
            if self.reply is not None:
                texts = [self.reply.error]
                if isinstance(body, dict):
                    texts += [body[name]["Message"] for name in ("Error", "Err") if body.get(name)]
                    texts += [body["Message"]] if "Message" in body else []
            if str(e) not in texts:
                self.script.check(self.call.method, str(e), texts)
            return None
        if self.reply is None or self.reply.error:
            self.script.check(self.call.method, found, self.reply and self.reply.error)
        else:
            self.script.check(self.call.method, found, told(self.reply.body))
        return found


class ScriptedUi:
    """A user interface of ours that the other side calls on a stream."""

    def __init__(self, script: Script, stream: int | None) -> None:
        self._script, self._stream = script, stream

    def _asked(self, method: str, body: Any) -> Any:
        return self._script.answer(self._script.asked(self._stream, method, body))

    def say(self, text: str) -> None:
        self._asked("Ui.Say", text)

    def message(self, text: str) -> None:
        self._asked("Ui.Message", text)

    def error(self, text: str) -> None:
        self._asked("Ui.Error", text)

    def ask(self, question: str) -> str:
        return self._asked("Ui.Ask", question)

    def machine(self, category: str, args: Sequence[str]) -> None:
        self._asked("Ui.Machine", {"Category": category, "Args": list(args) or None})

    @contextmanager
    def progress(self, name: str, *, current: int = 0, total: int = 0) -> Iterator[Any]:
        body = {"Src": name, "TotalSize": total, "CurrentSize": current}
        bar_id = self._asked("Ui.NewTrackProgress", body)
        yield ScriptedBar(self._script, self._stream, bar_id)
        self._asked(f"Ui{bar_id}.Close", None)


class ScriptedBar:
    """A transfer that the other side tells of."""

    def __init__(self, script: Script, stream: int | None, bar_id: str) -> None:
        self._script, self._stream, self._id = script, stream, bar_id

    def add(self, count: int) -> None:
        self._script.answer(self._script.asked(self._stream, f"Ui{self._id}.Add", count))


class ScriptedCommand:
    """A command of ours: wrote then what it writes now."""

    def __init__(self, script: Script, call: Message, streams: Mapping[str, Any]) -> None:
        self._script, self._call, self._streams = script, call, streams

    def wait(self) -> int:
        script, recording, body = self._script, self._script.recording, self._call.body
        for name in ("Stdout", "Stderr"):
            if self._streams[name] is not None:
                number = recording.stream_of(script.peer.side, body[f"{name}StreamId"])
                self._streams[name].write(recording.raw(script.ours, number))
        if self._streams["Stdin"] is not None:
            number = recording.stream_of(script.peer.side, body["StdinStreamId"])
            script.check("stdin", read_all(self._streams["Stdin"]),
                         recording.raw(script.peer.side, number))  # fmt: skip
        number = recording.stream_of(script.peer.side, body["ResponseStreamId"])
        return exit_status(recording, script.ours, number)


def exit_status(recording: Recording, sender: str, stream: int | None) -> int:
    """The recorded exit status, by the recorder's own reading."""
    for frame in recording.content["frames"]:
        if frame.get("stream") == stream and frame.get("direction", "").startswith(sender):
            for value in frame.get("decoded", []):
                if isinstance(value, dict) and "header" not in value and "body" not in value:
                    return value.get("ExitStatus", 0)
    return 0


def read_all(source: Any) -> bytes:
    """Everything that comes."""
    parts = []
    while part := source.read(65536):
        parts.append(part)
    return b"".join(parts)


class ScriptedCommunicator:
    """A communicator of ours that the other side calls on a stream."""

    def __init__(self, script: Script, stream: int | None) -> None:
        self._script, self._stream = script, stream

    def start(self, command: str, *, stdin: Any = None, stdout: Any = None,
              stderr: Any = None) -> ScriptedCommand:  # fmt: skip
        script = self._script
        call = script.asked(self._stream, "Communicator.Start")
        script.check("Command", command, call.body["Command"])
        streams = {"Stdin": stdin, "Stdout": stdout, "Stderr": stderr}
        for name, stream in streams.items():
            script.check(name, stream is not None, bool(call.body[f"{name}StreamId"]))
        script.answer(call)
        return ScriptedCommand(script, call, streams)

    def upload(self, path: str, content: Any, info: FileInfo | None = None) -> None:
        script = self._script
        call = script.asked(self._stream, "Communicator.Upload")
        script.check("Path", path, call.body["Path"])
        script.check("FileInfo", info, decode_info(call.body["FileInfo"]))
        stream = script.recording.stream_of(script.peer.side, call.body["ReaderStreamId"])
        sent = script.recording.raw(script.peer.side, stream)
        script.check("upload", read_all(content), sent)
        script.answer(call)

    def download(self, path: str, to: Any) -> None:
        script = self._script
        call = script.asked(self._stream, "Communicator.Download")
        script.check("Path", path, call.body["Path"])
        stream = script.recording.stream_of(script.peer.side, call.body["WriterStreamId"])
        to.write(script.recording.raw(script.ours, stream))
        script.answer(call)

    def upload_directory(self, destination: str, source: str, exclude: Sequence[str] = ()) -> None:
        self._copy("UploadDir", destination, source, exclude)

    def download_directory(
        self, source: str, destination: str, exclude: Sequence[str] = ()
    ) -> None:
        self._copy("DownloadDir", destination, source, exclude)

    def _copy(self, method: str, destination: str, source: str, exclude: Sequence[str]) -> None:
        body = {"Dst": destination, "Src": source, "Exclude": list(exclude) or None}
        call = self._script.asked(self._stream, f"Communicator.{method}", body)
        self._script.answer(call)


class ScriptedArtifact:
    """An artifact of ours that the other side asks on a stream."""

    def __init__(self, script: Script, stream: int | None) -> None:
        self._script, self._stream = script, stream

    def _asked(self, method: str, body: Any = None) -> Any:
        return self._script.answer(self._script.asked(self._stream, f"Artifact.{method}", body))

    @property
    def builder_id(self) -> str:
        return self._asked("BuilderId")

    @property
    def id(self) -> str:
        return self._asked("Id")

    @property
    def string(self) -> str:
        return self._asked("String")

    @property
    def files(self) -> list[str]:
        return self._asked("Files") or []

    def state(self, name: str) -> Any:
        return self._asked("State", name)

    def destroy(self) -> None:
        failed = self._asked("Destroy")
        if failed:
            raise Said(failed["Message"])


class ScriptedHook:
    """A hook of ours: makes the calls that the host's provisioners made."""

    def __init__(self, script: Script, stream: int | None) -> None:
        self._script, self._stream = script, stream

    def run(self, name: str, ui: Any, communicator: Any, data: Any) -> None:
        script = self._script
        call = script.asked(self._stream, "Hook.Run")
        script.check("Hook", (name, data), (call.body["Name"], call.body["Data"]))
        inner = script.recording.stream_of(script.peer.side, call.body["StreamId"])
        Caller(script, ui=ui, communicator=communicator).play(inner)
        script.answer(call)

    def cancel(self) -> None:
        self._script.asked(self._stream, "Hook.Cancel")


class Caller:
    """Makes our recorded calls of one stream through what goldsmith gives for it."""

    def __init__(self, script: Script, *, ui: Any = None, communicator: Any = None,
                 hook: Any = None, artifact: Any = None) -> None:  # fmt: skip
        self._script = script
        self._ui, self._communicator, self._hook, self._artifact = ui, communicator, hook, artifact
        self._bars: dict[str, tuple[ExitStack, Any]] = {}
        self._after: list[Callable[[], None]] = []

    def play(self, stream: int | None) -> None:
        """Make the calls, then wait for the commands that were started."""
        self._script.play(stream, self._do)
        for work in self._after:
            work()

    def _do(self, call: Message, expect: Expect) -> None:
        service, _, method = call.method.rpartition(".")
        if service == "Ui":
            self._do_ui(call, method, expect)
        elif service.startswith("Ui"):
            self._do_bar(call, service, method)
        elif service == "Communicator":
            self._do_communicator(call, method, expect)
        elif service == "Artifact":
            self._do_artifact(call, method, expect)
        elif method == "Run":
            self._run_hook(call, expect)
        elif method != "Cancel":  # which goldsmith passes on by itself
            self._script.problems.append(f"nobody can call {call.method}")

    def _do_ui(self, call: Message, method: str, expect: Expect) -> None:
        body = call.body
        if method == "NewTrackProgress":
            held = ExitStack()
            bar = held.enter_context(
                self._ui.progress(body["Src"], current=body["CurrentSize"], total=body["TotalSize"])
            )
            if expect.reply and not expect.reply.error:
                self._bars[f"Ui{expect.reply.body}"] = held, bar
        elif method == "Machine":
            expect(lambda: self._ui.machine(body["Category"], body["Args"] or []))
        else:
            expect(lambda: getattr(self._ui, method.lower())(body))

    def _do_bar(self, call: Message, service: str, method: str) -> None:
        held, bar = self._bars[service]
        if method == "Add":
            bar.add(call.body)
        else:
            held.close()

    def _do_artifact(self, call: Message, method: str, expect: Expect) -> None:
        artifact = self._artifact
        actions: dict[str, Callable[[], Any]] = {
            "BuilderId": lambda: artifact.builder_id, "Id": lambda: artifact.id,
            "String": lambda: artifact.string, "Files": lambda: artifact.files,
            "State": lambda: artifact.state(call.body), "Destroy": artifact.destroy,
        }  # fmt: skip
        expect(actions[method], lambda body: body or [] if method == "Files" else body)

    def _do_communicator(self, call: Message, method: str, expect: Expect) -> None:
        body, recording, peer = call.body, self._script.recording, self._script.peer
        to = self._communicator
        if method == "Start":
            self._start(call, expect)
        elif method == "Upload":
            stream = recording.stream_of(self._script.ours, body["ReaderStreamId"])
            content = io.BytesIO(recording.raw(self._script.ours, stream))
            expect(lambda: to.upload(body["Path"], content, decode_info(body["FileInfo"])))
        elif method == "Download":
            stream = recording.stream_of(self._script.ours, body["WriterStreamId"])
            kept = io.BytesIO()
            expect(lambda: to.download(body["Path"], kept))
            self._script.check("download", kept.getvalue(), recording.raw(peer.side, stream))
        elif method == "UploadDir":
            expect(lambda: to.upload_directory(body["Dst"], body["Src"], body["Exclude"] or ()))
        else:
            expect(lambda: to.download_directory(body["Src"], body["Dst"], body["Exclude"] or ()))

    def _start(self, call: Message, expect: Expect) -> None:
        script, recording, body = self._script, self._script.recording, call.body
        numbers = {name: body[f"{name}StreamId"]
                   for name in ("Stdin", "Stdout", "Stderr", "Response")}  # fmt: skip
        streams = {name: recording.stream_of(script.ours, number)
                   for name, number in numbers.items()}  # fmt: skip
        given = recording.raw(script.ours, streams["Stdin"])
        stdin = io.BytesIO(given) if numbers["Stdin"] else None
        kept = {name: io.BytesIO() if numbers[name] else None for name in ("Stdout", "Stderr")}
        started: list[Any] = []
        expect(
            lambda: started.append(
                self._communicator.start(
                    body["Command"], stdin=stdin, stdout=kept["Stdout"], stderr=kept["Stderr"]
                )
            )
        )

        def finish() -> None:
            try:
                status = started[0].wait()
            except WireError:
                return  # the recording ended before the command
            expected = exit_status(recording, script.peer.side, streams["Response"])
            script.check(f"status of {body['Command']}", status, expected)
            for name, output in kept.items():
                if output is not None:
                    wrote = recording.raw(script.peer.side, streams[name])
                    script.check(f"{name} of {body['Command']}", output.getvalue(), wrote)

        if started:
            self._after.append(finish)

    def _run_hook(self, call: Message, expect: Expect) -> None:
        script = self._script
        inner = script.recording.stream_of(script.ours, call.body["StreamId"])
        ui, communicator = ScriptedUi(script, inner), ScriptedCommunicator(script, inner)
        data = call.body["Data"]
        expect(lambda: self._hook.run(call.body["Name"], ui, communicator, data))


class ScriptedComponent:
    """A plugin's component of ours, of whatever kind: the protocols' methods in one class."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self._service = {
            "builder": "Builder", "provisioner": "Provisioner", "post-processor": "PostProcessor",
            "datasource": "Datasource",
        }[script.recording.kind]  # fmt: skip

    def _asked(self, method: str) -> Message:
        return self._script.asked(1, f"{self._service}.{method}")

    def _spec(self, method: str) -> Any:
        call = self._asked(method)
        return self._script.form.decode(self._script.answer(call)[method])

    def config_spec(self) -> Any:
        return self._spec("ConfigSpec")

    def output_spec(self) -> Any:
        return self._spec("OutputSpec")

    def _configured(self, method: str, configs: Sequence[Any]) -> Any:
        call = self._asked(method)
        self._script.check(method, list(configs), decode_configs(call.body))
        return raised(self._script.answer(call))

    def prepare(self, configs: Sequence[Any]) -> Any:
        body = self._configured("Prepare", configs)
        if self._service == "Builder":
            return Prepared(body["GeneratedVars"] or (), body["Warnings"] or ())
        return None

    def configure(self, configs: Sequence[Any]) -> None:
        self._configured("Configure", configs)

    def execute(self) -> Value:
        body = raised(self._script.answer(self._asked("Execute")))
        return self._script.form.decode_value(body["Value"])

    def run(self, ui: Any, hook: Any, cancel: Cancel) -> Any:
        call = self._asked("Run")
        inner = self._script.recording.stream_of("host", call.body)
        Caller(self._script, ui=ui, hook=hook).play(inner)
        artifact = self._script.answer(call)
        return self._made(artifact)

    def _made(self, number: int) -> ScriptedArtifact | None:
        stream = self._script.recording.stream_of("plugin", number) if number else None
        return ScriptedArtifact(self._script, stream) if number else None

    def provision(self, ui: Any, communicator: Any, generated: Any, cancel: Cancel) -> None:
        call = self._asked("Provision")
        self._script.check("GeneratedData", generated, call.body["GeneratedData"] or {})
        inner = self._script.recording.stream_of("host", call.body["StreamID"])
        Caller(self._script, ui=ui, communicator=communicator).play(inner)
        self._script.answer(call)

    def post_process(self, ui: Any, artifact: Any, cancel: Cancel) -> PostProcessed:
        call = self._asked("PostProcess")
        inner = self._script.recording.stream_of("host", call.body)
        caller = Caller(self._script, ui=ui, artifact=artifact)
        playing = threading.Thread(target=caller.play, args=(inner,), daemon=True)
        playing.start()
        reply = self._script.recording.reply(call)
        if all(one.at < reply.at for one in self._script.recording.calls("plugin", inner)):
            playing.join()  # else the given artifact is handed on, and asked later
        body = raised(self._script.answer(call))
        return PostProcessed(self._made(body["StreamId"]), body["Keep"], body["ForceOverride"])


def raised(body: Any) -> Any:
    """The body of a reply; raises the error that stands in it."""
    for name in ("Error", "Err"):
        if isinstance(body, dict) and body.get(name):
            raise Said(body[name]["Message"])
    return body


class HostCaller:
    """Makes a recorded host's calls of the main stream through the client of its component."""

    def __init__(self, script: Script, client: Any, rpc: Any) -> None:
        self._script, self._client, self._rpc = script, client, rpc
        self._cancel = Cancel()
        self._artifacts: list[threading.Thread] = []

    def play(self) -> None:
        """Make them all, and those of the artifact that comes of it."""
        self._script.play(1, self._do)
        for thread in self._artifacts:
            thread.join()

    def _do(self, call: Message, expect: Expect) -> None:
        service, _, method = call.method.rpartition(".")
        client, form = self._client, self._script.form
        streams = self._script.recording.stream_of
        if method in ("ConfigSpec", "OutputSpec"):
            asked = client.config_spec if method == "ConfigSpec" else client.output_spec
            expect(asked, lambda body: form.decode(body[method]))
        elif method == "Prepare" and service == "Builder":
            configs = decode_configs(call.body)
            expect(lambda: client.prepare(configs),
                   lambda body: (body["GeneratedVars"] or [], body["Warnings"] or []))  # fmt: skip
        elif method in ("Prepare", "Configure"):
            configs = decode_configs(call.body)
            ask = client.prepare if method == "Prepare" else client.configure
            expect(lambda: ask(configs), lambda body: None)
        elif method == "Execute":
            expect(client.execute, lambda body: form.decode_value(body["Value"]))
        elif method == "Cancel":
            self._cancel.cancel()
        elif method == "Run":
            self._run(call, expect, streams("host", call.body))
        elif method == "Provision":
            self._provision(call, expect, streams("host", call.body["StreamID"]))
        elif method == "PostProcess":
            self._post_process(call, expect, streams("host", call.body))
        else:
            expect(lambda: self._rpc.call(call.method, call.body))

    def _run(self, call: Message, expect: Expect, inner: int | None) -> None:
        script = self._script
        ui, hook = ScriptedUi(script, inner), ScriptedHook(script, inner)
        made: list[Any] = []
        expect(lambda: made.append(self._client.run(ui, hook, self._cancel)), lambda body: None)
        if expect.reply and not expect.reply.error:
            self._ask(made[0], expect.reply.body)

    def _provision(self, call: Message, expect: Expect, inner: int | None) -> None:
        script = self._script
        ui, communicator = ScriptedUi(script, inner), ScriptedCommunicator(script, inner)
        generated = call.body["GeneratedData"] or {}
        expect(lambda: self._client.provision(ui, communicator, generated, self._cancel))

    def _post_process(self, call: Message, expect: Expect, inner: int | None) -> None:
        script = self._script
        ui, artifact = ScriptedUi(script, inner), ScriptedArtifact(script, inner)
        made: list[Any] = []

        def run() -> tuple[bool, bool]:
            done = self._client.post_process(ui, artifact, self._cancel)
            made.append(done.artifact)
            return done.keep, done.force_keep

        expect(run, lambda body: (body["Keep"], body["ForceOverride"]))
        if made:
            self._ask(made[0], expect.reply.body["StreamId"])

    def _ask(self, artifact: Any, number: int) -> None:
        self._script.check("artifact", artifact is not None, number != 0)
        if artifact is not None:
            stream = self._script.recording.stream_of("plugin", number)
            caller = Caller(self._script, artifact=artifact)
            thread = threading.Thread(target=caller.play, args=(stream,), daemon=True)
            thread.start()
            self._artifacts.append(thread)
