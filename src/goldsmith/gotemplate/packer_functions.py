"""The functions that Packer adds to Go's templates.

Everything impure comes from a World (see `values.world`), so that a second rendering in another
process gives the same text. Argument orders and messages: Packer's `template/interpolate`.
"""

from __future__ import annotations

import os.path
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from goldsmith.errors import SourceRange
from goldsmith.gotemplate.errors import TemplateFunctionError
from goldsmith.gotemplate.evaluator import LARGEST_TEXT
from goldsmith.gotemplate.go_time import RFC3339, format_time, strftime
from goldsmith.gotemplate.quoting import to_bytes

Functions = dict[str, Callable[..., object]]

SECRET_STORES = ("vault", "consul_key", "aws_secretsmanager", "aws_secretsmanager_raw")
"""The functions that ask a server; they work only where a caller supplies them."""

_REFUSALS = {
    "vault": "Vault vars are only allowed in the variables section",
    "consul_key": "consul_key is not allowed here",
    "aws_secretsmanager": "AWS Secrets Manager is only allowed in the variables section",
    "aws_secretsmanager_raw": "AWS Secrets Manager is only allowed in the variables section",
}


class World(Protocol):
    """The part of `values.world.World` that these functions look at."""

    def cwd(self) -> str:
        """The absolute path of the working directory."""

    def env(self, name: str) -> str | None:
        """An environment variable, None when it is not set."""

    def now(self) -> datetime:
        """The time of this run in UTC, the same at every call."""

    def random_bytes(self, count: int, at: SourceRange | None) -> bytes:
        """Unpredictable bytes for the call that stands there."""


@dataclass(frozen=True, kw_only=True)
class PackerContext:
    """Where a template stands, which decides what its functions know; None means: not known here.

    `in_variables` is true for the defaults of legacy JSON variables: there `env` and the secret
    stores work, and `user` refuses a name that is not resolved yet. `announced` are the keys that
    the builder promises to `build`. `at` is where the template was written.
    """

    build_name: str | None = None
    build_type: str | None = None
    template_path: str | None = None
    packer_version: str | None = None
    user_variables: Mapping[str, str] | None = None
    in_variables: bool = False
    announced: Collection[str] | None = None
    secret_stores: Mapping[str, Callable[..., str]] = field(default_factory=dict)
    at: SourceRange | None = None


def packer_functions(world: World, context: PackerContext) -> Functions:
    """Packer's functions by name, for a template at this place."""
    return {
        **text_functions(),
        **_clock_functions(world, context),
        **_place_functions(world, context),
        **_variable_functions(world, context),
    }


def _known(name: str, value: str | None) -> Callable[[], str]:
    def known() -> str:
        if not value:
            raise TemplateFunctionError(f"{name} not available")
        return value

    return known


def _clock_functions(world: World, context: PackerContext) -> Functions:
    def isotime(*layouts: str) -> str:
        if len(layouts) > 1:
            raise TemplateFunctionError(f"too many values, 1 needed: [{' '.join(layouts)}]")
        return format_time(world.now(), layouts[0] if layouts else RFC3339)

    def timestamp() -> str:
        return str(int(world.now().timestamp()))

    def uuid() -> str:
        # Packer's own kind: four bytes of Unix time, then twelve of chance, no version bits.
        seconds = int(world.now().timestamp()) % (1 << 32)
        digits = (seconds.to_bytes(4, "big") + world.random_bytes(12, context.at)).hex()
        return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))

    def strftime_(format: str) -> str:
        return strftime(world.now(), format)

    return {"isotime": isotime, "strftime": strftime_, "timestamp": timestamp, "uuid": uuid}


def _place_functions(world: World, context: PackerContext) -> Functions:
    def template_dir() -> str:
        if not context.template_path:
            raise TemplateFunctionError("template path not available")
        directory = os.path.dirname(context.template_path)
        return os.path.normpath(os.path.join(world.cwd(), directory))

    return {
        "build_name": _known("build_name", context.build_name),
        "build_type": _known("build_type", context.build_type),
        "packer_version": _known("packer_version", context.packer_version),
        "pwd": world.cwd,
        "template_dir": template_dir,
    }


