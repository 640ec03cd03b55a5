"""Processes of plugins, as their host sees them: started on demand, ended for good."""

from goldsmith.plugin.client.client import Client
from goldsmith.plugin.client.config import ClientConfig
from goldsmith.plugin.client.managed import cleanup_clients
from goldsmith.plugin.wire.handshake import MAGIC_COOKIE_KEY, MAGIC_COOKIE_VALUE

__all__ = [
    "MAGIC_COOKIE_KEY",
    "MAGIC_COOKIE_VALUE",
    "Client",
    "ClientConfig",
    "cleanup_clients",
]
