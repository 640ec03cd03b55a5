"""Processes of plugins: started on demand, gone for good, whatever the plugin does."""

from __future__ import annotations

import io
import os
import signal
import threading
import time
from contextlib import suppress

import pytest
from plugin_programs import processes_naming, python_program

from goldsmith.plugin import this_host
from goldsmith.plugin.client import (
    MAGIC_COOKIE_KEY,
    MAGIC_COOKIE_VALUE,
    Client,
    ClientConfig,
    cleanup_clients,
)
from goldsmith.plugin.client.client import PluginError
from goldsmith.plugin.remote.places import ComponentPlace
from goldsmith.plugin.remote.session import Use
from goldsmith.plugin.services import calls

DEADLINE_S = 60.0
GOOD = """\
import sys
from goldsmith.plugin import NoOptions, PluginSet, Provisioner


class Works(Provisioner[NoOptions]):
    def provision(self, ui, communicator, data):
        ui.say("works")


sys.stderr.write("a line for the log\\n")
PluginSet(provisioners={"": Works}).serve([sys.argv[0], "start", "provisioner",
                                           "-packer-default-plugin-name-"])
"""


@pytest.fixture
def client(tmp_path):
    """Makes clients of small programs, which are killed at the end."""
    made = []

    def make(body, **config):
        path = python_program(tmp_path / f"packer-plugin-{len(made)}", body)
        one = Client(ClientConfig(command=(str(path),), **config))
        made.append(one)
        return one

    yield make
    for one in made:
        one.kill()
    deadline_s = time.monotonic() + DEADLINE_S
    while left := processes_naming(str(tmp_path)):
        assert time.monotonic() < deadline_s, left
        time.sleep(0.05)


def test_start_is_idempotent_and_an_error_after_the_end(client):
    one = client(GOOD)
    assert one.pid is None
    assert not one.exited()
    address = one.start()
    assert address
    assert one.start() == address
    assert not one.exited()
    one.kill()
    one.kill()
    assert one.exited()
    with pytest.raises(PluginError, match="killed"):
        one.start()
    with pytest.raises(PluginError, match="killed"):
        one.provisioner()


def test_a_component_starts_its_process_on_demand(client):
    lines, told = [], []
    one = client(GOOD, stderr=lines.append, log=told.append)
    assert one.provisioner().config_spec().entries == {}
    one.kill()
    assert "a line for the log" in lines
    assert "packer-plugin-0 plugin: a line for the log" in told


def test_only_managed_ones_are_cleaned_up(client):
    managed, own = client(GOOD, managed=True), client(GOOD)
    managed.start()
    own.start()
    cleanup_clients()
    assert managed.exited()
    assert not own.exited()
    cleanup_clients()


def test_the_cookie_and_the_ports_are_in_the_environment(client, tmp_path):
    one = client(
        "import os\n"
        f"assert os.environ[{MAGIC_COOKIE_KEY!r}] == {MAGIC_COOKIE_VALUE!r}\n"
        "raise SystemExit(int(os.environ['PACKER_PLUGIN_MIN_PORT']) - 12000 + 40)\n",
        min_port=12002,
    )
    with pytest.raises(PluginError, match="status 42"):
        one.start()


@pytest.mark.parametrize(
    ("body", "wanted"),
    [
        ("raise SystemExit(7)", "exited (status 7)"),
        ("import os; os.kill(os.getpid(), 9)", "exited (signal 9)"),
        ("print('hello', flush=True); import time; time.sleep(600)", "no plugin's"),
        ("print('4|unix|/x', flush=True); import time; time.sleep(600)", "version 4"),
        ("print('5|0|udp|x', flush=True); import time; time.sleep(600)", "address type: udp"),
        ("print('5|0|unix|/none/x', flush=True); import time; time.sleep(600)", "/none/x"),
        ("import os\nwhile True: os.write(1, b'\\0' * 65536)", "no address"),
        ("import time; time.sleep(600)", "within 2 s"),
        ("import os; os.close(1); import time; time.sleep(600)", "within 2 s"),
        ("import os\nwhile True: os.write(2, b'noise\\n' * 10000)", "within 2 s"),
        ("import os\nwhile True: os.write(2, b'noise' * 10000)", "within 2 s"),
        (
            "import os, time\nif not os.fork(): time.sleep(600)\nraise SystemExit(3)",
            "exited (status 3)",
        ),
    ],
)
def test_what_is_no_plugin_is_one_error(client, body, wanted):
    one = client(body, start_timeout_s=2.0)
    with pytest.raises(PluginError) as raised:
        one.start()
    text = str(raised.value)
    assert text.startswith("plugin packer-plugin-0, start: ")
    assert wanted in text
    assert one.exited()


