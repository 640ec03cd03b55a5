"""The document by which a worker knows its build: everything, and nothing else, that it may use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class StartDocument:
    """Crosses the control pipe as JSON; secrets stand nowhere else.

    `record` replays every impure call of the first evaluation, the template's files included.
    """

    template: str
    variables: list[list[str]]
    variable_files: list[str]
    record: dict[str, Any]
    build: str
    cwd: str
    run: str
    work: str
    force: bool
    on_error: str
    epoch_s: int
    environment: Mapping[str, str]
    secrets: list[str]
    run_uuid: str
    policy: dict[str, Any]
    """The fields of a CachePolicy."""
    state: str
    """Where the caller's runs and caches lie."""
    debug: bool = False
    host_environment: Mapping[str, str] = field(default_factory=dict)
    """What builders see of the caller's besides, credentials among it: see BuildContext."""
    plugins: list[dict[str, Any]] = field(default_factory=list)
    """The places of components in plugins, each as `ComponentPlace.to_wire` gives it."""

    def to_wire(self) -> dict[str, Any]:
        """The form in which it crosses the pipe."""
        return asdict(self)

    @classmethod
    def from_wire(cls, wire: Mapping[str, Any]) -> StartDocument:
        """Make it again."""
        return cls(**wire)
