"""Connecting: what ends it, what is tried again, and what the error says, whatever the time."""

import asyncio
import os
import threading
from dataclasses import replace

import asyncssh
import pytest

from goldsmith.communicators.ssh import communicator
from goldsmith.communicators.ssh.background_loop import BackgroundLoop
from goldsmith.communicators.ssh.communicator import SshCommunicator
from goldsmith.communicators.ssh.connecting import connect
from goldsmith.communicators.ssh.credentials import machine_login
from goldsmith.communicators.ssh.dialing import Dialer, Line, LoginRefused
from goldsmith.communicators.ssh.host_keys import HostKeyPolicy, HostKeyRefused
from goldsmith.communicators.ssh.options import CommunicatorOptions
from goldsmith.core.communicator import DISCONNECTED, ConnectionFailed
from goldsmith.errors import GoldsmithError, Interrupted
from goldsmith.host.cancellation import Cancellation

OPTIONS = CommunicatorOptions(ssh_host="h", ssh_username="u", ssh_password="p")
KEY = asyncssh.generate_private_key("ssh-ed25519")
LONG_S = 300


class Answers(Dialer):
    """A dialer whose attempts end as the test says; the last of them for ever."""

    def __init__(self, *ends):
        super().__init__(options=OPTIONS, machine=machine_login(OPTIONS), bastion=None,
                         forwarded_agent=None)  # fmt: skip
        object.__setattr__(self, "settings", {"ends": list(ends)})

    async def dial(self, progress):
        ends = self.settings["ends"]
        end = ends.pop(0) if len(ends) > 1 else ends[0]
        if isinstance(end, Exception):
            raise end
        if end == "hangs":
            progress.reached = "h port 22"
            await asyncio.sleep(LONG_S)
        return end


def connected(wait_s, handshakes, *ends):
    return asyncio.run(connect(Answers(*ends), wait_s, handshakes))


def test_a_refused_host_key_ends_it_whatever_came_before():
    refused = HostKeyRefused("wrong key")
    with pytest.raises(HostKeyRefused):
        connected(LONG_S, 10, ConnectionFailed("nobody"), refused, "line")


def test_a_machine_that_is_not_there_yet_is_tried_again():
    assert connected(LONG_S, 10, ConnectionFailed("nobody"), "line") == "line"


def test_refused_logins_are_counted():
    refusal = LoginRefused("no")
    assert connected(LONG_S, 2, refusal, "line") == "line"
    with pytest.raises(LoginRefused):
        connected(LONG_S, 2, refusal, refusal, "line")


def test_the_error_says_what_stood_in_the_way():
    with pytest.raises(ConnectionFailed, match=r"Timeout waiting for SSH\..*nobody"):
        connected(0.01, 10, ConnectionFailed("nobody"))
    with pytest.raises(ConnectionFailed, match="handshake with h port 22 was still under way"):
        connected(0.01, 10, "hangs")


@pytest.mark.parametrize("form", ["fingerprint", "line", "file"])
def test_trusted_keys(form, tmp_path):
    line = KEY.export_public_key().decode().strip()
    known = tmp_path / "known"
    known.write_text(f"h {line}\n")
    policy = {
        "fingerprint": HostKeyPolicy((KEY.get_fingerprint(),)),
        "line": HostKeyPolicy((line,)),
        "file": HostKeyPolicy((), known),
    }[form]
    public = KEY.convert_to_public()
    listed = policy.known("h", "127.0.0.1", None)[0]
    assert policy.is_pinned(public) or public in listed
    other = asyncssh.generate_private_key("ssh-ed25519").convert_to_public()
    assert not policy.is_pinned(other) and other not in listed
    assert not policy.trusts_any
    assert HostKeyPolicy().trusts_any and HostKeyPolicy().known is None


class Asking(asyncssh.SSHServer):
    """Asks two questions, then tells a notice."""

    def begin_auth(self, username):
        return True

    def kbdint_auth_supported(self):
        return True

    def get_kbdint_challenge(self, username, lang, submethods):
        return "", "", "", [("First:", False), ("Second:", False)]

    def validate_kbdint_response(self, username, responses):
        return list(responses) == ["p", "p"]


def test_questions_are_answered_with_the_password():
    async def main():
        server = await asyncssh.create_server(Asking, "127.0.0.1", 0, server_host_keys=[KEY])
        options = OPTIONS.model_copy(
            update={"ssh_host": "127.0.0.1", "ssh_port": server.get_port()}
        )
        dialer = Dialer(options=options, machine=machine_login(options), bastion=None,
                        forwarded_agent=None)  # fmt: skip
        line = await connect(dialer, LONG_S, 1)
        await line.close()
        wrong = replace(dialer, machine=replace(dialer.machine, password="q"))
        with pytest.raises(LoginRefused, match="with its password"):
            await connect(wrong, LONG_S, 1)
        server.close()
        await server.wait_closed()

    asyncio.run(main())


