"""Where a component of a plugin is: in a program, or in a Python package of this environment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

KIND_NAMES: Final[Mapping[str, str]] = {
    "builder": "builder",
    "provisioner": "provisioner",
    "post-processor": "post-processor",
    "data source": "datasource",
    "hook": "hook",
    "command": "command",
}
"""What the protocol calls each kind of component."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ComponentPlace:
    """A component under the name that a template says; holds JSON values only."""

    kind: str
    """As core calls it."""
    name: str
    label: str
    """What errors call the plugin."""
    command: tuple[str, ...] = ()
    """What starts its process; empty where it runs in this one."""
    protobuf: bool = False
    digest: str = ""
    """The SHA-256 of the program as it was found; "" where nothing says what it must be."""
    package: str = ""
    """"module:object" of the plugin set of a Python package, where it is in one."""
    component: str = ""
    """Its name in that set."""
    version: str = ""

    @property
    def program(self) -> str:
        """The file that is started."""
        return self.command[0] if self.command else ""

    @property
    def identity(self) -> str:
        """What tells it from another release of the same plugin, for keys of results."""
        return self.digest or f"{self.package} {self.version}"

    def to_wire(self) -> dict[str, Any]:
        """The form in which a worker is told of it."""
        return asdict(self)

    @classmethod
    def from_wire(cls, wire: Mapping[str, Any]) -> ComponentPlace:
        """Make it again."""
        return cls(**{**wire, "command": tuple(wire["command"])})
