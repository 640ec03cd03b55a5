"""Functions on lists, tuples, maps and objects."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from goldsmith.template.hcl2.functions.graphemes import graphemes
from goldsmith.template.hcl2.functions.signature import (
    CallContext,
    Function,
    FunctionError,
    Param,
    whole_number,
)
from goldsmith.values.convert import ConversionError, convert
from goldsmith.values.marks import NO_MARKS, Mark
from goldsmith.values.numbers import Number
from goldsmith.values.types import (
    ANY,
    BOOL,
    NUMBER,
    STRING,
    ListType,
    MapType,
    ObjectType,
    SetType,
    TupleType,
    Type,
    friendly_name,
)
from goldsmith.values.unify import equal, unify
from goldsmith.values.value import (
    TRUE,
    Unknown,
    Value,
    all_marks,
    boolean,
    list_of,
    map_of,
    number,
    object_of,
    string,
    tuple_of,
    unknown,
)

_LONGEST_RANGE = 1024


def _like(source: Value, elements: Sequence[Value]) -> Value:
    """A list when the source is a list or set, else a tuple."""
    if isinstance(source.type, ListType | SetType):
        return list_of(source.type.element, elements)
    return tuple_of(elements)


def _length(_: CallContext, args: Sequence[Value]) -> Value:
    raw = args[0].raw
    if isinstance(raw, str):
        return number(len(graphemes(raw)))
    if isinstance(raw, tuple | dict):
        return number(len(raw))
    raise FunctionError("argument must be a string, a collection type, or a structural type")


def _keys(_: CallContext, args: Sequence[Value]) -> Value:
    if not isinstance(args[0].raw, dict):
        raise FunctionError("must have map or object type", 0)
    names = [string(key) for key in args[0].raw]
    return list_of(STRING, names) if isinstance(args[0].type, MapType) else tuple_of(names)


def _values(_: CallContext, args: Sequence[Value]) -> Value:
    if not isinstance(args[0].raw, dict):
        raise FunctionError("values() requires a map as the first argument")
    items = list(args[0].raw.values())
    if isinstance(args[0].type, MapType):
        return list_of(args[0].type.element, items)
    return tuple_of(items)


def _lookup(_: CallContext, args: Sequence[Value]) -> Value:
    source, key, default = args
    if not isinstance(source.raw, dict):
        raise FunctionError("lookup() requires a map as the first argument", 0)
    if isinstance(source.type, MapType):
        try:
            default = convert(default, source.type.element)
        except ConversionError:
            reason = "the default value must have the same type as the map elements"
            raise FunctionError(reason, 2) from None
    return source.raw.get(key.text, default)


def _merge(_: CallContext, args: Sequence[Value]) -> Value:
    merged: dict[str, Value] = {}
    for index, arg in enumerate(args):
        if isinstance(arg.raw, dict):
            merged.update(arg.raw)
        elif not arg.is_null:
            name = friendly_name(arg.type)
            raise FunctionError(f"arguments must be maps or objects, got {name}", index)
    types = {arg.type for arg in args}
    only = types.pop() if len(types) == 1 else None
    return map_of(only.element, merged) if isinstance(only, MapType) else object_of(merged)


def _concat(_: CallContext, args: Sequence[Value]) -> Value:
    if not args:
        raise FunctionError("at least one argument is required")
    for index, arg in enumerate(args):
        if not isinstance(arg.type, ListType | TupleType):
            name = friendly_name(arg.type)
            raise FunctionError(f"all arguments must be lists or tuples; got {name}", index)
    if all(isinstance(arg.type, ListType) for arg in args):
        common = unify([arg.type for arg in args])
        if isinstance(common, ListType):
            lists = [convert(arg, common) for arg in args]
            return list_of(common.element, [item for one in lists for item in one.elements])
    return tuple_of(item for arg in args for item in arg.elements)


def _contains(_: CallContext, args: Sequence[Value]) -> Value:
    if not isinstance(args[0].raw, tuple):
        raise FunctionError("argument must be list, tuple, or set")
    answers = [equal(item, args[1]) for item in args[0].raw]
    if any(answer.raw is True for answer in answers):
        return TRUE
    return boolean(False) if all(answer.is_known for answer in answers) else unknown(BOOL)


def _index(_: CallContext, args: Sequence[Value]) -> Value:
    if not isinstance(args[0].type, ListType | TupleType):
        raise FunctionError("argument must be a list or tuple")
    if not args[0].elements:
        raise FunctionError("cannot search an empty list")
    for place, item in enumerate(args[0].elements):
        if equal(item, args[1]).raw is True:
            return number(place)
    raise FunctionError("item not found")


def _element(_: CallContext, args: Sequence[Value]) -> Value:
    if not isinstance(args[0].type, ListType | TupleType):
        raise FunctionError(f"cannot read elements from {friendly_name(args[0].type)}")
    place, items = whole_number(args, 1), args[0].elements
    if not items:
        raise FunctionError("cannot use element function with an empty list")
    if place < 0:
        raise FunctionError("cannot use element function with a negative index", 1)
    return items[place % len(items)]


def _flatten(_: CallContext, args: Sequence[Value]) -> Value:
    if not isinstance(args[0].raw, tuple):
        raise FunctionError("can only flatten lists, sets and tuples")
    marks: frozenset[Mark] = NO_MARKS
    flat: list[Value] = []
    pending = list(reversed(args[0].raw))
    while pending:
        item = pending.pop()
        if isinstance(item.raw, tuple):
            marks |= item.marks
            pending.extend(reversed(item.raw))
        elif isinstance(item.raw, Unknown) and not isinstance(
            item.type, type(STRING) | MapType | ObjectType
        ):
            return unknown().with_marks(all_marks(args[0]))
        else:
            flat.append(item)
    return tuple_of(flat).with_marks(marks)


def _slice(_: CallContext, args: Sequence[Value]) -> Value:
    if isinstance(args[0].type, SetType):
        raise FunctionError("cannot slice a set, because its elements do not have indices", 0)
    if not isinstance(args[0].raw, tuple):
        raise FunctionError("must be a list or tuple value", 0)
    start, end = whole_number(args, 1), whole_number(args, 2)
    size = len(args[0].raw)
    if not 0 <= start <= size:
        raise FunctionError("start index must be between 0 and the length of the list", 1)
    if not 0 <= end <= size:
        raise FunctionError("end index must be between 0 and the length of the list", 2)
    if start > end:
        raise FunctionError("start index must not be greater than end index", 1)
    return _like(args[0], args[0].raw[start:end])


def _reverse(_: CallContext, args: Sequence[Value]) -> Value:
    if not isinstance(args[0].raw, tuple):
        name = friendly_name(args[0].type)
        raise FunctionError(f"can only reverse list or tuple values, not {name}", 0)
    return _like(args[0], args[0].raw[::-1])


def _distinct(_: CallContext, args: Sequence[Value]) -> Value:
    return _like(args[0], list(dict.fromkeys(args[0].elements)))


def _compact(_: CallContext, args: Sequence[Value]) -> Value:
    return list_of(STRING, [item for item in args[0].elements if item.raw not in (None, "")])


def _sort(_: CallContext, args: Sequence[Value]) -> Value:
    for place, item in enumerate(args[0].elements):
        if item.is_null:
            raise FunctionError(f"element {place} is null; a null string cannot be sorted", 0)
    return list_of(STRING, sorted(args[0].elements, key=lambda item: item.text))


def _chunk_list(_: CallContext, args: Sequence[Value]) -> Value:
    size, items = whole_number(args, 1), args[0].elements
    if size < 0:
        raise FunctionError("the size argument must be positive", 1)
    step = size or max(1, len(items))
    chunks = [items[start : start + step] for start in range(0, len(items), step)]
    return list_of(args[0].type, [_like(args[0], chunk) for chunk in chunks])


def _range(_: CallContext, args: Sequence[Value]) -> Value:
    if not 1 <= len(args) <= 3:
        raise FunctionError("must have one, two, or three arguments")
    numbers = [arg.number for arg in args]
    start, end = (Number.of(0), numbers[0]) if len(args) == 1 else (numbers[0], numbers[1])
    step = numbers[2] if len(args) == 3 else Number.of(-1 if end < start else 1)
    if not step.sign:
        raise FunctionError("step must not be zero", 2)
    if (step.sign < 0 and end > start) or (step.sign > 0 and end < start):
        relation = "less" if step.sign < 0 else "greater"
        raise FunctionError(f"end must be {relation} than start with this step", 1)
    found: list[Value] = []
    while start < end if step.sign > 0 else start > end:
        if len(found) >= _LONGEST_RANGE:
            raise FunctionError(
                f"more than {_LONGEST_RANGE} values were generated; either decrease the "
                "difference between start and end or use a larger step"
            )
        found.append(number(start))
        start = start + step
    return list_of(NUMBER, found)


def _zip_map(_: CallContext, args: Sequence[Value]) -> Value:
    keys, items = args[0].elements, args[1]
    if not isinstance(items.type, ListType | TupleType):
        raise FunctionError("values argument must be a list or tuple value", 1)
    if len(keys) != len(items.elements):
        raise FunctionError(
            f"number of keys ({len(keys)}) does not match number of values ({len(items.elements)})"
        )
    zipped: dict[str, Value] = {}
    for place, (key, item) in enumerate(zip(keys, items.elements, strict=True)):
        if key.is_null:
            raise FunctionError(f"keys list has null value at index {place}", 0)
        zipped[key.text] = item
    if isinstance(items.type, ListType):
        return map_of(items.type.element, zipped)
    return object_of(zipped)


def _coalesce(_: CallContext, args: Sequence[Value]) -> Value:
    common = unify([arg.type for arg in args])
    if common is None:
        raise FunctionError("all arguments must have the same type")
    for arg in args:
        value = convert(arg, common)
        if not value.is_known:
            return unknown(common).with_marks(all_marks(value))
        if value.raw is not None and value.raw != "":
            return value
    raise FunctionError("no non-null, non-empty-string arguments")


def _coalesce_list(_: CallContext, args: Sequence[Value]) -> Value:
    if not args:
        raise FunctionError("at least one argument is required")
    for index, arg in enumerate(args):
        if arg.is_known and not isinstance(arg.type, ListType | TupleType):
            raise FunctionError("coalescelist arguments must be lists or tuples", index)
    for arg in args:
        if not arg.is_known:
            return unknown().with_marks(all_marks(arg))
        if arg.raw:
            return arg
    raise FunctionError("no non-null arguments")


def _every(name: str, decide: Callable[[list[bool]], bool]) -> Function:
    """A function of a list of bools, where null counts as not true."""

    def call(_: CallContext, args: Sequence[Value]) -> Value:
        return boolean(decide([item.raw is True for item in args[0].elements]))

    return Function(name, (Param("list", ListType(BOOL)),), None, call, BOOL)


def _moving(name: str, type: Type = ANY) -> Param:
    """A parameter whose elements are only moved: their marks and unknowns stay with them."""
    return Param(name, type, allow_unknown_inside=True, allow_marked=True)


_MIXED = Param("vals", ANY, allow_null=True, allow_unknown=True, allow_marked=True)

FUNCTIONS = (
    Function("length", (_moving("value"),), None, _length, NUMBER),
    Function("keys", (_moving("inputMap"),), None, _keys),
    Function("values", (_moving("mapping"),), None, _values),
    Function(
        "lookup",
        (_moving("inputMap"), Param("key", STRING), _moving("default")),
        None,
        _lookup,
    ),
    Function(
        "merge",
        (),
        Param("maps", ANY, allow_null=True, allow_unknown_inside=True, allow_marked=True),
        _merge,
    ),
    Function("concat", (), _moving("seqs"), _concat),
    Function(
        "contains",
        (Param("list", ANY, allow_unknown_inside=True), Param("value")),
        None,
        _contains,
        BOOL,
    ),
    Function("index", (Param("list"), Param("value")), None, _index, NUMBER),
    Function("element", (_moving("list"), Param("index", NUMBER)), None, _element),
    Function("flatten", (_moving("list"),), None, _flatten),
    Function(
        "slice",
        (_moving("list"), Param("start_index", NUMBER), Param("end_index", NUMBER)),
        None,
        _slice,
    ),
    Function("reverse", (_moving("list"),), None, _reverse),
    Function("distinct", (Param("list", ListType(ANY)),), None, _distinct),
    Function("compact", (Param("list", ListType(STRING)),), None, _compact, ListType(STRING)),
    Function("sort", (Param("list", ListType(STRING)),), None, _sort, ListType(STRING)),
    Function(
        "chunklist", (_moving("list", ListType(ANY)), Param("size", NUMBER)), None, _chunk_list
    ),
    Function("range", (), Param("params", NUMBER), _range, ListType(NUMBER)),
    Function("zipmap", (Param("keys", ListType(STRING)), _moving("values")), None, _zip_map),
    Function("coalesce", (), _MIXED, _coalesce),
    Function("coalescelist", (), _MIXED, _coalesce_list),
    _every("alltrue", all),
    _every("anytrue", any),
)
