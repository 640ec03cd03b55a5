"""From the layers of configuration that a host sends to typed options and what is wrong with them.

Hosts send a plugin the template's arguments unrendered and unchecked: a plugin renders the Go
templates in them and refuses what it does not know. What a running build tells (`build.ID`) comes
later still, so the same layers are read again when the work begins.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Generic, TypeVar

from goldsmith.core.build import Component as TemplateComponent
from goldsmith.core.build import GoNames
from goldsmith.core.deferred import RawBody
from goldsmith.core.interpolation import Interpolation
from goldsmith.core.loose import tightened
from goldsmith.core.options import (
    Finding,
    Options,
    ReadOptions,
    locate,
    option_fields,
    read_options,
)
from goldsmith.errors import Diagnostic, GoldsmithError, Position, Severity, SourceRange
from goldsmith.plugin.protocols import RawConfig
from goldsmith.values.numbers import Number
from goldsmith.values.types import STRING
from goldsmith.values.value import Value, from_python, string, unknown
from goldsmith.values.world import LiveWorld

O = TypeVar("O", bound=Options)  # noqa: E741 (reads as "any Options")

UNKNOWN_TEXT: Final = "<unknown>"
"""What Packer sends for a text that only the running build will know."""
_PLACEHOLDER: Final = "you must use the `build` function"
_OF_PACKER: Final = "packer_"
_BUILD_NAMES: Final = frozenset({
    "ID", "Host", "Port", "User", "Password", "ConnType", "PackerRunUUID", "PackerHTTPAddr",
    "PackerHTTPIP", "PackerHTTPPort", "SSHPublicKey", "SSHPrivateKey", "WinRMPassword",
})  # fmt: skip
_NOWHERE: Final = SourceRange("", Position(0, 0, 0), Position(0, 0, 0))


class ConfigError(GoldsmithError):
    """The configuration of a component is wrong; `problems` has every reason."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        count = len(self.problems)
        listed = "".join(f"\n  * {problem}" for problem in self.problems)
        super().__init__(self.problems[0] if count == 1 else f"{count} problems:{listed}")


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildInfo:
    """What the host tells every component about the build that it belongs to."""

    name: str = ""
    """The source's name, as {{build_name}} has it."""
    builder_type: str = ""
    debug: bool = False
    force: bool = False
    on_error: str = ""
    core_version: str = ""
    template_path: str = ""
    user_variables: Mapping[str, str] = field(default_factory=dict)
    """The variables of a JSON template; a template in HCL2 has put its own in already."""
    sensitive_variables: tuple[str, ...] = ()

    @property
    def secrets(self) -> frozenset[str]:
        """The values that must not be shown."""
        names = self.sensitive_variables
        return frozenset(self.user_variables[n] for n in names if n in self.user_variables)


@dataclass(frozen=True, slots=True)
class Reading(Generic[O]):
    """What layers turned out to hold; `options` are None where something is wrong or not known.

    `doubts` are problems that may be gone when the build runs: Packer sends 0, false and empty
    lists for values that it does not know yet.
    """

    options: O | None
    problems: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()


Check = Callable[[Any], Iterable[Finding | str]]
"""What a component finds in its options."""


@dataclass(frozen=True, slots=True)
class Configuration(Generic[O]):
    """The layers of one component, put together; a later one wins name by name."""

    model: type[O]
    component: str
    """The component, for messages."""
    arguments: Mapping[str, Value]
    build: BuildInfo = BuildInfo()
    announced: frozenset[str] = frozenset()
    is_hcl: bool = False

    @classmethod
    def of(cls, model: type[O], component: str, layers: Sequence[RawConfig]) -> Configuration[O]:
        """Put the layers together, and take out what concerns every component."""
        arguments: dict[str, Value] = {}
        of_packer: dict[str, Any] = {}
        announced = set(_BUILD_NAMES)
        is_hcl = False
        for layer in layers:
            if layer is None:
                continue
            if isinstance(layer, Value):
                is_hcl = True
                given = layer.attributes if not layer.is_null else {}
                arguments |= {k: _known(v) for k, v in given.items() if not v.is_null}
                continue
            if any(isinstance(value, str) and _PLACEHOLDER in value for value in layer.values()):
                announced.update(map(_text, layer))
                continue
            for key, value in layer.items():
                name = _text(key)
                if name.startswith(_OF_PACKER):
                    of_packer[name.removeprefix(_OF_PACKER)] = value
                elif value is not None:
                    arguments[name] = _plain(value)
        return cls(
            model, component, arguments, _build_info(of_packer), frozenset(announced), is_hcl
        )

    @property
    def depends_on_run(self) -> bool:
        """Whether texts may refer to what only the running build tells."""
        given = {**self._defaults(), **self.arguments}
        return any("{{" in text for value in given.values() for text in _texts(value))

    def read(self, check: Check, run_values: Mapping[str, str] | None = None) -> Reading[O]:
        """Read the options; `run_values` is what the builder told, None before it runs."""
        problems, warnings, options = self._read(self.arguments, check, run_values)
        if not problems or not self.is_hcl or run_values is not None:
            return Reading(options, problems, warnings)
        # What stays wrong whatever the empty values become is wrong for sure.
        certain, _, _ = self._read({k: _doubted(v) for k, v in self.arguments.items()}, check, None)
        doubts = tuple(problem for problem in problems if problem not in certain)
        return Reading(None, certain, warnings, doubts)

    def _read(
        self,
        arguments: Mapping[str, Value],
        check: Check,
        run_values: Mapping[str, str] | None,
    ) -> tuple[tuple[str, ...], tuple[str, ...], O | None]:
        body = RawBody({**self._defaults(), **arguments}, loose=True)
        body, wrong = self._interpolation(run_values).body(
            body, self.model, _stand_in(self.component), self.component
        )
        body = tightened(body, self.model)
        read: ReadOptions[O] = read_options(self.model, body)
        found: list[Diagnostic] = [*wrong, *read.found]
        if read.examined is not None:
            said = [_finding(one) for one in check(read.examined)]
            found += locate((one for one in said if read.is_sure(one)), body, "")
        problems = tuple(_shown(one) for one in found if one.severity is Severity.ERROR)
        warnings = tuple(_shown(one) for one in found if one.severity is Severity.WARNING)
        return problems, warnings, None if problems else read.options

    def _defaults(self) -> dict[str, Value]:
        """The defaults that are templates, which are rendered like what is given."""
        given = {name.lower() for name in self.arguments}
        return {
            name: string(field.default)
            for name, field in option_fields(self.model).items()
            if isinstance(field.default, str) and "{{" in field.default and name not in given
        }

    def _interpolation(self, run_values: Mapping[str, str] | None) -> Interpolation:
        build = self.build
        known = GoNames(user=build.user_variables, build=self.announced,
                        packer_version=build.core_version)  # fmt: skip
        values = {name: string(text) for name, text in (run_values or {}).items()}
        return Interpolation(
            world=LiveWorld(), template_path=build.template_path, build_name=build.name,
            build_type=build.builder_type, announced=self.announced, run_values=values or None,
            go_names=known,
        )  # fmt: skip


