"""Hooks over the wire: a builder's plugin calls, and brings its machine along."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

from goldsmith.plugin.protocols import Communicator, Hook, Ui
from goldsmith.plugin.services.communicator import CommunicatorClient, CommunicatorService
from goldsmith.plugin.services.shapes import Services, number, record, text
from goldsmith.plugin.services.ui import UiClient, UiService
from goldsmith.plugin.wire.broker import Broker
from goldsmith.plugin.wire.errors import WireError
from goldsmith.plugin.wire.rpc import RpcClient, Service


class HookClient:
    """The hook of the other side."""

    def __init__(self, rpc: RpcClient, broker: Broker) -> None:
        self._rpc = rpc
        self._broker = broker

    def run(
        self, name: str, ui: Ui, communicator: Communicator, data: Mapping[str, Any] | None
    ) -> None:
        """Run what waits for this event; raises WireError."""
        services: Services = {
            "Communicator": CommunicatorService(communicator, self._broker).methods
        }
        with UiService(ui, services), self._broker.serve(services) as served:
            argument = {"Name": name, "Data": data, "StreamId": served.number}
            self._rpc.call("Hook.Run", argument)

    def cancel(self) -> None:
        """Make a `run` end soon; an error is that of the `run`."""
        with contextlib.suppress(WireError):
            self._rpc.call("Hook.Cancel")


class HookService:
    """Serves a hook."""

    def __init__(self, hook: Hook, broker: Broker) -> None:
        self._hook = hook
        self._broker = broker
        self.methods: Service = {"Run": self._run, "Cancel": lambda nothing: hook.cancel()}

    def _run(self, argument: Any) -> None:
        fields = record(argument)
        data = fields.get("Data")
        rpc = self._broker.dial_rpc(number(fields.get("StreamId")))
        with contextlib.closing(rpc):
            ui, communicator = UiClient(rpc), CommunicatorClient(rpc, self._broker)
            given = None if data is None else record(data)
            self._hook.run(text(fields.get("Name")), ui, communicator, given)
