"""How long is waited for AWS, and what ends a wait."""

from __future__ import annotations

import pytest

from goldsmith.cloud import polling
from goldsmith.cloud.access_options import Polling
from goldsmith.cloud.polling import IMAGE, VOLUME, Patience, Waiting
from goldsmith.cloud.refusals import AwsError
from goldsmith.errors import GoldsmithError


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses; time passes by them alone."""
    waited: list[float] = []
    monkeypatch.setattr(polling, "pause", waited.append)
    monkeypatch.setattr(polling.time, "monotonic", lambda: sum(waited))
    return waited


def test_the_template_counts_before_the_environment() -> None:
    given = {"AWS_POLL_DELAY_SECONDS": "2", "AWS_MAX_ATTEMPTS": "7"}
    assert Waiting.of(None, given).patience(IMAGE) == Patience(2, 14)
    both = Polling(delay_seconds=3, max_attempts=5)
    assert Waiting.of(both, given).patience(IMAGE) == Patience(3, 15)
    assert Waiting.of(None, {}).patience(IMAGE) == Patience(15, 1800)
    assert Waiting.of(None, {"AWS_TIMEOUT_SECONDS": "6"}).patience(VOLUME) == Patience(2, 6)
    # Only a delay keeps the usual number of tries, unlike the original.
    assert Waiting.of(Polling(delay_seconds=1), {}).patience(IMAGE) == Patience(1, 120)


def test_a_variable_that_is_no_number() -> None:
    with pytest.raises(GoldsmithError, match="AWS_MAX_ATTEMPTS is 'many'"):
        Waiting.of(None, {"AWS_MAX_ATTEMPTS": "many"})


def test_what_is_ready_costs_no_pause(clock: list[float]) -> None:
    Waiting().until(IMAGE, "it", lambda: ("available", True))
    assert clock == []


def test_pauses_grow_up_to_the_longest(clock: list[float]) -> None:
    looks = iter([("pending", False)] * 12 + [("available", True)])
    Waiting(delay_s=1.0, attempts=60).until(IMAGE, "it", lambda: next(looks))
    assert clock[0] < 0.5 and clock == sorted(clock) and clock[-1] == 1.0


def test_the_end_of_patience_says_the_state(clock: list[float]) -> None:
    with pytest.raises(GoldsmithError, match="snapshot x is still pending after 3 s") as caught:
        Waiting(delay_s=1.0, attempts=3).until(IMAGE, "snapshot x", lambda: ("pending", False))
    assert "aws_polling" in (caught.value.hint or "")
    assert sum(clock) == pytest.approx(3.0)


def test_what_is_not_known_yet_is_waited_for(clock: list[float]) -> None:
    answers = iter([AwsError("D", "InvalidVolume.NotFound", "not there"), None])

    def look() -> tuple[str, bool]:
        if error := next(answers):
            raise error
        return "available", True

    Waiting().until(VOLUME, "it", look)
    assert len(clock) == 1


def test_another_refusal_is_shown_at_once(clock: list[float]) -> None:
    def look() -> tuple[str, bool]:
        raise AwsError("DescribeVolumes", "UnauthorizedOperation", "not allowed")

    with pytest.raises(AwsError, match="not allowed"):
        Waiting().until(VOLUME, "it", look)
    assert clock == []
