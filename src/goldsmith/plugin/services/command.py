"""Commands over the wire: goldsmith's own addition, which no Packer asks for."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

from goldsmith.plugin.protocols import Command, Ui
from goldsmith.plugin.services.calls import ask
from goldsmith.plugin.services.shapes import Services, number, record, text, texts
from goldsmith.plugin.services.ui import UiClient, UiService
from goldsmith.plugin.wire.broker import Broker
from goldsmith.plugin.wire.rpc import RpcClient, Service


class CommandClient:
    """A command of the other side."""

    def __init__(self, rpc: RpcClient, broker: Broker) -> None:
        self._rpc = rpc
        self._broker = broker

    @property
    def help(self) -> str:
        """What `-help` prints; raises WireError."""
        return text(ask(self._rpc, "Command.Help"))

    @property
    def synopsis(self) -> str:
        """One line; raises WireError."""
        return text(ask(self._rpc, "Command.Synopsis"))

    def run(self, args: Sequence[str], ui: Ui) -> int:
        """Run it with these words; raises WireError."""
        services: Services = {}
        with UiService(ui, services), self._broker.serve(services) as served:
            argument = {"Args": list(args), "StreamId": served.number}
            return number(self._rpc.call("Command.Run", argument))


def command_service(command: Command, broker: Broker) -> Service:
    """Serves a command."""

    def run(argument: Any) -> int:
        fields = record(argument)
        with contextlib.closing(broker.dial_rpc(number(fields.get("StreamId")))) as rpc:
            return command.run(texts(fields.get("Args")), UiClient(rpc))

    return {
        "Help": lambda nothing: command.help,
        "Synopsis": lambda nothing: command.synopsis,
        "Run": run,
    }
