"""Functions that make digests and identifiers."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Sequence

from goldsmith.template.hcl2.functions.signature import (
    CallContext,
    Function,
    FunctionError,
    Param,
)
from goldsmith.values.marks import Impure
from goldsmith.values.types import STRING
from goldsmith.values.value import Value, string

_NAMESPACES = {
    "dns": uuid.NAMESPACE_DNS,
    "url": uuid.NAMESPACE_URL,
    "oid": uuid.NAMESPACE_OID,
    "x500": uuid.NAMESPACE_X500,
}


def _digest(name: str) -> Function:
    def call(_: CallContext, args: Sequence[Value]) -> Value:
        digest = hashlib.new(name, args[0].text.encode(), usedforsecurity=False)
        return string(digest.hexdigest())

    return Function(name, (Param("str", STRING),), None, call, STRING)


def _random_uuid(ctx: CallContext, _: Sequence[Value]) -> Value:
    drawn = ctx.world.random_bytes(16, ctx.range)
    made = str(uuid.UUID(bytes=drawn, version=4))
    return string(made).with_marks({Impure("chance", "uuidv4()")})


def _named_uuid(_: CallContext, args: Sequence[Value]) -> Value:
    name = args[0].text
    namespace = _NAMESPACES.get(name)
    if namespace is None:
        try:
            namespace = uuid.UUID(name)
        except ValueError:
            raise FunctionError(f'uuidv5() does not support the namespace "{name}"', 0) from None
    return string(str(uuid.uuid5(namespace, args[1].text)))


FUNCTIONS = (
    *map(_digest, ("md5", "sha1", "sha256", "sha512")),
    Function("uuidv4", (), None, _random_uuid, STRING),
    Function(
        "uuidv5", (Param("namespace", STRING), Param("name", STRING)), None, _named_uuid, STRING
    ),
)
