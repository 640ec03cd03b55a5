"""The first line of a plugin, and how the two find each other."""

import contextlib
import socket
import stat
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from goldsmith.plugin.wire.errors import ConnectionLost, HandshakeError, TimedOut
from goldsmith.plugin.wire.handshake import (
    LONGEST_LINE,
    MAGIC_COOKIE_KEY,
    MAGIC_COOKIE_VALUE,
    Handshake,
    Listener,
    connect,
    is_cookie_right,
    parse_handshake,
)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("5|unix|/tmp/packer-plugin1", Handshake("unix", "/tmp/packer-plugin1", 5, None)),
        ("5|0|unix|/tmp/p\n", Handshake("unix", "/tmp/p", 5, 0)),
        ("5|0|tcp|127.0.0.1:10000\r\n", Handshake("tcp", "127.0.0.1:10000", 5, 0)),
        ("5|unix|/tmp/a|b", Handshake("unix", "/tmp/a|b", 5, None)),
    ],
)
def test_lines_of_both_eras_are_read(line, expected):
    assert parse_handshake(line) == expected
    assert parse_handshake(expected.line()) == expected


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (":10000", "version 0 or 1"), ("1|127.0.0.1:10000", "version 0 or 1"),
        ("2|tcp|127.0.0.1:10000", "version 2 "), ("4|unix|/tmp/p", "version 4 "),
        ("6|0|unix|/tmp/p", "version 6.0 "), ("5|1|unix|/tmp/p", "version 5.1 "),
        ("5|0|udp|x", "Unknown address type: udp"), ("5|0|/tmp/p", "Unknown address type: 0"),
        ("hello", 'no plugin\'s: "hello"'), ("", 'no plugin\'s: ""'), ("5|0", "no plugin's"),
        ("5|0|tcp|nowhere", "no plugin's"), ("5|0|tcp|h:99999", "no plugin's"),
        ("x" * (LONGEST_LINE + 1), 'x"...'),
    ],
)  # fmt: skip
def test_other_lines_are_refused_in_words(line, words):
    with pytest.raises(HandshakeError) as caught:
        parse_handshake(line)
    assert words in str(caught.value)
    assert len(str(caught.value)) < 1000


@settings(deadline=None)
@given(st.text())
def test_no_line_is_too_strange(line):
    with contextlib.suppress(HandshakeError):
        parse_handshake(line)


def test_the_cookie_is_compared():
    assert is_cookie_right({MAGIC_COOKIE_KEY: MAGIC_COOKIE_VALUE})
    for wrong in ({}, {MAGIC_COOKIE_KEY: ""}, {MAGIC_COOKIE_KEY: "ä"}):
        assert not is_cookie_right(wrong)


@pytest.mark.parametrize("network", ["unix", "tcp"])
def test_a_plugin_is_found_by_its_line_once(tmp_path: Path, network):
    with Listener.open(network, directory=tmp_path) as listener:
        shown = parse_handshake(listener.handshake(None).line())
        assert shown.minor is None
        if network == "unix":
            mode = stat.S_IMODE(Path(shown.address).stat().st_mode)
            assert mode == 0o600
        hosts: list[socket.socket] = []
        thread = threading.Thread(target=lambda: hosts.append(connect(shown)))
        thread.start()
        with listener.accept(60) as connection:
            thread.join()
            hosts[0].sendall(b"x")
            assert connection.recv(1) == b"x"
            hosts[0].close()
    assert not list(tmp_path.iterdir())
    with pytest.raises(ConnectionLost, match=f"cannot connect to {network}"):
        connect(shown)


def test_a_port_in_use_is_passed_over():
    with Listener.open("tcp") as first:
        port = int(first.handshake().address.rpartition(":")[2])
        with pytest.raises(HandshakeError, match=f"no port from {port} to {port} is free"):
            Listener.open("tcp", min_port=port, max_port=port)


def test_a_host_that_does_not_come_is_not_waited_for(tmp_path: Path):
    with Listener.open(directory=tmp_path) as listener, pytest.raises(TimedOut):
        listener.accept(0.01)
    assert not list(tmp_path.iterdir())


def test_a_directory_that_is_missing_is_named(tmp_path: Path):
    with pytest.raises(HandshakeError, match="cannot listen on"):
        Listener.open(directory=tmp_path / "missing")
