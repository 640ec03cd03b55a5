"""The specification of a component's HCL2 body, in the form that host and plugin have agreed on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from goldsmith.plugin.services.calls import ask
from goldsmith.plugin.services.shapes import data, record
from goldsmith.plugin.wire import cty_gob, cty_msgpack, hcl_spec_gob, hcl_spec_protobuf
from goldsmith.plugin.wire.hcl_spec import ObjectSpec
from goldsmith.plugin.wire.rpc import RpcClient
from goldsmith.values.value import Value


@dataclass(frozen=True, slots=True)
class SpecForm:
    """How specifications, and the values of data sources, are encoded: protobuf, or gob."""

    protobuf: bool
    gob_nested_name: str = hcl_spec_gob.OBJECT_SPEC
    """What the host calls the body of a block, in gob."""

    def encode(self, spec: ObjectSpec) -> bytes:
        """A specification; raises ProtocolError for types that cannot be said."""
        if self.protobuf:
            return hcl_spec_protobuf.encode_spec(spec)
        return hcl_spec_gob.encode_spec(spec, self.gob_nested_name)

    def decode(self, blob: bytes) -> ObjectSpec:
        """Read a specification; raises ProtocolError."""
        if self.protobuf:
            return hcl_spec_protobuf.decode_spec(blob)
        return hcl_spec_gob.decode_spec(blob)

    def encode_value(self, value: Value) -> bytes:
        """What a data source has found; raises WireError."""
        return cty_msgpack.encode(value) if self.protobuf else cty_gob.encode(value)

    def decode_value(self, blob: bytes) -> Value:
        """Read what a data source has found; raises ProtocolError."""
        return cty_msgpack.decode(blob) if self.protobuf else cty_gob.decode(blob)


def call_spec(rpc: RpcClient, method: str, form: SpecForm) -> ObjectSpec:
    """Ask the other side for `Service.ConfigSpec` or the like; raises WireError."""
    reply: Any = record(ask(rpc, method))
    return form.decode(data(reply.get(method.rpartition(".")[2])))
