"""How a plugin's process is started."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from goldsmith.plugin.wire.handshake import DEFAULT_MAX_PORT, DEFAULT_MIN_PORT

DEFAULT_START_TIMEOUT_S: Final = 60.0

StderrSink = Callable[[str], None]
"""Called with each line that a plugin writes to its standard error, on another thread."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientConfig:
    """A command and the terms on which it is run; raises ValueError for ports that are none."""

    command: tuple[str, ...]
    """The program and its arguments; no shell is involved."""
    managed: bool = False
    """Whether `cleanup_clients` ends it."""
    min_port: int = DEFAULT_MIN_PORT
    max_port: int = DEFAULT_MAX_PORT
    """The last port that a plugin which listens on TCP may take."""
    start_timeout_s: float = DEFAULT_START_TIMEOUT_S
    """How long the plugin may take until it has told its address."""
    stderr: StderrSink | None = None
    """Where its log goes besides `log`, as it was written."""
    log: StderrSink | None = None
    """Goldsmith's own log: what is told of the plugin's process, and its lines with its name."""
    environment: Mapping[str, str] | None = None
    """What it is given besides the cookie and the ports; None is all that goldsmith has."""
    protobuf: bool = False
    """Whether the command asks it for schemas of options in protobuf, not in gob."""
    name: str = ""
    """What errors call it; "" is the name of the program."""
    origin: str = field(default="", compare=False)
    """Where it was found, for the hints of errors."""

    def __post_init__(self) -> None:
        if not self.command:
            raise ValueError("a plugin's command has at least one word")
        if not 0 < self.min_port <= self.max_port < 1 << 16:
            raise ValueError(f"no range of ports: {self.min_port} to {self.max_port}")
        if self.start_timeout_s <= 0:
            raise ValueError("the time to start must be positive")

    @property
    def label(self) -> str:
        """What errors and the log call it, as Packer does: the program, or its last argument."""
        if self.name:
            return self.name
        base = self.command[0].rpartition("/")[2]
        return self.command[-1] if base == "packer" else base
