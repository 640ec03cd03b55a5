"""Data sources over the wire."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from goldsmith.plugin.protocols import Datasource, RawConfig
from goldsmith.plugin.services.calls import ask
from goldsmith.plugin.services.config_spec import SpecForm, call_spec
from goldsmith.plugin.services.configs import decode_configs, encode_configs
from goldsmith.plugin.services.shapes import data, raise_error, record
from goldsmith.plugin.wire.hcl_spec import ObjectSpec
from goldsmith.plugin.wire.rpc import RpcClient, Service
from goldsmith.values.value import Value


class DatasourceClient:
    """A data source of the other side."""

    def __init__(self, rpc: RpcClient, form: SpecForm) -> None:
        self._rpc = rpc
        self._form = form

    def config_spec(self) -> ObjectSpec:
        """The options as HCL2 has them; raises WireError."""
        return call_spec(self._rpc, "Datasource.ConfigSpec", self._form)

    def configure(self, configs: Sequence[RawConfig]) -> None:
        """Read and check the configuration; raises RemoteError, as other WireErrors."""
        raise_error(ask(self._rpc, "Datasource.Configure", encode_configs(configs)), "Error")

    def output_spec(self) -> ObjectSpec:
        """The attributes that `execute` will give; raises WireError."""
        return call_spec(self._rpc, "Datasource.OutputSpec", self._form)

    def execute(self) -> Value:
        """The object that `data.TYPE.NAME` is; raises WireError."""
        reply = record(self._rpc.call("Datasource.Execute"))
        raise_error(reply, "Error")
        return self._form.decode_value(data(reply.get("Value")))


def datasource_service(source: Datasource, form: SpecForm) -> Service:
    """Serves a data source."""

    def configure(argument: Any) -> dict[str, Any]:
        source.configure(decode_configs(argument))
        return {"Error": None}

    return {
        "ConfigSpec": lambda nothing: {"ConfigSpec": form.encode(source.config_spec())},
        "Configure": configure,
        "OutputSpec": lambda nothing: {"OutputSpec": form.encode(source.output_spec())},
        "Execute": lambda nothing: {"Value": form.encode_value(source.execute()), "Error": None},
        "Cancel": lambda nothing: None,
    }
