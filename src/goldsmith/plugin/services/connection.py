"""The two ends of a connection between a host and the process of a plugin."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable
from typing import Final, cast

from goldsmith.plugin.protocols import (
    Builder,
    Command,
    Component,
    Datasource,
    Hook,
    PostProcessor,
    Provisioner,
)
from goldsmith.plugin.services.builder import BuilderClient, BuilderService
from goldsmith.plugin.services.command import CommandClient, command_service
from goldsmith.plugin.services.config_spec import SpecForm
from goldsmith.plugin.services.datasource import DatasourceClient, datasource_service
from goldsmith.plugin.services.hook import HookClient, HookService
from goldsmith.plugin.services.post_processor import PostProcessorClient, PostProcessorService
from goldsmith.plugin.services.provisioner import ProvisionerClient, ProvisionerService
from goldsmith.plugin.services.shapes import Services
from goldsmith.plugin.wire.broker import MAIN, Broker
from goldsmith.plugin.wire.errors import WireError
from goldsmith.plugin.wire.hcl_spec_gob import OBJECT_SPEC
from goldsmith.plugin.wire.rpc import Log, RpcClient, RpcServer
from goldsmith.plugin.wire.yamux import Session

MAIN_TIMEOUT_S: Final = 30.0
"""How long either side may take to begin."""


def _no_log(line: str) -> None:
    pass


class HostConnection:
    """Our end when we are the host: gives the component of the plugin's process.

    `log` is told, under the plugin's `name`, of defects in what the plugin calls here. Closing it
    ends every call.
    """

    def __init__(
        self,
        connection: socket.socket,
        *,
        protobuf: bool,
        name: str = "plugin",
        log: Log = _no_log,
    ) -> None:
        self._session = Session(connection, is_client=True, asks=True)
        try:
            self._broker = Broker(self._session, lambda line: log(f"{name}: {line}"))
            self._main: RpcClient = self._broker.dial_rpc(MAIN, MAIN_TIMEOUT_S)
        except BaseException:
            self._session.close()
            raise
        self._form = SpecForm(protobuf)

    def builder(self) -> BuilderClient:
        """The builder that the process serves."""
        return BuilderClient(self._main, self._broker, self._form)

    def provisioner(self) -> ProvisionerClient:
        """The provisioner that the process serves."""
        return ProvisionerClient(self._main, self._broker, self._form)

    def post_processor(self) -> PostProcessorClient:
        """The post-processor that the process serves."""
        return PostProcessorClient(self._main, self._broker, self._form)

    def datasource(self) -> DatasourceClient:
        """The data source that the process serves."""
        return DatasourceClient(self._main, self._form)

    def hook(self) -> HookClient:
        """The hook that the process serves."""
        return HookClient(self._main, self._broker)

    def command(self) -> CommandClient:
        """The command that the process serves."""
        return CommandClient(self._main, self._broker)

    @property
    def closed(self) -> bool:
        """Whether the connection is over, from whichever side."""
        return self._session.error is not None

    def close(self) -> None:
        """End the connection, and with it the plugin; harmless when it is over."""
        # The session first: it wakes a writer whom the plugin lets wait.
        self._session.close()
        self._main.close()

    def __enter__(self) -> HostConnection:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()


def serve_component(
    connection: socket.socket,
    component: Component,
    *,
    kind: str,
    protobuf: bool,
    gob_nested_name: str = OBJECT_SPEC,
    log: Callable[[str], None] = _no_log,
) -> None:
    """Our end when we are the plugin: serve a component until the host has gone.

    `kind` is "builder", "provisioner", "post-processor", "datasource", "hook" or "command".
    `log` is told of defects of the component. Calls may still run when this returns; a connection
    that breaks is an end like any other.
    """
    with Session(connection, is_client=False) as session:
        broker = Broker(session, log)
        services = _services(component, kind, broker, SpecForm(protobuf, gob_nested_name))
        with contextlib.suppress(WireError):
            RpcServer(broker.accept(MAIN, MAIN_TIMEOUT_S), services, log).serve()


def _services(component: Component, kind: str, broker: Broker, form: SpecForm) -> Services:
    match kind:
        case "builder":
            return {"Builder": BuilderService(cast(Builder, component), broker, form).methods}
        case "provisioner":
            provisioner = cast(Provisioner, component)
            return {"Provisioner": ProvisionerService(provisioner, broker, form).methods}
        case "post-processor":
            post_processor = cast(PostProcessor, component)
            return {"PostProcessor": PostProcessorService(post_processor, broker, form).methods}
        case "datasource":
            return {"Datasource": datasource_service(cast(Datasource, component), form)}
        case "hook":
            return {"Hook": HookService(cast(Hook, component), broker).methods}
        case "command":
            return {"Command": command_service(cast(Command, component), broker)}
        case _:
            raise WireError(f"there are no plugins of the kind {kind}")