def _variable_functions(world: World, context: PackerContext) -> Functions:
    def env(name: str) -> str:
        if not context.in_variables:
            raise TemplateFunctionError(
                "env vars are not allowed here",
                hint="give a variable the default {{env `NAME`}} and use that variable here",
            )
        return world.env(name) or ""

    def user(name: str) -> str:
        variables = context.user_variables
        if variables is None:
            raise TemplateFunctionError(
                f"there are no user variables here, so {name} is none",
                hint="in HCL2 write ${var.NAME}",
            )
        if context.in_variables and name not in variables:
            raise TemplateFunctionError(f"Error: variable not set: {name}")
        return variables.get(name, "")

    def build(key: str) -> str:
        if context.announced is None:
            raise TemplateFunctionError(
                "Error validating build variable: the given variable"
                f" {key} will not be passed into your plugin."
            )
        if key not in context.announced:
            raise TemplateFunctionError(
                f"loaded data, but couldnt find {key} in it.",
                hint=f"the builder announces: {', '.join(sorted(context.announced)) or 'nothing'}",
            )
        # A placeholder for the second rendering, when the values of the build are known.
        return f"{{{{.{key}}}}}"

    stores = {name: _secret_store(name, context) for name in SECRET_STORES}
    return {"env": env, "user": user, "build": build, **stores}


def _secret_store(name: str, context: PackerContext) -> Callable[..., str]:
    def ask(*args: str) -> str:
        if not context.in_variables:
            raise TemplateFunctionError(_REFUSALS[name])
        store = context.secret_stores.get(name)
        if store is None:
            raise TemplateFunctionError(
                f"{name} cannot be asked here", hint="pass the secret with -var or -var-file"
            )
        return store(*args)

    def ask_one(key: str) -> str:
        return ask(key)

    def ask_two(path: str, key: str) -> str:
        return ask(path, key)

    def ask_aws(*names: str) -> str:
        if context.in_variables and not 1 <= len(names) <= 2:
            raise TemplateFunctionError("a secret name and at most one key can be given")
        return ask(*names)

    if name == "vault":
        return ask_two
    return ask_aws if name == "aws_secretsmanager" else ask_one


def text_functions() -> Functions:
    """The functions that depend on their arguments alone."""
    return {
        "lower": lower, "upper": upper, "replace": replace, "replace_all": replace_all,
        "split": split, "sed": sed,
    }  # fmt: skip


def lower(text: str) -> str:
    """Lower case, character by character as Go does it (no rules of context)."""
    return "".join(c.lower()[0] for c in text)


def upper(text: str) -> str:
    """Upper case, one character for one: `ß` stays."""
    return "".join(map(_upper_character, text))


def _upper_character(character: str) -> str:
    # Where Python's upper is several characters, Unicode's simple mapping is the title case.
    for mapped in (character.upper(), character.title()):
        if len(mapped) == 1:
            return mapped
    return character


def replace(old: str, new: str, count: int, text: str) -> str:
    """Replace the first `count` occurrences, all of them when it is negative."""
    found = text.count(old)
    _bounded(text, old, new, found if count < 0 else min(count, found))
    return text.replace(old, new, count)


def replace_all(old: str, new: str, text: str) -> str:
    """Replace every occurrence."""
    return replace(old, new, -1, text)


def _bounded(text: str, old: str, new: str, count: int) -> None:
    length = len(text) + count * (len(new) - len(old))
    if length > LARGEST_TEXT:
        raise TemplateFunctionError(
            f"the text would have {length} characters, {LARGEST_TEXT} are allowed"
        )


def split(text: str, separator: str, index: int) -> str:
    """The part at the index, from 0; an empty separator splits into characters."""
    parts = text.split(separator) if separator else list(text)
    if not 0 <= index < len(parts):
        raise TemplateFunctionError(
            f"the substring {index} was unavailable using the separator value, {separator},"
            f" only {len(parts)} values were found"
        )
    return parts[index]


def sed(expression: str, text: str) -> str:
    """Always fails: Packer took it away."""
    raise TemplateFunctionError(
        "template function `sed` is deprecated use `replace` or `replace_all` instead."
    )


def clean_resource_name(text: str) -> str:
    """The name with every byte that an AMI's name must not have replaced by a hyphen.

    Not among `packer_functions`: only the options of amazon's components may call it.
    """
    return re.sub(rb"[^0-9A-Za-z()\[\] ./'@_-]", b"-", to_bytes(text)).decode()
