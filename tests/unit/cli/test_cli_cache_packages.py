"""What is kept of packages, and how much room is free once it is gone."""

from __future__ import annotations

import os
from pathlib import Path

from goldsmith.cli.cache_packages import kept_packages

CONTENT = bytes(100_000)


def test_a_file_that_answers_share_counts_for_the_last_of_them(tmp_path: Path) -> None:
    places = [tmp_path / "resolutions" / (name * 64) for name in "cab"]
    for number, place in enumerate(places):
        place.mkdir(parents=True)
        if number == 0:
            (place / "pkgcache.bin").write_bytes(CONTENT)
        else:
            os.link(places[0] / "pkgcache.bin", place / "pkgcache.bin")
        (place / "answer.json").write_text("{}")
        os.utime(place, (number + 1, number + 1))
    kept = kept_packages(tmp_path)
    assert [one.place for one in kept] == places
    *others, last = [one.size_bytes for one in kept]
    assert last >= len(CONTENT)
    assert all(size_bytes < len(CONTENT) for size_bytes in others)
