"""The clients that end together when the program that made them does."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from goldsmith.plugin.client.client import Client

_lock = threading.Lock()
_managed: list[Client] = []


def manage(client: Client) -> None:
    """Let `cleanup_clients` end this one."""
    with _lock:
        _managed.append(client)


def forget(client: Client) -> None:
    """It has ended."""
    with _lock:
        if client in _managed:
            _managed.remove(client)


def cleanup_clients() -> None:
    """Kill all managed clients, at once; returns when their processes are gone.

    To be called once, when no plugin is needed any more; with none left it does nothing.
    """
    with _lock:
        clients = list(_managed)
        _managed.clear()
    threads = [threading.Thread(target=client.kill, name=client.config.label) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
