"""Post-processors over the wire."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

from goldsmith.plugin.cancel import Cancel
from goldsmith.plugin.protocols import Artifact, PostProcessed, PostProcessor, RawConfig, Ui
from goldsmith.plugin.services.artifact import ArtifactClient, artifact_service, serve_artifact
from goldsmith.plugin.services.calls import ask, call_cancellable, cancel_soon
from goldsmith.plugin.services.config_spec import SpecForm, call_spec
from goldsmith.plugin.services.configs import decode_configs, encode_configs
from goldsmith.plugin.services.shapes import Services, as_error, number, raise_error, record
from goldsmith.plugin.services.ui import UiClient, UiService
from goldsmith.plugin.wire.broker import Broker
from goldsmith.plugin.wire.hcl_spec import ObjectSpec
from goldsmith.plugin.wire.rpc import RpcClient, Service


class PostProcessorClient:
    """A post-processor of the other side."""

    def __init__(self, rpc: RpcClient, broker: Broker, form: SpecForm) -> None:
        self._rpc = rpc
        self._broker = broker
        self._form = form

    def config_spec(self) -> ObjectSpec:
        """The options as HCL2 has them; raises WireError."""
        return call_spec(self._rpc, "PostProcessor.ConfigSpec", self._form)

    def configure(self, configs: Sequence[RawConfig]) -> None:
        """Read and check the configuration; raises RemoteError, as other WireErrors."""
        ask(self._rpc, "PostProcessor.Configure", encode_configs(configs))

    def post_process(self, ui: Ui, artifact: Artifact, cancel: Cancel) -> PostProcessed:
        """Make an artifact of an artifact; raises WireError.

        The new one may ask the given one, which stays served until it is closed, or the connection.
        """
        services: Services = {"Artifact": artifact_service(artifact)}
        with ExitStack() as held:
            held.enter_context(UiService(ui, services))
            served = held.enter_context(self._broker.serve(services))
            reply = record(
                call_cancellable(self._rpc, "PostProcessor", "PostProcess", served.number, cancel)
            )
            raise_error(reply, "Err")
            made = None
            if stream := number(reply.get("StreamId")):
                made = ArtifactClient(self._broker.dial_rpc(stream), held.pop_all().close)
            return PostProcessed(made, bool(reply.get("Keep")), bool(reply.get("ForceOverride")))


class PostProcessorService:
    """Serves a post-processor."""

    def __init__(self, post_processor: PostProcessor, broker: Broker, form: SpecForm) -> None:
        self._post_processor = post_processor
        self._broker = broker
        self._cancel = Cancel()
        self.methods: Service = {
            "ConfigSpec": lambda nothing: {"ConfigSpec": form.encode(post_processor.config_spec())},
            "Configure": lambda argument: post_processor.configure(decode_configs(argument)),
            "PostProcess": self._post_process,
            "Cancel": lambda nothing: cancel_soon(self._cancel),
        }

    def _post_process(self, argument: Any) -> dict[str, Any]:
        rpc = self._broker.dial_rpc(number(argument))
        try:
            done = self._post_processor.post_process(
                UiClient(rpc), ArtifactClient(rpc), self._cancel
            )
        except (Exception, SystemExit) as e:
            rpc.close()
            return {"Err": as_error(e), "Keep": False, "ForceOverride": False, "StreamId": 0}
        if done.artifact is None:
            rpc.close()
        return {
            "Err": None, "Keep": done.keep, "ForceOverride": done.force_keep,
            "StreamId": serve_artifact(done.artifact, self._broker),
        }  # fmt: skip
