"""Functions on IP networks in CIDR notation."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence

from goldsmith.template.hcl2.functions.signature import (
    CallContext,
    Function,
    FunctionError,
    Param,
    whole_number,
)
from goldsmith.values.types import NUMBER, STRING, ListType
from goldsmith.values.value import Value, list_of, string

_Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_CIDR = re.compile(r"[0-9A-Fa-f.:]+/(0|[1-9][0-9]*)", re.ASCII)
_LARGEST_EXTENSION = 32


def _network(args: Sequence[Value]) -> _Network:
    """The first argument as a network; host bits are dropped. Raises FunctionError."""
    text = args[0].text
    try:
        if _CIDR.fullmatch(text):
            return ipaddress.ip_network(text, strict=False)
    except ValueError:
        pass
    raise FunctionError(f'invalid CIDR expression: "{text}" is no address with a prefix length', 0)


def _address(network: _Network, whole: int) -> str:
    return str(type(network.network_address)(whole))


def _host(_: CallContext, args: Sequence[Value]) -> Value:
    place, network = whole_number(args, 1), _network(args)
    from_start = place if place >= 0 else network.num_addresses + place
    if not 0 <= from_start < network.num_addresses:
        raise FunctionError(f"prefix of {network} does not accommodate a host numbered {place}", 1)
    return string(_address(network, int(network.network_address) + from_start))


def _netmask(_: CallContext, args: Sequence[Value]) -> Value:
    return string(str(_network(args).netmask))


def _subnet(_: CallContext, args: Sequence[Value]) -> Value:
    network = _network(args)
    extension, place = whole_number(args, 1), whole_number(args, 2)
    length = network.prefixlen + extension
    if extension < 0 or length > network.max_prefixlen:
        raise FunctionError(
            f"insufficient address space to extend prefix of {network.prefixlen} by {extension}", 1
        )
    if not 0 <= place < 1 << extension:
        raise FunctionError(
            f"prefix extension of {extension} does not accommodate a subnet numbered {place}", 2
        )
    start = int(network.network_address) + (place << (network.max_prefixlen - length))
    return string(f"{_address(network, start)}/{length}")


def _subnets(_: CallContext, args: Sequence[Value]) -> Value:
    network = _network(args)
    following = int(network.network_address)
    end = following + network.num_addresses
    found: list[Value] = []
    for index in range(1, len(args)):
        extension = whole_number(args, index)
        length = network.prefixlen + extension
        if extension < 1:
            raise FunctionError("must extend prefix by at least one bit", index)
        if extension > _LARGEST_EXTENSION:
            raise FunctionError("may not extend prefix by more than 32 bits", index)
        if length > network.max_prefixlen:
            raise FunctionError(f"would extend prefix to {length} bits, which is too long", index)
        size = 1 << (network.max_prefixlen - length)
        start = -(-following // size) * size
        following = start + size
        if following > end:
            raise FunctionError(
                f"not enough remaining address space for a subnet with a prefix of {length} bits",
                index,
            )
        found.append(string(f"{_address(network, start)}/{length}"))
    return list_of(STRING, found)


_PREFIX = Param("prefix", STRING)

FUNCTIONS = (
    Function("cidrhost", (_PREFIX, Param("hostnum", NUMBER)), None, _host, STRING),
    Function("cidrnetmask", (_PREFIX,), None, _netmask, STRING),
    Function(
        "cidrsubnet",
        (_PREFIX, Param("newbits", NUMBER), Param("netnum", NUMBER)),
        None,
        _subnet,
        STRING,
    ),
    Function("cidrsubnets", (_PREFIX,), Param("newbits", NUMBER), _subnets, ListType(STRING)),
)