def test_a_process_that_listens_and_says_nothing_does_not_hang_the_caller(client):
    one = client(
        "import os, socket, time\ns = socket.socket(socket.AF_UNIX)\n"
        "p = f'/tmp/goldsmith-silent-{os.getpid()}'\ns.bind(p)\ns.listen(1)\n"
        "print(f'5|0|unix|{p}', flush=True)\nc, _ = s.accept()\nos.unlink(p)\n"
        "c.recv(100)\nc.sendall(b'HTTP/1.1 400 Bad Request\\r\\n\\r\\n')\ntime.sleep(600)\n"
    )
    with pytest.raises(PluginError, match="start"):
        one.provisioner()


def test_a_plugin_that_dies_in_a_call_is_named_with_its_status(client):
    one = client(GOOD)
    place = ComponentPlace(kind="provisioner", name="works", label="packer-plugin-0")
    use = Use(place, one.provisioner(), one)
    os.kill(one.pid, 9)
    with pytest.raises(PluginError) as raised, use.phase("prepare"):
        use.component.prepare([{}])
    assert "plugin packer-plugin-0, prepare: the plugin ended (signal 9)" in str(raised.value)


def test_another_thread_may_kill_what_never_starts(client):
    one = client("import time; time.sleep(600)")
    errors = []

    def start():
        try:
            one.start()
        except PluginError as error:
            errors.append(str(error))

    thread = threading.Thread(target=start)
    thread.start()
    deadline_s = time.monotonic() + DEADLINE_S
    while one.pid is None:
        assert time.monotonic() < deadline_s
        time.sleep(0.01)
    one.kill()
    thread.join(DEADLINE_S)
    assert not thread.is_alive()
    assert len(errors) == 1


def test_children_of_a_plugin_end_with_it(client, tmp_path):
    one = client(
        "import subprocess, sys\nsubprocess.Popen([sys.executable, '-c', "
        "'import signal, time; signal.signal(15, 1); time.sleep(600)', __file__])\n" + GOOD
    )
    one.start()
    assert len(processes_naming(str(tmp_path))) >= 2
    one.kill()
    assert processes_naming(str(tmp_path)) == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"command": ()},
        {"command": ("x",), "min_port": 0},
        {"command": ("x",), "min_port": 20, "max_port": 10},
        {"command": ("x",), "max_port": 70_000},
        {"command": ("x",), "start_timeout_s": 0},
    ],
)
def test_a_configuration_that_means_nothing_is_refused(wrong):
    with pytest.raises(ValueError, match=r"."):
        ClientConfig(**wrong)


def test_commands_on_this_host_end_with_the_plugin(client, tmp_path):
    command = f": {tmp_path}/command; sleep 600"
    one = client(
        "from goldsmith.plugin import this_host\nstarted = []\n"
        + GOOD.replace(
            "    def provision",
            f"    def check(self):\n        started.append(this_host().start({command!r}))\n"
            "        return ()\n\n    def provision",
        )
    )
    one.provisioner().prepare([{}])
    deadline_s = time.monotonic() + DEADLINE_S
    while not processes_naming(f"{tmp_path}/command"):
        assert time.monotonic() < deadline_s
        time.sleep(0.05)
    one.kill()
    deadline_s = time.monotonic() + DEADLINE_S
    while processes_naming(f"{tmp_path}/command"):
        assert time.monotonic() < deadline_s
        time.sleep(0.05)


def test_a_command_on_this_host_ends_though_a_daemon_holds_its_output(tmp_path):
    out = io.BytesIO()
    assert this_host(tmp_path).start("setsid sleep 600 & echo $!; exit 3", stdout=out).wait() == 3
    with suppress(ProcessLookupError):
        os.kill(int(out.getvalue()), 9)


def test_a_plugin_that_stops_is_named_with_the_phase(client, monkeypatch):
    monkeypatch.setattr(calls, "ANSWER_WITHIN_S", 1.0)
    one = client(GOOD)
    place = ComponentPlace(kind="provisioner", name="works", label="packer-plugin-0")
    use = Use(place, one.provisioner(), one)
    os.kill(one.pid, signal.SIGSTOP)
    with pytest.raises(PluginError) as raised, use.phase("prepare"):
        use.component.prepare([{}])
    assert "plugin packer-plugin-0, prepare: Provisioner.Prepare" in str(raised.value)
