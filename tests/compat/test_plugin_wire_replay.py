"""Every recorded plugin session again, with goldsmith in the place of either side."""

from __future__ import annotations

import json
import socket
import threading
from typing import Any

import pytest
from plugin_wire_recording import PATIENCE_S, Message, Peer, Recording, other, recordings
from plugin_wire_script import HostCaller, Script, ScriptedComponent

from goldsmith.plugin.services import ui as ui_service
from goldsmith.plugin.services.config_spec import SpecForm
from goldsmith.plugin.services.connection import HostConnection, serve_component

SESSIONS = [pytest.param(path, id=path.stem) for path in recordings()]


@pytest.fixture(params=SESSIONS)
def recording(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Recording:
    """One session; names that were made by chance are made as they were."""
    session = Recording(request.param)
    endings = [reply.body[-6:] for call in session.messages if not call.is_reply
               and call.method == "Ui.NewTrackProgress" and (reply := session.reply(call))
               and not reply.error]  # fmt: skip
    chance = iter(endings)
    monkeypatch.setattr(ui_service.secrets, "token_hex", lambda count: next(chance, "0"))
    return session


def test_as_the_host(recording: Recording):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        peer = Peer(recording, "plugin", theirs)
        script = Script(recording, peer)
        peer.start()
        with HostConnection(ours, protobuf=recording.protobuf, log=script.problems.append) as host:
            client = {
                "builder": host.builder, "provisioner": host.provisioner,
                "post-processor": host.post_processor, "datasource": host.datasource,
            }[recording.kind]()  # fmt: skip
            caller = HostCaller(script, client, host._main)
            playing = threading.Thread(target=caller.play, daemon=True)
            playing.start()
            peer.join()
            playing.join(PATIENCE_S)
            assert not playing.is_alive()
    compare(recording, peer, script)


def test_as_the_plugin(recording: Recording):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        peer = Peer(recording, "host", theirs)
        script = Script(recording, peer)
        serving = threading.Thread(
            target=serve_component, args=(ours, ScriptedComponent(script)), daemon=True,
            kwargs={"kind": recording.kind, "protobuf": recording.protobuf,
                    "log": script.problems.append},
        )  # fmt: skip
        serving.start()
        peer.start()
        peer.join()
        serving.join(PATIENCE_S)
        assert not serving.is_alive()
    compare(recording, peer, script)


def compare(recording: Recording, peer: Peer, script: Script) -> None:
    """Everything that we said says the same as what was said then, and nothing was left out."""
    assert not script.problems
    assert not script.all_asked()
    us = other(peer.side)
    expected = {m.key: m for m in recording.messages if m.sender == us}
    more = peer.heard.keys() - expected.keys()
    # Whether a hook runs or not, a cancelled build tells it.
    assert {peer.heard[key].method for key in more} <= {"Hook.Cancel"}
    assert not expected.keys() - peer.heard.keys()
    form = SpecForm(recording.protobuf)
    for key, message in expected.items():
        assert meaning(peer.heard[key], form) == meaning(message, form)


def meaning(message: Message, form: SpecForm) -> Any:
    """What a message says: encodings that may differ are read, each with its own code."""
    error, body = message.error, message.body
    if message.method == "Artifact.Destroy" and isinstance(body, dict) and body:
        # Go tells a failure in a form that breaks Go's own clients; ours is the one they can read.
        error, body = body["Message"], {}
    if isinstance(body, dict):
        error = error or ((body.get("Error") or {}).get("Message", "") if message.is_reply else "")
        body = {name: _content(name, value, form) for name, value in body.items()}
    if error:
        body = {}
    return message.method, message.number, message.is_reply, error, body


def _content(name: str, value: Any, form: SpecForm) -> Any:
    if name in ("ConfigSpec", "OutputSpec"):
        return form.decode(value)
    if name == "Value" and isinstance(value, bytes):
        return form.decode_value(value)
    if name == "Configs" and value is not None:
        value = [json.loads(one) if isinstance(one, bytes) else one for one in value]
    # Go's hosts and plugins send both for an empty list.
    return None if value == [] else value
