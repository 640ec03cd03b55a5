"""An interrupt that a library has made into an error of its own is one all the same."""

from __future__ import annotations

import signal

import pytest

from goldsmith.cli import build
from goldsmith.cli.flags import read_flags
from goldsmith.cli.output import choose_renderer
from goldsmith.errors import Interrupted


def run(monkeypatch: pytest.MonkeyPatch, body: object) -> int:
    monkeypatch.setattr(build, "_build", body)
    flags = read_flags(build.FLAGS, ["t.pkr.hcl"])
    return build.build_with(flags, choose_renderer(flags, machine_readable=False))


def test_a_library_that_wraps_it_hides_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def body(*_: object) -> int:
        try:
            signal.raise_signal(signal.SIGTERM)
        except Interrupted as e:
            raise ValueError("while a validator was made") from e
        return 0

    assert run(monkeypatch, body) == 1
    told = capsys.readouterr()
    assert "Traceback" not in told.out + told.err and "ancel" in told.out + told.err


def test_an_error_without_one_is_a_defect(monkeypatch: pytest.MonkeyPatch) -> None:
    def body(*_: object) -> int:
        raise ValueError("a defect")

    with pytest.raises(ValueError, match="a defect"):
        run(monkeypatch, body)
