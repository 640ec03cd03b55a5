"""How a machine is to be reached: what options mean, and what is wrong with them."""

import base64

import pytest
from pydantic import ValidationError

from goldsmith.communicators.ssh.checks import check_communicator
from goldsmith.communicators.ssh.options import CommunicatorOptions, parse_tunnel
from goldsmith.errors import Severity

GOOD = {"ssh_host": "h", "ssh_username": "u", "ssh_password": "p"}
FINGERPRINT = "SHA256:" + "A" * 43
BLOB = base64.b64encode(b"\0\0\0\x0bssh-ed25519\0\0\0\x20" + b"k" * 32).decode()


def found(**options):
    """What is said of options, by where."""
    return {
        finding.path[0] if finding.path else "": finding
        for finding in check_communicator(CommunicatorOptions(**options))
    }


@pytest.mark.parametrize(
    "more",
    [{}, {"communicator": ""}, {"communicator": "ssh"}, {"ssh_port": 0}, {"ssh_pty": True},
     {"ssh_host_keys": (FINGERPRINT, FINGERPRINT + "=", f"ssh-ed25519 {BLOB} name of it")},
     {"ssh_keep_alive_interval": "-1s"}, {"ssh_read_write_timeout": "5m"},
     {"ssh_local_tunnels": ("1:h:2",), "ssh_remote_tunnels": ("1:[::1]:2",)},
     {"ssh_bastion_host": "b", "ssh_bastion_username": "u", "ssh_bastion_password": "p"}],
)  # fmt: skip
def test_good_options(more):
    assert found(**{**GOOD, **more}) == {}


@pytest.mark.parametrize(
    ("options", "where", "word"),
    [
        ({}, "ssh_host", "missing"), ({"ssh_host": "h"}, "ssh_username", "missing"),
        ({"ssh_host": "h", "ssh_username": "u"}, "", "no way to log in"),
        ({**GOOD, "ssh_agent_auth": True}, "ssh_password", "only one"),
        ({**GOOD, "ssh_bastion_host": "b"}, "ssh_bastion_host", "bastion"),
        ({**GOOD, "ssh_bastion_host": "b", "ssh_proxy_host": "p"}, "ssh_proxy_host", "only one"),
        ({**GOOD, "ssh_certificate_file": "/no/c"}, "ssh_certificate_file", ""),
        ({"ssh_host": "h", "ssh_username": "u", "ssh_private_key_file": "/no/key"},
         "ssh_private_key_file", "no such file"),
        ({"ssh_host": "h", "ssh_username": "u", "ssh_private_key_file": "/"},
         "ssh_private_key_file", "not a file"),
        ({**GOOD, "ssh_known_hosts_file": "/no/file"}, "ssh_known_hosts_file", "no such file"),
        ({**GOOD, "ssh_host_keys": ("MD5:ab",)}, "ssh_host_keys", "MD5"),
        ({**GOOD, "ssh_host_keys": ("SHA256:short",)}, "ssh_host_keys", "neither"),
        ({**GOOD, "ssh_host_keys": (f"ssh-rsa {BLOB}",)}, "ssh_host_keys", "neither"),
        ({**GOOD, "ssh_bastion_host_keys": ("x",)}, "ssh_bastion_host_keys", "neither"),
        ({**GOOD, "ssh_ciphers": ("aes128-ctr", "none-such")}, "ssh_ciphers", "none-such"),
        ({**GOOD, "ssh_key_exchange_algorithms": ("x",)}, "ssh_key_exchange_algorithms", "x"),
        ({"communicator": "winrm"}, "communicator", "winrm"),
        ({"communicator": "pigeon"}, "communicator", "pigeon"),
        ({"communicator": "none", "ssh_host": "h"}, "ssh_host", "no meaning"),
    ],
)  # fmt: skip
def test_bad_options(options, where, word):
    finding = found(**options)[where]
    assert word in finding.message
    assert finding.severity is Severity.ERROR


@pytest.mark.parametrize(
    "more", [{"winrm_host": "h"}, {"ssh_keypair_name": "k"}, {"ssh_wait_timeout": "5m"}]
)
def test_what_has_no_effect_is_a_warning(more):
    (finding,) = found(**GOOD, **more).values()
    assert finding.severity is Severity.WARNING
    assert finding.path == (next(iter(more)),)


def test_winrm_is_refused_with_what_to_do():
    finding = found(communicator="winrm", winrm_host="h")["communicator"]
    assert "OpenSSH" in finding.hint


@pytest.mark.parametrize(
    "bad",
    [{"ssh_port": 65536}, {"ssh_port": -1}, {"ssh_timeout": "x"}, {"ssh_timeout": "-1s"},
     {"ssh_file_transfer_method": "ftp"}, {"ssh_local_tunnels": ("80",)},
     {"ssh_remote_tunnels": ("a:b:c",)}, {"ssh_handshake_attempts": -1},
     {"ssh_keep_alive_interval": "soon"}, {"temporary_key_pair_type": "quantum"}],
)  # fmt: skip
def test_what_an_option_cannot_be(bad):
    with pytest.raises(ValidationError):
        CommunicatorOptions(**{**GOOD, **bad})


def test_how_long_to_wait():
    def waits(**more):
        return CommunicatorOptions(**GOOD, **more).waits_s

    assert waits() == 300
    assert waits(ssh_timeout="1m") == 60
    assert waits(ssh_wait_timeout="2m") == 120
    assert waits(ssh_timeout="1m", ssh_wait_timeout="2m") == 60
    assert waits(ssh_timeout="0s") == 300
    assert CommunicatorOptions(**GOOD, ssh_handshake_attempts=0).handshakes == 10


def test_a_tunnel():
    assert parse_tunnel("8080:localhost:80") == (8080, "localhost", 80)
    assert parse_tunnel("8080:[::1]:80") == (8080, "::1", 80)
    with pytest.raises(ValueError, match="65535"):
        parse_tunnel("70000:h:1")
