"""Functions on sets; lists and tuples are taken for sets."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

from goldsmith.template.hcl2.functions.signature import (
    CallContext,
    Function,
    FunctionError,
    Param,
)
from goldsmith.values.bounds import check_count
from goldsmith.values.convert import convert
from goldsmith.values.types import ANY, ListType, SetType, TupleType, Type
from goldsmith.values.unify import unify
from goldsmith.values.value import Value, list_of, set_of, tuple_of

_Combine = Callable[[list[tuple[Value, ...]]], list[Value]]


def _union(sets: list[tuple[Value, ...]]) -> list[Value]:
    return list(itertools.chain.from_iterable(sets))


def _intersection(sets: list[tuple[Value, ...]]) -> list[Value]:
    return [item for item in sets[0] if all(item in other for other in sets[1:])]


def _operation(name: str, combine: _Combine) -> Function:
    def call(_: CallContext, args: Sequence[Value]) -> Value:
        types = [arg.type.element for arg in args if isinstance(arg.type, SetType)]
        common = unify(types)
        if common is None:
            raise FunctionError("given sets must all have compatible element types")
        sets = [convert(arg, SetType(common)).elements for arg in args]
        return set_of(common, combine(sets))

    first = Param("first_set", SetType(ANY))
    return Function(name, (first,), Param("other_sets", SetType(ANY)), call, SetType(ANY))


def _product(_: CallContext, args: Sequence[Value]) -> Value:
    if len(args) < 2:
        raise FunctionError("at least two arguments are required")
    columns: list[tuple[Value, ...]] = []
    types: list[Type] = []
    for index, arg in enumerate(args):
        if not isinstance(arg.raw, tuple):
            raise FunctionError("a set or a list is required", index)
        common = unify([item.type for item in arg.raw])
        if isinstance(arg.type, ListType | SetType):
            common = arg.type.element
        if common is None:
            raise FunctionError("all elements must be of the same type", index)
        types.append(common)
        columns.append(tuple(convert(item, common) for item in arg.raw))
    check_count(math.prod(map(len, columns)) * len(columns))
    rows = [tuple_of(row) for row in itertools.product(*columns)]
    row_type = TupleType(tuple(types))
    if any(isinstance(arg.type, SetType) for arg in args):
        return set_of(row_type, rows)
    return list_of(row_type, rows)


FUNCTIONS = (
    _operation("setunion", _union),
    _operation("setintersection", _intersection),
    Function("setproduct", (), Param("sets", ANY), _product),
)
