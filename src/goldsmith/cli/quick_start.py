"""What Python and libraries do at every start for nobody, left undone in this program.

Python 3.11 and 3.12 compile up to six methods of every data class, one by one, while a module is
imported. A build has some 300 classes: that was half of its start. pydantic looks through all
packages that are installed for plugins of its own, with a library that takes longer to import than
options to check.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from importlib.machinery import ModuleSpec
from types import FunctionType, ModuleType
from typing import Any, Final

_PLUGIN_LOADER: Final = "pydantic.plugin._loader"
_MAKER: Final = "_create_fn"
_KNOWN_FORM: Final = ("name", "args", "body", "globals", "locals", "return_type")


def start_quickly() -> None:
    """To be called before anything large is imported; what is made otherwise goes on as ever."""
    compile_methods_late()
    look_for_no_plugins()


def look_for_no_plugins() -> None:
    """No plugin of pydantic sees the options of templates: there is nobody to ask for them."""

    def whole(name: str) -> Any:
        """What another pydantic wants of its loader besides."""
        if name.startswith("__"):
            raise AttributeError(name)
        sys.modules.pop(_PLUGIN_LOADER, None)
        return getattr(import_module(_PLUGIN_LOADER), name)

    nobody = ModuleType(_PLUGIN_LOADER)
    nobody.__spec__ = ModuleSpec(_PLUGIN_LOADER, None)
    vars(nobody).update(get_plugins=tuple, __getattr__=whole)
    sys.modules.setdefault(_PLUGIN_LOADER, nobody)


def compile_methods_late() -> None:
    """Compile methods of data classes when they are first called: most never are.

    Another Python, which makes them otherwise, goes on as ever.
    """
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
