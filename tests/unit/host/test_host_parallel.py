"""Several pieces of work at once."""

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
