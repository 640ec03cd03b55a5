"""The functions that templates may call, by name, and the one way to call them.

`try`, `can`, `convert` and `templatefile` look at expressions, not at values: the evaluator has
them. Each module here holds the functions of one theme and lists them as `FUNCTIONS`.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from goldsmith.template.hcl2.functions import (
    collections,
    encoding,
    files,
    formatting,
    hashing,
    networks,
    numbers,
    patterns,
    sets,
    strings,
    times,
    yaml_form,
)
from goldsmith.template.hcl2.functions.dispatch import call_function
from goldsmith.template.hcl2.functions.signature import (
    CallContext,
    Function,
    FunctionError,
    Param,
)

FUNCTIONS: Mapping[str, Function] = MappingProxyType(
    {
        function.name: function
        for module in (
            collections,
            encoding,
            files,
            formatting,
            hashing,
            networks,
            numbers,
            patterns,
            sets,
            strings,
            times,
            yaml_form,
        )
        for function in module.FUNCTIONS
    }
)
"""Every function that this package has, by the name that a template calls it."""

NOT_YET = frozenset(
    {"aws_secretsmanager", "aws_secretsmanager_raw", "bcrypt", "consul_key", "rsadecrypt", "vault"}
)
"""Functions that Packer has and goldsmith does not."""

__all__ = [
    "FUNCTIONS",
    "NOT_YET",
    "CallContext",
    "Function",
    "FunctionError",
    "Param",
    "call_function",
]
