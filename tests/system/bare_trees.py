"""What stands in for namespaces in tests of trees in which no program runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from goldsmith.core.tree_entrance import TreeAccess


class NoEntrance:
    """Nothing is mounted in these trees, and no program runs in them."""

    def set_up(self, tree: Path, *, network: bool, enters: bool) -> dict[str, Any]:
        return {}

    def tear_down(self, tree: Path, report: Mapping[str, Any]) -> None:
        pass

    def access(self, namespace: Any, tree: Path, environment: Mapping[str, str]) -> TreeAccess:
        return TreeAccess(None, None, None, list)  # type: ignore[arg-type]


@dataclass(frozen=True)
class NoNamespace:
    report: dict[str, Any]


@contextmanager
def no_namespace(setup: Callable[[], dict[str, Any]], *, network: bool) -> Iterator[NoNamespace]:
    """In place of namespaces, which take most of the time and matter for programs only."""
    yield NoNamespace(setup())
