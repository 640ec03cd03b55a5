"""Artifacts over the wire."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from goldsmith.plugin.protocols import Artifact
from goldsmith.plugin.services.calls import ask
from goldsmith.plugin.services.shapes import list_or_nil, text, texts
from goldsmith.plugin.wire.broker import Broker
from goldsmith.plugin.wire.errors import RemoteError
from goldsmith.plugin.wire.rpc import RpcClient, Service


class ArtifactClient:
    """An artifact that lives on the other side, as long as the connection stands."""

    def __init__(self, rpc: RpcClient, on_close: Callable[[], None] = lambda: None) -> None:
        self._rpc = rpc
        self._on_close = on_close

    @property
    def builder_id(self) -> str:
        """What kind of thing it is."""
        return text(ask(self._rpc, "Artifact.BuilderId"))

    @property
    def id(self) -> str:
        """What identifies it."""
        return text(ask(self._rpc, "Artifact.Id"))

    @property
    def string(self) -> str:
        """What the user reads about it."""
        return text(ask(self._rpc, "Artifact.String"))

    @property
    def files(self) -> Sequence[str]:
        """Its files on this host."""
        return texts(ask(self._rpc, "Artifact.Files"))

    def state(self, name: str) -> Any:
        """What it tells under this name, plain data; None when it knows nothing of it."""
        return ask(self._rpc, "Artifact.State", name)

    def destroy(self) -> None:
        """Remove it; raises RemoteError."""
        reply = self._rpc.call("Artifact.Destroy")
        # Servers written in Go answer with the error in place of the result.
        if isinstance(reply, dict) and reply.get("Message"):
            raise RemoteError(text(reply["Message"]))

    def close(self) -> None:
        """Give back its stream; the artifact itself stays."""
        self._rpc.close()
        self._on_close()


def artifact_service(artifact: Artifact) -> Service:
    """Serves an artifact; a failed `destroy` is told as the error of the call."""
    return {
        "BuilderId": lambda nothing: artifact.builder_id,
        "Id": lambda nothing: artifact.id,
        "String": lambda nothing: artifact.string,
        "Files": lambda nothing: list_or_nil(artifact.files),
        "State": lambda name: artifact.state(text(name)),
        "Destroy": lambda nothing: artifact.destroy(),
    }


def serve_artifact(artifact: Artifact | None, broker: Broker) -> int:
    """Serve an artifact as long as the connection stands; its number, 0 where there is none."""
    if artifact is None:
        return 0
    return broker.serve({"Artifact": artifact_service(artifact)}).number
