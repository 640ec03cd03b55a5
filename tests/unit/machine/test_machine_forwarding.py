"""Forwarded ports: read strictly, on the loopback address only, refused when they are taken."""

import socket

import pytest

from goldsmith.errors import GoldsmithError, UsageError
from goldsmith.machine.forwarding import (
    Forward,
    check_forwards,
    network_arguments,
    parse_forward,
)


@pytest.mark.parametrize("text", ["2222:22", " 2222:22 ", "02222:022"])
def test_two_ports_are_read(text):
    assert parse_forward(text) == Forward(2222, 22)


@pytest.mark.parametrize(
    "text",
    ["", "22", "0:22", "2222:0", "65536:22", "2222:65536", "-1:22", "a:b", "2222:22:1",
     "0.0.0.0:2222:22", "2222:22,id=x", "2222-:22", "٢:22222222"],
)  # fmt: skip
def test_anything_else_is_a_usage_error(text):
    with pytest.raises(UsageError) as caught:
        parse_forward(text)
    assert "2222:22" in (caught.value.hint or "")


def test_without_forwards_there_is_no_network():
    assert network_arguments((), outward=False) == ("-nic", "none")


def test_forwards_do_not_let_the_machine_out():
    _, user, *_ = network_arguments((Forward(2222, 22), Forward(8080, 80)), outward=False)
    assert user == ("user,id=network,restrict=on,hostfwd=tcp:127.0.0.1:2222-:22,"
                    "hostfwd=tcp:127.0.0.1:8080-:80")  # fmt: skip
    assert "restrict=off" in network_arguments((), outward=True)[1]


def test_a_port_that_is_taken_or_named_twice_is_refused():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(GoldsmithError, match=f"port {port} .*in use"):
            check_forwards([Forward(port, 22)])
    check_forwards([Forward(port, 22)])
    with pytest.raises(UsageError, match="twice"):
        check_forwards([Forward(port, 22), Forward(port, 23)])
