"""What is left undone at the start: methods compiled late are the same ones; no plugins."""

from __future__ import annotations

import dataclasses
import pickle
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import FrozenInstanceError, replace
from typing import Any

import pytest

from goldsmith.cli.quick_start import compile_methods_late


@pytest.fixture(autouse=True)
def late(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    maker: Any = getattr(dataclasses, "_create_fn", None)
    if maker is not None:
        monkeypatch.setattr(dataclasses, "_create_fn", maker)
    compile_methods_late()
    yield


def pair(**how: bool) -> Any:
    @dataclasses.dataclass(**how)  # type: ignore[call-overload, untyped-decorator]
    class Pair:
        """Two."""

        left: int
        right: list[int] = dataclasses.field(default_factory=list)

    return Pair


@pytest.mark.parametrize("how", [{}, {"frozen": True}, {"slots": True, "frozen": True}])
def test_they_do_what_they_always_do(how: dict[str, bool]) -> None:
    kind = pair(**how)
    for _ in range(2):
        one = kind(1, right=[2])
        assert (one.left, one.right) == (1, [2])
        assert kind(1, [2]) == one != kind(1) and kind(3).right == []
        assert repr(one).endswith("Pair(left=1, right=[2])")
        assert replace(one, left=4).left == 4
        with pytest.raises(TypeError, match=r"Pair\.__init__\(\) missing 1 required .*'left'"):
            kind()
        with pytest.raises(TypeError, match="'self'"):
            kind(1, self=2)


def test_they_put_themselves_in_place_when_first_called() -> None:
    kind = pair(slots=True)
    late = kind.__init__
    kind(1)
    assert kind.__init__ is not late
    assert kind.__init__.__code__.co_varnames == ("self", "left", "right")


def test_frozen_ones_are_frozen_and_hashed() -> None:
    @dataclasses.dataclass(frozen=True, slots=True, order=True)
    class Point:
        """One."""

        x: int

    one = Point(1)
    with pytest.raises(FrozenInstanceError, match="cannot assign to field 'x'"):
        one.x = 2  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError):
        del one.x
    assert hash(one) == hash(Point(1)) and one < Point(2) and {one} == {Point(1)}


def test_subclasses_have_their_own() -> None:
    @dataclasses.dataclass(kw_only=True)
    class Base:
        """One."""

        x: int = 1

    @dataclasses.dataclass(kw_only=True)
    class Derived(Base):
        """Two."""

        y: int = 2

    class Plain(Derived):
        """No data class."""

    assert (Plain(x=3).y, Derived(y=4).x, Base().x) == (2, 1, 1)
    assert repr(Plain()) == f"{Plain.__qualname__}(x=1, y=2)"


@dataclasses.dataclass(frozen=True, slots=True)
class Kept:
    """What other processes read."""

    x: int


def test_objects_cross_pipes() -> None:
    assert pickle.loads(pickle.dumps(Kept(1))) == Kept(1)


def run_in_a_new_process(body: str) -> str:
    """What a program prints that starts quickly."""
    head = "import sys\nfrom goldsmith.cli.quick_start import start_quickly\nstart_quickly()\n"
    return subprocess.run([sys.executable, "-c", head + body], check=True, capture_output=True,
                          text=True, timeout=60).stdout  # fmt: skip


def test_options_are_checked_and_nobody_looks_for_plugins_of_pydantic() -> None:
    run_in_a_new_process("""
from goldsmith.core.options import Options
class Own(Options):
    number: int
assert Own.model_validate({"number": "3"}).number == 3
assert "importlib.metadata" not in sys.modules
""")


def test_another_pydantic_finds_what_it_wants_of_its_loader() -> None:
    printed = run_in_a_new_process("""
from pydantic.plugin import _loader
assert not hasattr(_loader, "__path__")
from pydantic.plugin._loader import PYDANTIC_ENTRY_POINT_GROUP
print(PYDANTIC_ENTRY_POINT_GROUP)
from pydantic.plugin._loader import get_plugins
print(list(get_plugins()))
""")
    assert printed == "pydantic\n[]\n"


def test_a_loader_that_is_there_stays() -> None:
    run_in_a_new_process("""
sys.modules.pop("pydantic.plugin._loader")
import pydantic.plugin._loader as whole
start_quickly()
assert sys.modules["pydantic.plugin._loader"] is whole
""")
