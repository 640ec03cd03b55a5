"""The functions that templates may call, by name, and the one way to call them.

`try`, `can`, `convert` and `templatefile` look at expressions, not values: the evaluator has them.
"""

from __future__ import annotations

from collections.abc import Mapping

from goldsmith.template.hcl2.functions.dispatch import call_function
from goldsmith.template.hcl2.functions.signature import (
    CallContext,
    Function,
    FunctionError,
    Param,
)

FUNCTIONS: Mapping[str, Function] = {}
NOT_YET = frozenset[str]()

__all__ = [
    "FUNCTIONS",
    "NOT_YET",
    "CallContext",
    "Function",
    "FunctionError",
    "Param",
    "call_function",
]
