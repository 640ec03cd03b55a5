"""Several pieces of work at once."""

import threading

import pytest

from goldsmith.errors import GoldsmithError
from goldsmith.host import cancellation, parallel


def test_work_that_fails_cancels_the_rest():
    def waits(_):
        try:
            cancellation.pause(60)
        finally:
            ended.append("waits")

    def fails(_):
        raise GoldsmithError("no")

    ended = []
    with pytest.raises(GoldsmithError, match="no"):
        parallel.run_all({"waits": waits, "fails": fails} if parallel.cores() > 1
                         else {"fails": fails, "waits": waits})  # fmt: skip
    assert ended == (["waits"] if parallel.cores() > 1 else [])


def test_results_come_by_name():
    works = {str(number): lambda _, number=number: number * 2 for number in range(9)}
    assert parallel.run_all(works) == {str(number): number * 2 for number in range(9)}


def test_work_beside_a_block_is_waited_for():
    with parallel.beside(lambda: 42) as result:
        assert result() == 42


def test_work_beside_a_block_that_fails_is_cancelled():
    def waits():
        begun.set()
        try:
            cancellation.pause(60)
        finally:
            ended.append("waits")

    begun, ended = threading.Event(), []
    with pytest.raises(GoldsmithError, match="of the block"), parallel.beside(waits):
        assert begun.wait(60)
        raise GoldsmithError("of the block")
    assert ended == ["waits"]


def test_an_error_of_work_beside_a_block_is_raised_to_who_waits():
    def fails():
        raise GoldsmithError("of the work")

    with pytest.raises(GoldsmithError, match="of the work"), parallel.beside(fails) as result:
        result()
    with parallel.beside(fails):
        pass  # nobody has asked