@pytest.mark.parametrize(
    ("given", "known"),
    [({"ssh_ciphers": ("aes128-ctr", "no-such")}, None),
     ({"ssh_key_exchange_algorithms": ("no-such",)}, None), ({}, "a\n")],
)  # fmt: skip
def test_what_no_machine_can_be_reached_with_is_not_tried_again(given, known, tmp_path):
    async def main():
        server = await asyncssh.create_server(Asking, "127.0.0.1", 0, server_host_keys=[KEY])
        wanted = {"ssh_host": "127.0.0.1", "ssh_port": server.get_port(), **given}
        if known is not None:
            (tmp_path / "known").write_text(known)
            wanted["ssh_known_hosts_file"] = str(tmp_path / "known")
        options = OPTIONS.model_copy(update=wanted)
        dialer = Dialer(options=options, machine=machine_login(options), bastion=None,
                        forwarded_agent=None)  # fmt: skip
        with pytest.raises(GoldsmithError) as caught:
            await connect(dialer, LONG_S, 1)
        server.close()
        await server.wait_closed()
        return caught.value

    error = asyncio.run(main())
    assert not isinstance(error, ConnectionFailed)
    assert "cannot be tried" in str(error) and "ssh_ciphers" in (error.hint or "")


class Breaking(SshCommunicator):
    """A communicator whose commands take the connection along."""

    def __init__(self):
        dialer = Dialer(options=OPTIONS, machine=machine_login(OPTIONS), bastion=None,
                        forwarded_agent=None)  # fmt: skip
        self.options, self._dialer = OPTIONS, dialer

    def start(self, command, *, on_line, env=None, timeout_s=None):
        return DISCONNECTED


class Stuck:
    """A connection whose other end does not say that it has closed."""

    aborted = False

    def close(self):
        pass

    async def wait_closed(self):
        await asyncio.sleep(LONG_S)

    def abort(self):
        self.aborted = True


@pytest.mark.parametrize("way", ["timeout", "cancelled"])
def test_what_does_not_close_is_aborted_with_the_bastion(way, monkeypatch):
    monkeypatch.setattr(communicator, "CLOSE_S", 0.01 if way == "timeout" else LONG_S)
    line = Line(Stuck(), Stuck())

    async def main():
        machine = Breaking()
        machine._line = line
        closing = asyncio.create_task(machine._close())
        if way == "cancelled":
            await asyncio.sleep(0)
            closing.cancel()
        await asyncio.wait([closing])

    asyncio.run(main())
    assert line.connection.aborted and line.below.aborted


def test_a_connection_that_is_lost_decides_nothing():
    with pytest.raises(ConnectionFailed, match="lost while 'rm -f /x' ran"):
        Breaking().remove("/x")
    with pytest.raises(ConnectionFailed, match="lost while 'test -d /x' ran"):
        Breaking().is_directory("/x")


def test_a_loop_gives_results_and_errors_and_ends():
    async def fails():
        raise GoldsmithError("no")

    before = threading.active_count()
    descriptors = len(os.listdir("/proc/self/fd"))
    with BackgroundLoop("test") as loop:
        assert loop.call(asyncio.sleep(0, "done")) == "done"
        with pytest.raises(GoldsmithError, match="no"):
            loop.call(fails())
    assert threading.active_count() == before
    assert len(os.listdir("/proc/self/fd")) == descriptors


def test_an_interrupt_cancels_what_the_loop_does():
    ended = threading.Event()
    cancellation = Cancellation()

    async def waits():
        try:
            threading.Thread(target=cancellation.cancel, args=("SIGINT",)).start()
            await asyncio.sleep(LONG_S)
        finally:
            ended.set()

    with BackgroundLoop("test") as loop, cancellation.installed():
        with pytest.raises(Interrupted):
            loop.call(waits())
        assert ended.is_set()
        # Cleanup goes on after it.
        assert loop.call(asyncio.sleep(0, "cleaned")) == "cleaned"
    cancellation.close()


def test_who_hurries_does_not_wait_for_what_does_not_end():
    cancellation, may_end = Cancellation(), threading.Event()

    async def lingers():
        cancellation.cancel("SIGINT")
        try:
            await asyncio.sleep(LONG_S)
        finally:
            cancellation.cancel("SIGINT")
            await asyncio.to_thread(may_end.wait)

    with BackgroundLoop("test") as loop, cancellation.installed():
        with pytest.raises(Interrupted):
            loop.call(lingers())
        assert not may_end.is_set()
        may_end.set()
    cancellation.close()


def test_a_time_limit_cancels_what_the_loop_does():
    cancellation = Cancellation()
    with BackgroundLoop("test") as loop, cancellation.installed():
        with cancellation.limit(0.01, GoldsmithError("too long")):
            with pytest.raises(GoldsmithError, match="too long"):
                loop.call(asyncio.sleep(LONG_S))
    cancellation.close()
