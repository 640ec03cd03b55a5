"""Methods of data classes are compiled when first called: most never are.

Python 3.11 and 3.12 compile up to six methods of every data class, one by one, while a module is
imported. A build has some 300 classes: that was half of its start.
"""

from __future__ import annotations

from collections.abc import Callable
from types import FunctionType
from typing import Any, Final

_MAKER: Final = "_create_fn"
_KNOWN_FORM: Final = ("name", "args", "body", "globals", "locals", "return_type")


def compile_methods_late() -> None:
    """From now on do so, in this process; another Python, which makes them otherwise, goes on."""
    import dataclasses

    make = getattr(dataclasses, _MAKER, None)
    if isinstance(make, FunctionType) and _form_of(make) == _KNOWN_FORM:
        setattr(dataclasses, _MAKER, _later(make))


def _form_of(make: FunctionType) -> tuple[str, ...]:
    code = make.__code__
    return code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]


def _later(make: Callable[..., Callable[..., Any]]) -> Callable[..., Callable[..., Any]]:
    """The same maker, whose functions put in their own place what it would have made."""

    def make_late(name: str, *given: Any, **more: Any) -> Callable[..., Any]:
        made: list[Callable[..., Any]] = []

        def method(self: Any, /, *args: Any, **kwargs: Any) -> Any:
            if not made:
                made.append(make(name, *given, **more))
                made[0].__qualname__ = method.__qualname__
            for owner in type(self).__mro__:
                if owner.__dict__.get(name) is method:
                    setattr(owner, name, made[0])
            return made[0](self, *args, **kwargs)

        method.__name__ = name
        return method

    return make_late
