"""What a template asks for: builds made of a source, provisioners and post-processor chains."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from goldsmith.core.caching import NO_WISHES, Caching
from goldsmith.core.deferred import DeferredConfig
from goldsmith.errors import Diagnostic, SourceRange


@dataclass(frozen=True, slots=True, kw_only=True)
class Component:
    """A builder, provisioner or post-processor as the template names it.

    `kind` is "builder", "provisioner" or "post-processor"; the fields after `range` are the keys
    that every component of that kind understands, already taken out of its own configuration.
    """

    kind: str
    type: str
    name: str
    config: DeferredConfig
    range: SourceRange
    pause_before_s: float = 0.0
    max_retries: int = 0
    timeout_s: float | None = None
    only: tuple[str, ...] = ()
    except_: tuple[str, ...] = ()
    keep_input_artifact: bool | None = None
    title: str = ""
    caching: Caching = NO_WISHES
    continue_on_error: bool = False
    """Whether the build goes on after this provisioner has failed."""

    @property
    def announced(self) -> str:
        """What a post-processor is called when it begins; an unnamed one keeps the blank."""
        return self.title or f"{self.name} (type {self.type})"

    def applies_to(self, build_type_and_name: str) -> bool:
        """Whether its `only` and `except` let it take part in that build ("image.debian")."""
        if self.only:
            return build_type_and_name in self.only
        return build_type_and_name not in self.except_


@dataclass(frozen=True, slots=True)
class GoNames:
    """What Go templates know in a language that has no other expressions.

    `user` are the variables; `build` the names of a running build that work whatever the builder
    announces, rendered in a second pass.
    """

    user: Mapping[str, str]
    build: frozenset[str]
    packer_version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    """One source with everything that is to happen to it; `name` is what people see.

    `selected_by` is the very name that `-only` and `-except` take; None where they are patterns
    over `name`. `go_names` is None in a language with expressions of its own.
    """

    name: str
    build_name: str
    source_type: str
    source_name: str
    source: Component
    provisioners: tuple[Component, ...] = ()
    post_processors: tuple[tuple[Component, ...], ...] = ()
    error_cleanup: Component | None = None
    """The provisioner that runs when another one has failed."""
    cleanup_hooks: tuple[Component, ...] = ()
    """Hooks that run before it."""
    selected_by: str | None = None
    go_names: GoNames | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """A loaded template; `sources` maps file names to text, for the lines that errors show."""

    path: str
    builds: tuple[Build, ...]
    sources: dict[str, str]
    warnings: tuple[Diagnostic, ...] = ()
    secrets: frozenset[str] = frozenset()
