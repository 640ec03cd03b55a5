"""Teardown: the LIFO list of everything that a build has acquired and must give back.

Unlike `contextlib.ExitStack` it runs every entry even if some fail, keeps the error in flight as
the primary one (failures of the cleanup become notes on it), and hands out a handle by which an
entry can be released early.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Self, TypeVar

from goldsmith.errors import CleanupFailed, Interrupted

T = TypeVar("T")


class Handle:
    """One entry of a Teardown; `release` runs it now, and only once."""

    def __init__(self, label: str, action: Callable[[], object]) -> None:
        self.label = label
        self._action: Callable[[], object] | None = action

    @property
    def pending(self) -> bool:
        """Whether the entry still has to run."""
        return self._action is not None

    def release(self) -> None:
        """Run the entry now; a second call does nothing."""
        action, self._action = self._action, None
        if action is not None:
            action()

    def forget(self) -> None:
        """Never run the entry: what it guards was handed on."""
        self._action = None


class Teardown(AbstractContextManager["Teardown"]):
    """Releases, in reverse order, all that was deferred to it.

    Leaving the block raises CleanupFailed when entries failed and nothing else was in flight.
    """

    def __init__(self) -> None:
        self._handles: list[Handle] = []
        self._in_flight: tuple[
            type[BaseException] | None, BaseException | None, TracebackType | None
        ] = (None, None, None)

    def defer(self, label: str, action: Callable[[], object]) -> Handle:
        """Run `action` at the end; the label names it in messages ("unmount /x")."""
        handle = Handle(label, action)
        self._handles.append(handle)
        return handle

    def enter(self, label: str, context: AbstractContextManager[T]) -> T:
        """Enter a context manager now and leave it at the end."""
        value = context.__enter__()
        self.defer(label, lambda: context.__exit__(*self._in_flight))
        return value

    def pending(self) -> list[str]:
        """The labels of what is still held, in the order of its acquisition."""
        return [handle.label for handle in self._handles if handle.pending]

    def pop_all(self) -> Teardown:
        """Move every entry to a new Teardown: the idiom for objects that are half built."""
        moved = Teardown()
        moved._handles, self._handles = self._handles, []
        return moved

    def close(self) -> list[tuple[str, BaseException]]:
        """Run every entry, last first; returns the labels and errors of those that failed."""
        failures: list[tuple[str, BaseException]] = []
        while self._handles:
            handle = self._handles.pop()
            try:
                handle.release()
            except BaseException as e:  # a second Ctrl-C must not skip the others
                if e is self._in_flight[1]:
                    continue  # a generator's way to say that it does not swallow the error
                failures.append((handle.label, e))
        return failures

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._in_flight = (kind, error, trace)
        failures = self.close()
        if not failures:
            return
        texts = [f"{label}: {e}" for label, e in failures]
        if error is not None:
            for text in texts:
                error.add_note(f"cleanup failed: {text}")
            return
        for _, e in failures:
            if isinstance(e, Interrupted) or not isinstance(e, Exception):
                raise e
        raise CleanupFailed(texts) from failures[0][1]
