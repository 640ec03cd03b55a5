"""`goldsmith block-device`, as hooks call it: how its verbs end."""

import os

import pytest

from goldsmith.cli import block_device
from goldsmith.errors import Interrupted


@pytest.fixture
def parameters(tmp_path):
    place = tmp_path / "params.yaml"
    place.write_text("config: /no/such.yaml\nimage-dir: i\nmount-base: m\nbuild-dir: b\n")
    return place


def ends(capsys, *words):
    return block_device.run(list(words), False), capsys.readouterr().err


def test_without_parameters_it_is_usage(capsys, monkeypatch):
    monkeypatch.delenv("DIB_BLOCK_DEVICE_PARAMS_YAML", raising=False)
    assert ends(capsys, "init")[0] == 2
    assert ends(capsys, "nosuch")[0] == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["init"], "/no/such.yaml"),
        (["getval", "nosuch"], "Invalid symbol [nosuch]"),
        (["getval", "image-path"], "there is no disk yet"),
        (["cleanup"], "block-device create"),
    ],
)
def test_what_goes_wrong_ends_with_1(capsys, parameters, words, said):
    status, told = ends(capsys, "--params", str(parameters), *words)
    assert (status, said in told) == (1, True), told


def test_so_does_what_the_host_lacks(capsys, parameters, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    status, told = ends(capsys, "--params", str(parameters), "create")
    assert (status, "root" in told) == (1, True), told


def test_a_signal_is_no_error_of_the_verb(capsys, parameters, monkeypatch):
    def stopped(*_):
        raise Interrupted

    monkeypatch.setattr(block_device, "_run", stopped)
    with pytest.raises(Interrupted):
        ends(capsys, "--params", str(parameters), "create")
