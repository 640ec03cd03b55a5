"""The layers of a component's configuration on the wire: maps, and bytes with typed values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from goldsmith.plugin.protocols import RawConfig
from goldsmith.plugin.services.shapes import record
from goldsmith.plugin.wire import cty_json
from goldsmith.plugin.wire.errors import ProtocolError, WireError
from goldsmith.values.value import Value


def encode_configs(configs: Sequence[RawConfig]) -> dict[str, Any]:
    """The argument of Prepare and Configure; raises WireError."""
    return {"Configs": [cty_json.encode(c) if isinstance(c, Value) else c for c in configs]}


def decode_configs(argument: Any) -> list[RawConfig]:
    """The layers of such an argument; raises WireError."""
    configs = record(argument).get("Configs")
    if configs is None:
        return []
    if not isinstance(configs, list):
        raise WireError("the configuration is no list")
    return [_layer(config) for config in configs]


def _layer(config: Any) -> RawConfig:
    if isinstance(config, bytes):
        try:
            return cty_json.decode(config)
        except ProtocolError as e:
            raise WireError(f"the configuration cannot be read: {e}") from e
    if config is None or isinstance(config, dict):
        return config
    raise WireError(f"a layer of the configuration is a {type(config).__name__}, not a map")
