"""Provisioners over the wire."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

from goldsmith.plugin.cancel import Cancel
from goldsmith.plugin.protocols import Communicator, Provisioner, RawConfig, Ui
from goldsmith.plugin.services.calls import ask, call_cancellable, cancel_soon
from goldsmith.plugin.services.communicator import CommunicatorClient, CommunicatorService
from goldsmith.plugin.services.config_spec import SpecForm, call_spec
from goldsmith.plugin.services.configs import decode_configs, encode_configs
from goldsmith.plugin.services.shapes import Services, number, record
from goldsmith.plugin.services.ui import UiClient, UiService
from goldsmith.plugin.wire.broker import Broker
from goldsmith.plugin.wire.hcl_spec import ObjectSpec
from goldsmith.plugin.wire.rpc import RpcClient, Service


class ProvisionerClient:
    """A provisioner of the other side; it can run once after it was cancelled."""

    def __init__(self, rpc: RpcClient, broker: Broker, form: SpecForm) -> None:
        self._rpc = rpc
        self._broker = broker
        self._form = form

    def config_spec(self) -> ObjectSpec:
        """The options as HCL2 has them; raises WireError."""
        return call_spec(self._rpc, "Provisioner.ConfigSpec", self._form)

    def prepare(self, configs: Sequence[RawConfig]) -> None:
        """Read and check the configuration; raises RemoteError, as other WireErrors."""
        ask(self._rpc, "Provisioner.Prepare", encode_configs(configs))

    def provision(
        self, ui: Ui, communicator: Communicator, generated: Mapping[str, Any], cancel: Cancel
    ) -> None:
        """Do the work; raises WireError."""
        services: Services = {
            "Communicator": CommunicatorService(communicator, self._broker).methods
        }
        with UiService(ui, services), self._broker.serve(services) as served:
            argument = {"GeneratedData": generated, "StreamID": served.number}
            call_cancellable(self._rpc, "Provisioner", "Provision", argument, cancel)


class ProvisionerService:
    """Serves a provisioner."""

    def __init__(self, provisioner: Provisioner, broker: Broker, form: SpecForm) -> None:
        self._provisioner = provisioner
        self._broker = broker
        self._cancel = Cancel()
        self.methods: Service = {
            "ConfigSpec": lambda nothing: {"ConfigSpec": form.encode(provisioner.config_spec())},
            "Prepare": lambda argument: provisioner.prepare(decode_configs(argument)),
            "Provision": self._provision,
            "Cancel": lambda nothing: cancel_soon(self._cancel),
        }

    def _provision(self, argument: Any) -> None:
        fields = record(argument)
        with contextlib.closing(self._broker.dial_rpc(number(fields.get("StreamID")))) as rpc:
            communicator = CommunicatorClient(rpc, self._broker)
            generated = record(fields.get("GeneratedData"))
            self._provisioner.provision(UiClient(rpc), communicator, generated, self._cancel)
