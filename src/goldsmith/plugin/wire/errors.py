"""What can go wrong between two processes that speak the plugin protocol."""

from __future__ import annotations

from goldsmith.errors import GoldsmithError


class WireError(GoldsmithError):
    """Something between this process and a plugin, or a host, went wrong."""


class HandshakeError(WireError):
    """The first line of a plugin is none, or one of another protocol."""


class ConnectionLost(WireError):
    """The other process has gone, or closed the connection."""


class ProtocolError(WireError):
    """The other process sent what the protocol does not know."""


class TimedOut(WireError):
    """The other process did not answer in time."""


class RemoteError(WireError):
    """A call was carried out on the other side, and failed there; the text is the other side's."""
