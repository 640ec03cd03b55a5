"""The functions that templates may call, by name, and the one way to call them.

`try`, `can`, `convert` and `templatefile` look at expressions, not at values: the evaluator has
them. Each module here holds the functions of one theme and lists them as `FUNCTIONS`; it is
imported when a template calls the first of them, because most templates call none.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module

from goldsmith.template.hcl2.functions.dispatch import call_function
from goldsmith.template.hcl2.functions.signature import (
    CallContext,
    Function,
    FunctionError,
    Param,
)

THEMES: Mapping[str, str] = {
    "collections": (
        "length keys values lookup merge concat contains index element flatten slice "
        "reverse distinct compact sort chunklist range zipmap coalesce coalescelist "
        "alltrue anytrue"
    ),
    "encoding": (
        "base64decode base64encode base64gzip textencodebase64 textdecodebase64 "
        "urlencode jsondecode jsonencode csvdecode"
    ),
    "files": "file filebase64 fileexists fileset basename dirname abspath pathexpand",
    "formatting": "format formatlist",
    "hashing": "md5 sha1 sha256 sha512 uuidv4 uuidv5",
    "networks": "cidrhost cidrnetmask cidrsubnet cidrsubnets",
    "numbers": "abs ceil floor max min log pow signum parseint sum",
    "patterns": "regex regexall regex_replace",
    "secret_stores": (
        "bcrypt rsadecrypt vault consul_key aws_secretsmanager aws_secretsmanager_raw"
    ),
    "sets": "setunion setintersection setproduct",
    "strings": (
        "upper lower title strrev chomp trimspace trim trimprefix trimsuffix startswith "
        "endswith strcontains replace indent join split substr"
    ),
    "times": (
        "timestamp timeadd formatdate rfc3339_parse unix_timestamp_parse legacy_isotime "
        "legacy_strftime"
    ),
    "yaml_form": "yamldecode yamlencode",
}
"""The names of the functions of each module."""


class _Functions(Mapping[str, Function]):
    """All functions by name; looking one up imports its module."""

    def __init__(self) -> None:
        self._modules = {name: theme for theme, names in THEMES.items() for name in names.split()}
        self._loaded: dict[str, Function] = {}

    def __getitem__(self, name: str) -> Function:
        if name not in self._loaded:
            module = import_module(f"{__name__}.{self._modules[name]}")
            self._loaded.update((function.name, function) for function in module.FUNCTIONS)
        return self._loaded[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._modules)

    def __len__(self) -> int:
        return len(self._modules)


FUNCTIONS: Mapping[str, Function] = _Functions()
"""Every function that this package has, by the name that a template calls it."""

__all__ = [
    "FUNCTIONS",
    "THEMES",
    "CallContext",
    "Function",
    "FunctionError",
    "Param",
    "call_function",
]
