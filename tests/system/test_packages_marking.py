"""What mkinitramfs writes with the line that marks instead of compressing."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from goldsmith.packages.lent_zstd import MARK, lent

MKINITRAMFS = """#!/bin/sh
{
printf early
$compress -c "${__TMPMAINCPIO}" ||
	{ echo "E: mkinitramfs failure $compress $?" >&2; exit 1; }
} >"${outfile}" || exit 1
exit 0
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name, text in (("bin/zstd", "#!/bin/sh\necho real\n"), ("sbin/mkinitramfs", MKINITRAMFS)):
        place = tmp_path / "usr" / name
        place.parent.mkdir(parents=True)
        place.write_text(text)
        place.chmod(0o755)
    (tmp_path / "main").write_bytes(b"070701 and more")
    return tmp_path


def made(tree: Path, compress: str, main: str = "main") -> tuple[int, bytes, str]:
    """Exit code, what was written, and what was said."""
    done = subprocess.run(
        [tree / "usr/sbin/mkinitramfs"], check=False, capture_output=True, text=True,
        env={"PATH": f"{tree}/usr/bin:/usr/bin:/bin", "compress": compress,
             "__TMPMAINCPIO": str(tree / main), "outfile": str(tree / "out")},
    )  # fmt: skip
    return done.returncode, (tree / "out").read_bytes(), done.stderr


def test_what_zstd_would_compress_is_marked_and_nothing_else(tree: Path) -> None:
    with lent(tree):
        assert made(tree, "zstd -q -9") == (0, b"early" + MARK + b"070701 and more", "")
        assert made(tree, "printf %s")[:2] == (0, b"early-c" + str(tree / "main").encode())
        zstd = subprocess.run([tree / "usr/bin/zstd", "-dc"], capture_output=True, check=True)
        assert zstd.stdout == b"real\n"
    assert made(tree, "zstd -q -9")[1] == b"earlyreal\n"


def test_what_cannot_be_read_fails_as_before(tree: Path) -> None:
    with lent(tree):
        status, _, said = made(tree, "zstd -q -9", "absent")
    assert status == 1
    assert "E: mkinitramfs failure zstd -q -9 1" in said
