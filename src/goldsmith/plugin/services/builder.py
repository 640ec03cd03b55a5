"""Builders over the wire."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

from goldsmith.plugin.cancel import Cancel
from goldsmith.plugin.protocols import Builder, Hook, Prepared, RawConfig, Ui
from goldsmith.plugin.services.artifact import ArtifactClient, serve_artifact
from goldsmith.plugin.services.calls import ask, call_cancellable, cancel_soon
from goldsmith.plugin.services.config_spec import SpecForm, call_spec
from goldsmith.plugin.services.configs import decode_configs, encode_configs
from goldsmith.plugin.services.hook import HookClient, HookService
from goldsmith.plugin.services.shapes import (
    Services,
    as_error,
    list_or_nil,
    number,
    raise_error,
    record,
    texts,
)
from goldsmith.plugin.services.ui import UiClient, UiService
from goldsmith.plugin.wire.broker import Broker
from goldsmith.plugin.wire.hcl_spec import ObjectSpec
from goldsmith.plugin.wire.rpc import RpcClient, Service


class BuilderClient:
    """A builder of the other side; it can run once."""

    def __init__(self, rpc: RpcClient, broker: Broker, form: SpecForm) -> None:
        self._rpc = rpc
        self._broker = broker
        self._form = form

    def config_spec(self) -> ObjectSpec:
        """The options as HCL2 has them; raises WireError."""
        return call_spec(self._rpc, "Builder.ConfigSpec", self._form)

    def prepare(self, configs: Sequence[RawConfig]) -> Prepared:
        """Read and check the configuration; raises RemoteError, as other WireErrors."""
        reply = record(ask(self._rpc, "Builder.Prepare", encode_configs(configs)))
        raise_error(reply, "Error")
        return Prepared(texts(reply.get("GeneratedVars")), texts(reply.get("Warnings")))

    def run(self, ui: Ui, hook: Hook, cancel: Cancel) -> ArtifactClient | None:
        """Build; raises WireError. Its artifact needs this connection."""
        services: Services = {"Hook": HookService(hook, self._broker).methods}
        with UiService(ui, services), self._broker.serve(services) as served:
            answer = call_cancellable(self._rpc, "Builder", "Run", served.number, cancel)
        artifact = number(answer)
        # Who comes later than a few seconds finds it gone.
        return ArtifactClient(self._broker.dial_rpc(artifact)) if artifact else None


class BuilderService:
    """Serves a builder."""

    def __init__(self, builder: Builder, broker: Broker, form: SpecForm) -> None:
        self._builder = builder
        self._broker = broker
        self._cancel = Cancel()
        self.methods: Service = {
            "ConfigSpec": lambda nothing: {"ConfigSpec": form.encode(builder.config_spec())},
            "Prepare": self._prepare,
            "Run": self._run,
            "Cancel": lambda nothing: cancel_soon(self._cancel),
        }

    def _prepare(self, argument: Any) -> dict[str, Any]:
        try:
            prepared = self._builder.prepare(decode_configs(argument))
        except (Exception, SystemExit) as e:
            return {"GeneratedVars": None, "Warnings": None, "Error": as_error(e)}
        return {
            "GeneratedVars": list_or_nil(prepared.generated),
            "Warnings": list_or_nil(prepared.warnings),
            "Error": None,
        }

    def _run(self, argument: Any) -> int:
        with contextlib.closing(self._broker.dial_rpc(number(argument))) as rpc:
            hook = HookClient(rpc, self._broker)
            with self._cancel.calling(hook.cancel):
                artifact = self._builder.run(UiClient(rpc), hook, self._cancel)
        return serve_artifact(artifact, self._broker)
