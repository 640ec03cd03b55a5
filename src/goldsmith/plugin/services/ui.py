"""The user interface over the wire."""

from __future__ import annotations

import contextlib
import secrets
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Final

from goldsmith.plugin.protocols import ProgressBar, Ui
from goldsmith.plugin.services.shapes import Services, list_or_nil, number, record, text, texts
from goldsmith.plugin.wire.errors import RemoteError, WireError
from goldsmith.plugin.wire.rpc import RpcClient, Service

MOST_PROGRESS_BARS: Final = 256


class UiClient:
    """The user interface of the other side."""

    def __init__(self, rpc: RpcClient) -> None:
        self._rpc = rpc

    def say(self, text: str) -> None:
        """Tell what happens."""
        self._rpc.call("Ui.Say", text)

    def message(self, text: str) -> None:
        """Tell a detail."""
        self._rpc.call("Ui.Message", text)

    def error(self, text: str) -> None:
        """Tell of a failure."""
        self._rpc.call("Ui.Error", text)

    def ask(self, question: str) -> str:
        """The user's answer; raises RemoteError when nobody can answer."""
        return text(self._rpc.call("Ui.Ask", question))

    def machine(self, category: str, args: Sequence[str]) -> None:
        """Tell machines only."""
        self._rpc.call("Ui.Machine", {"Category": category, "Args": list_or_nil(args)})

    @contextmanager
    def progress(self, name: str, *, current: int = 0, total: int = 0) -> Iterator[ProgressBar]:
        """Show a transfer; where the other side shows none, nothing is told."""
        argument = {"Src": name, "TotalSize": total, "CurrentSize": current}
        try:
            bar_id = text(self._rpc.call("Ui.NewTrackProgress", argument))
        except RemoteError:
            yield _NoBar()
            return
        try:
            yield _Bar(self._rpc, bar_id)
        finally:
            with contextlib.suppress(WireError):
                self._rpc.call(f"Ui{bar_id}.Close")


class _NoBar:
    def add(self, count: int) -> None:
        """Nobody is told."""


class _Bar:
    def __init__(self, rpc: RpcClient, bar_id: str) -> None:
        self._rpc = rpc
        self._method = f"Ui{bar_id}.Add"

    def add(self, count: int) -> None:
        """So many bytes more have been moved."""
        # What is shown is no reason to fail a transfer.
        with contextlib.suppress(RemoteError):
            self._rpc.call(self._method, count)


class UiService:
    """Serves a user interface: its own methods, and a service of its own for each transfer.

    Leaving it ends the transfers that are still shown.
    """

    def __init__(self, ui: Ui, services: Services) -> None:
        self._ui = ui
        self._services = services
        self._lock = threading.Lock()
        self._shown: dict[str, ExitStack] = {}
        services["Ui"] = self._methods()

    def _methods(self) -> Service:
        return {
            "Say": lambda line: self._ui.say(text(line)),
            "Message": lambda line: self._ui.message(text(line)),
            "Error": lambda line: self._ui.error(text(line)),
            "Ask": lambda question: self._ui.ask(text(question)),
            "Machine": self._machine,
            "NewTrackProgress": self._show,
        }

    def _machine(self, argument: Any) -> None:
        fields = record(argument)
        self._ui.machine(text(fields.get("Category")), texts(fields.get("Args")))

    def _show(self, argument: Any) -> str:
        fields = record(argument)
        name = text(fields.get("Src"))
        current, total = number(fields.get("CurrentSize")), number(fields.get("TotalSize"))
        with self._lock:
            if len(self._shown) >= MOST_PROGRESS_BARS:
                raise WireError("too many transfers are shown at once")
            bar_id = f"{name}{secrets.token_hex(3)}"
            held = self._shown[bar_id] = ExitStack()
            bar = held.enter_context(self._ui.progress(name, current=current, total=total))
            self._services[f"Ui{bar_id}"] = {
                "Add": lambda count: bar.add(number(count)),
                "Close": lambda nothing: self._hide(bar_id),
            }
        return bar_id

    def _hide(self, bar_id: str) -> None:
        with self._lock:
            held = self._shown.pop(bar_id, None)
            self._services.pop(f"Ui{bar_id}", None)
        if held is not None:
            held.close()

    def close(self) -> None:
        """End the transfers that are still shown."""
        for bar_id in list(self._shown):
            self._hide(bar_id)

    def __enter__(self) -> UiService:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()