def texts_of(data: Mapping[str, Any] | None) -> dict[str, str]:
    """What a builder told, as the texts that templates see."""
    return {name: _as_text(value) for name, value in (data or {}).items() if value is not None}


def _as_text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else str(value)


def _finding(said: Finding | str) -> Finding:
    return Finding(said) if isinstance(said, str) else said


def _shown(found: Diagnostic) -> str:
    return found.summary + (f": {found.detail}" if found.detail else "")


def _text(key: Any) -> str:
    return key.decode("utf-8", "surrogateescape") if isinstance(key, bytes) else str(key)


def _plain(value: Any) -> Value:
    """A value of a JSON template, whatever it was sent as."""
    match value:
        case bytes():
            return string(_text(value))
        case Mapping():
            return from_python({_text(key): _plain(item) for key, item in value.items()})
        case list() | tuple():
            return from_python([_plain(item) for item in value])
        case None | bool() | int() | float() | str() | Value():
            return from_python(value)
        case _:
            return string(str(value))


def _known(value: Value) -> Value:
    """The value with Packer's text for unknown ones turned into unknown ones."""
    match value.raw:
        case str() if value.raw == UNKNOWN_TEXT:
            return unknown(STRING)
        case tuple():
            return replace(value, raw=tuple(_known(item) for item in value.raw))
        case dict():
            return replace(value, raw={key: _known(item) for key, item in value.raw.items()})
        case _:
            return value


def _doubted(value: Value) -> Value:
    """The value with everything unknown that may stand for something unknown."""
    match value.raw:
        case bool() if not value.raw:
            return unknown(value.type)
        case Number() if value.raw.sign == 0:
            return unknown(value.type)
        case tuple() | dict() if not value.raw:
            return unknown(value.type)
        case tuple():
            return replace(value, raw=tuple(_doubted(item) for item in value.raw))
        case dict():
            return replace(value, raw={key: _doubted(item) for key, item in value.raw.items()})
        case _:
            return value


def _texts(value: Value) -> Iterable[str]:
    if isinstance(value.raw, str):
        yield value.raw
    for item in value.items():
        yield from _texts(item)


def _build_info(given: Mapping[str, Any]) -> BuildInfo:
    variables = given.get("user_variables") or {}
    return BuildInfo(
        name=str(given.get("build_name") or ""),
        builder_type=str(given.get("builder_type") or ""),
        debug=_truth(given.get("debug")), force=_truth(given.get("force")),
        on_error=str(given.get("on_error") or ""),
        core_version=str(given.get("core_version") or ""),
        template_path=str(given.get("template_path") or ""),
        user_variables={_text(k): _text(v) for k, v in variables.items() if k},
        sensitive_variables=tuple(_text(one) for one in given.get("sensitive_variables") or ()),
    )  # fmt: skip


def _truth(value: Any) -> bool:
    """JSON templates send true, HCL2 sends "true"."""
    return value is True or str(value).lower() in ("true", "1", "t")


class _Nothing:
    def resolve(
        self, run_values: Mapping[str, Value] | None, announced: Iterable[str] = ()
    ) -> RawBody:
        """The layers are the content; there is nothing to resolve."""
        return RawBody()


def _stand_in(name: str) -> TemplateComponent:
    return TemplateComponent(kind="plugin", type=name, name=name, config=_Nothing(), range=_NOWHERE)
