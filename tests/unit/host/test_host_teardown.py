"""Everything that was acquired is given back, last first, whatever fails on the way."""

import contextlib

import pytest

from goldsmith.errors import CleanupFailed, GoldsmithError
from goldsmith.host.teardown import Teardown


@pytest.fixture
def ran():
    return []


def failing(ran, name, error):
    def action():
        ran.append(name)
        raise error

    return action


def defer(teardown, ran, *names):
    return [teardown.defer(name, lambda name=name: ran.append(name)) for name in names]


def test_entries_run_last_first(ran):
    with Teardown() as teardown:
        defer(teardown, ran, "a", "b", "c")
        assert teardown.pending() == ["a", "b", "c"]
    assert ran == ["c", "b", "a"]
    assert teardown.pending() == []


def test_an_entry_released_early_runs_once(ran):
    with Teardown() as teardown:
        _, middle, _ = defer(teardown, ran, "a", "b", "c")
        assert middle.pending
        middle.release()
        middle.release()
        assert (ran, middle.pending, teardown.pending()) == (["b"], False, ["a", "c"])
    assert ran == ["b", "c", "a"]


def test_an_early_release_that_fails_raises_and_is_not_tried_again(ran):
    with Teardown() as teardown:
        defer(teardown, ran, "a")
        handle = teardown.defer("b", failing(ran, "b", OSError("busy")))
        with pytest.raises(OSError, match="busy"):
            handle.release()
    assert ran == ["b", "a"]


def test_a_forgotten_entry_never_runs(ran):
    with Teardown() as teardown:
        first, _ = defer(teardown, ran, "a", "b")
        first.forget()
        assert teardown.pending() == ["b"]
    first.release()
    assert ran == ["b"]


def test_all_entries_run_although_some_fail(ran):
    with pytest.raises(CleanupFailed) as caught, Teardown() as teardown:
        defer(teardown, ran, "a")
        teardown.defer("unmount /b", failing(ran, "b", GoldsmithError("busy")))
        defer(teardown, ran, "c")
        teardown.defer("detach d", failing(ran, "d", OSError("gone")))
    assert ran == ["d", "c", "b", "a"]
    assert caught.value.failures == ("detach d: gone", "unmount /b: busy")
    assert isinstance(caught.value.__cause__, OSError)
    assert "goldsmith clean" in (caught.value.hint or "")


@pytest.mark.parametrize("primary", [GoldsmithError("the build failed"), KeyboardInterrupt()])
def test_the_error_in_flight_stays_the_primary_one(ran, primary):
    with pytest.raises(type(primary)) as caught, Teardown() as teardown:
        defer(teardown, ran, "a")
        teardown.defer("unmount /b", failing(ran, "b", OSError("busy")))
        teardown.defer("stop c", failing(ran, "c", KeyboardInterrupt()))
        raise primary
    assert caught.value is primary
    assert ran == ["c", "b", "a"]
    assert primary.__notes__ == ["cleanup failed: stop c: ", "cleanup failed: unmount /b: busy"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_inside_skips_no_entry_and_goes_on(ran, error):
    with pytest.raises(error), Teardown() as teardown:
        defer(teardown, ran, "a")
        teardown.defer("b", failing(ran, "b", error()))
        teardown.defer("c", failing(ran, "c", OSError("busy")))
    assert ran == ["c", "b", "a"]


def test_an_entry_may_add_entries(ran):
    with Teardown() as teardown:
        defer(teardown, ran, "a")
        teardown.defer("b", lambda: defer(teardown, ran, "late"))
    assert ran == ["late", "a"]


def test_contexts_are_entered_now_and_left_in_turn(ran):
    @contextlib.contextmanager
    def context(name):
        ran.append(f"+{name}")
        try:
            yield name.upper()
        finally:
            ran.append(f"-{name}")

    with Teardown() as teardown:
        assert teardown.enter("a", context("a")) == "A"
        defer(teardown, ran, "between")
        assert teardown.enter("b", context("b")) == "B"
    assert ran == ["+a", "+b", "-b", "between", "-a"]


def test_a_context_that_cannot_be_entered_leaves_no_entry(ran):
    @contextlib.contextmanager
    def broken():
        raise GoldsmithError("no device")
        yield

    with pytest.raises(GoldsmithError, match="no device") as caught, Teardown() as teardown:
        defer(teardown, ran, "a")
        teardown.enter("b", broken())
    assert (ran, getattr(caught.value, "__notes__", [])) == (["a"], [])


def test_what_is_half_built_is_handed_on_only_when_whole(ran):
    def build(*, fails):
        with Teardown() as teardown:
            defer(teardown, ran, "a", "b")
            if fails:
                raise GoldsmithError("half built")
            return teardown.pop_all()

    with pytest.raises(GoldsmithError):
        build(fails=True)
    assert ran == ["b", "a"]
    ran.clear()
    whole = build(fails=False)
    assert (ran, whole.pending()) == ([], ["a", "b"])
    assert whole.close() == []
    assert ran == ["b", "a"]


def test_close_tells_what_failed_and_can_be_called_again(ran):
    teardown = Teardown()
    error = OSError("busy")
    teardown.defer("a", failing(ran, "a", error))
    assert teardown.close() == [("a", error)]
    assert teardown.close() == []
    assert ran == ["a"]
