"""Memory of an upload does not grow with the image: the digests of its blocks lie in files."""

from __future__ import annotations

import sys
from pathlib import Path

from peak_memory import peak_bytes

MOST_BYTES = 200 << 20
MOST_MORE_BYTES = 8 << 20
FEW, MANY = 1 << 12, 1 << 17
# The first and the last blocks of a volume of 16 TiB, and a parent that has half of them otherwise.
UPLOAD = """
import sys
from itertools import chain
from pathlib import Path
from goldsmith.cloud.ebs_direct.delta import delta_to
from goldsmith.cloud.ebs_direct.digest_index import (
    BLOCKS_PER_GIB, DigestIndex, KnownSnapshot, read_index, write_index,
)

SIZE_GIB = 16 << 10
blocks, file = int(sys.argv[1]), Path(sys.argv[2])

def index(other):
    made = DigestIndex(SIZE_GIB)
    last = SIZE_GIB * BLOCKS_PER_GIB
    for number in chain(range(blocks // 2), range(last - blocks // 2, last)):
        made.append(number, (number + other * (number & 1)).to_bytes(32, "little"))
    return made

delta = delta_to(index(1), KnownSnapshot("snap-1", "r", index(0)))
assert len(delta.writes) == delta.equal == blocks // 2
result = delta.result
write_index(KnownSnapshot("snap-2", "r", result), file)
assert read_index(file).index.linear == result.linear
"""


def peak(blocks: int, place: Path) -> int:
    place.mkdir()
    words = [sys.executable, "-c", UPLOAD, str(blocks), str(place / "index")]
    return peak_bytes(words, place, environment={"TMPDIR": str(place)})


def test_digests_take_no_memory(tmp_path: Path) -> None:
    few, many = peak(FEW, tmp_path / "few"), peak(MANY, tmp_path / "many")
    # Five indexes of 32 bytes a block would be 20 MiB more.
    assert many - few < MOST_MORE_BYTES and many < MOST_BYTES, (few, many)
    assert not [one for one in (tmp_path / "many").iterdir() if one.name.startswith("goldsmith-")]
