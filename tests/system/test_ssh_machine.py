"""Provisioning a machine by SSH: a real sshd on this host, and what it finds out about itself."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

import pytest
from peak_memory import peak_bytes
from real_sshd import KINDS, free_port, make_key, running_sshd, wait_for_banner

pytestmark = pytest.mark.root

LONG_S = 120
BIG_BYTES = 96 << 20


@pytest.fixture(scope="module")
def sshd(tmp_path_factory):
    with running_sshd(tmp_path_factory.mktemp("ssh") / "sshd") as server:
        yield server


@pytest.fixture
def build(goldsmith, tmp_path):
    """Builds a null source with these options and provisioners."""

    def run(options, *provisioners, env=None, flags=()):
        write(tmp_path, options, *provisioners)
        return goldsmith("build", *flags, "t.json", env=env, timeout_s=300)

    return run


def write(place, options, *provisioners):
    template = {"builders": [{"type": "null", **options}], "provisioners": list(provisioners)}
    (place / "t.json").write_text(json.dumps(template))


def shell(*lines, **more):
    return {"type": "shell", "inline": list(lines), **more}


@pytest.mark.parametrize("method", ["scp", "sftp"])
def test_files_and_commands_reach_the_machine(sshd, build, tmp_path, method):
    there, source = tmp_path / "there", tmp_path / "source"
    there.mkdir()
    (source / "below").mkdir(parents=True)
    (source / "below/a b").write_text("deep")
    (source / "run").write_text("#!/bin/sh\n")
    (source / "run").chmod(0o755)
    (source / "link").symlink_to("run")
    result = build(
        sshd.options(ssh_file_transfer_method=method),
        shell(f"mkdir {there}/in", 'echo "told $A" >&2', environment_vars=["A=it's"]),
        {"type": "file", "source": "source/run", "destination": f"{there}/in"},
        {"type": "file", "source": "source/run", "destination": f"{there}/named"},
        {"type": "file", "source": "source", "destination": f"{there}"},
        {"type": "file", "source": "source/", "destination": f"{there}/new"},
        {"type": "file", "content": "text\n", "destination": f"{there}/it's text"},
        {"type": "file", "direction": "download", "source": f"{there}/it's text",
         "destination": "back/"},
        {"type": "file", "direction": "download", "source": f"{there}/source",
         "destination": "whole"},
        {"type": "file", "direction": "download", "source": f"{there}/source/",
         "destination": "content"},
        shell("echo {{build `Host`}} {{build `Port`}} {{build `User`}} {{build `ConnType`}}"),
    )  # fmt: skip
    assert result.status == 0, result
    assert "told it's" in result.stdout
    assert f"127.0.0.1 {sshd.port} {sshd.user} ssh" in result.stdout
    assert (there / "in/run").stat().st_mode & 0o777 == 0o755
    assert (there / "named").read_text() == "#!/bin/sh\n"
    assert (there / "source/below/a b").read_text() == "deep"
    assert (there / "new/below/a b").read_text() == "deep"
    assert (there / "new/link").read_text() == "#!/bin/sh\n"
    assert (tmp_path / "back/it's text").read_text() == "text\n"
    assert (tmp_path / "whole/source/below/a b").read_text() == "deep"
    assert (tmp_path / "content/run").stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize("method", ["scp", "sftp"])
def test_what_cannot_be_moved_is_said(sshd, build, tmp_path, method):
    options = sshd.options(ssh_file_transfer_method=method)
    up = {"type": "file", "content": "x", "destination": f"{tmp_path}/no/such/f"}
    down = {"type": "file", "direction": "download", "source": "/no/such", "destination": "f"}
    for provisioner, named in ((up, "no/such"), (down, "/no/such")):
        result = build(options, provisioner)
        assert result.status == 1
        assert named in result.stdout and "o such file" in result.stdout, result


@pytest.mark.parametrize("method", ["scp", "sftp"])
def test_a_large_file_takes_no_memory(sshd, tmp_path, method):
    digest = hashlib.sha256()
    with (tmp_path / "big").open("wb") as file:
        for _ in range(BIG_BYTES >> 20):
            piece = os.urandom(1 << 20)
            digest.update(piece)
            file.write(piece)
    write(tmp_path, sshd.options(ssh_file_transfer_method=method),
          {"type": "file", "source": "big", "destination": f"{tmp_path}/there"},
          {"type": "file", "direction": "download", "source": f"{tmp_path}/there",
           "destination": "back"})  # fmt: skip
    words = [sys.executable, "-P", "-m", "goldsmith", "build", "t.json"]
    most = peak_bytes(words, tmp_path, environment={"GOLDSMITH_CACHE_DIR": str(tmp_path / "state")})
    back = hashlib.sha256((tmp_path / "back").read_bytes())
    assert back.hexdigest() == digest.hexdigest()
    assert most < 150 << 20


@pytest.mark.parametrize(
    ("form", "kind"), [("fingerprint", "rsa"), ("public_key", "ecdsa"), ("known_hosts", "rsa")]
)
def test_a_trusted_host_key_is_accepted(sshd, build, tmp_path, kind, form):
    if form == "known_hosts":
        known = tmp_path / "known"
        known.write_text(f"[127.0.0.1]:{sshd.port} {sshd.public_key(kind)}\n")
        trust = {"ssh_known_hosts_file": str(known)}
    else:
        trust = {"ssh_host_keys": [getattr(sshd, form)(kind)]}
    result = build(sshd.options(**trust), shell("echo in"))
    assert result.status == 0, result


@pytest.mark.parametrize("form", ["fingerprint", "public_key", "known_hosts", "empty"])
def test_a_wrong_host_key_is_refused_at_once(sshd, build, tmp_path, form):
    other = make_key(tmp_path / "other").with_suffix(".pub")
    line = other.read_text().strip()
    known = tmp_path / "known"
    known.write_text("" if form == "empty" else f"[127.0.0.1]:{sshd.port} {line}\n")
    if form in ("known_hosts", "empty"):
        trust = {"ssh_known_hosts_file": str(known)}
    elif form == "public_key":
        trust = {"ssh_host_keys": [line]}
    else:
        trust = {"ssh_host_keys": ["SHA256:" + "A" * 43]}
    result = build(sshd.options(**trust), shell("echo in"))
    assert result.status == 1
    assert "is not a trusted one" in result.stdout, result
    assert any(sshd.fingerprint(kind) in result.stdout for kind in KINDS)
    assert "Timeout" not in result.stdout


@pytest.mark.parametrize("kind", KINDS)
def test_a_machine_with_a_single_key_is_judged_by_it(build, tmp_path, kind):
    other = make_key(tmp_path / "other", "rsa" if kind == "ed25519" else "ed25519")
    wrong = other.with_suffix(".pub").read_text().strip()
    with running_sshd(tmp_path / "single", [kind]) as single:
        for form in ("fingerprint", "public_key"):
            trust = [getattr(single, form)(kind)]
            result = build(single.options(ssh_host_keys=trust), shell("echo in"))
            assert result.status == 0, (form, result)
        for pin in ("SHA256:" + "A" * 43, wrong):
            result = build(single.options(ssh_host_keys=[pin]), shell("echo in"))
            assert result.status == 1
            assert "is not a trusted one" in result.stdout, (pin, result)
            assert single.fingerprint(kind) in result.stdout


def test_a_machine_that_is_not_pinned_is_logged_with_its_key(sshd, build, tmp_path):
    log = tmp_path / "log"
    result = build(sshd.options(), env={"PACKER_LOG": "1", "PACKER_LOG_PATH": str(log)})
    assert result.status == 0, result
    assert "was not checked" in log.read_text()


def test_a_key_that_is_not_let_in(sshd, build, tmp_path):
    key = make_key(tmp_path / "stranger")
    result = build(sshd.options(ssh_private_key_file=str(key), ssh_handshake_attempts=2))
    assert result.status == 1
    assert f"does not let {sshd.user} in with its key" in result.stdout, result


def test_an_encrypted_key_is_refused_with_a_remedy(sshd, build, tmp_path):
    key = make_key(tmp_path / "locked", passphrase="secret words")
    result = build(sshd.options(ssh_private_key_file=str(key)))
    assert result.status == 1
    assert "encrypted with a passphrase" in result.stdout, result
    assert "ssh-add" in result.stdout


def test_a_file_that_is_no_key(sshd, build, tmp_path):
    (tmp_path / "text").write_text("no key\n")
    result = build(sshd.options(ssh_private_key_file=str(tmp_path / "text")))
    assert result.status == 1
    assert "is no private key" in result.stdout, result


def test_a_certificate_lets_in(sshd, build, tmp_path):
    key = make_key(tmp_path / "certified")
    subprocess.run(
        ["ssh-keygen", "-q", "-s", str(sshd.place / "authority"), "-I", "test", "-n", sshd.user,
         str(key.with_suffix(".pub"))], check=True,
    )  # fmt: skip
    options = sshd.options(ssh_private_key_file=str(key), ssh_handshake_attempts=1)
    assert build(options).status == 1
    certificate = str(tmp_path / "certified-cert.pub")
    result = build({**options, "ssh_certificate_file": certificate}, shell("echo in"))
    assert result.status == 0, result
    result = build({**options, "ssh_certificate_file": str(key)})
    assert "is no certificate of the key" in result.stdout, result


@contextlib.contextmanager
def agent(place, *keys):
    path = place / "agent"
    running = subprocess.Popen(
        ["ssh-agent", "-D", "-a", str(path)], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )
    try:
        environment = {**os.environ, "SSH_AUTH_SOCK": str(path)}
        # 1 says that an agent answers, and has no keys.
        listing = partial(subprocess.run, ["ssh-add", "-l"], env=environment, capture_output=True)
        wait_until(lambda: listing(check=False).returncode == 1)
        subprocess.run(["ssh-add", "-q", *map(str, keys)], env=environment, check=True)
        yield {"SSH_AUTH_SOCK": str(path)}
    finally:
        running.terminate()
        running.wait()


def wait_until(happens):
    deadline_s = time.monotonic() + LONG_S
    while not happens():
        assert time.monotonic() < deadline_s
        time.sleep(0.05)


def test_the_agent_lets_in_and_is_lent(sshd, build, tmp_path):
    options = sshd.options(ssh_agent_auth=True)
    del options["ssh_private_key_file"]
    assert "SSH_AUTH_SOCK is not set" in build(options).stdout
    lent = "lent=${SSH_AUTH_SOCK:-none}."
    with agent(tmp_path, sshd.key) as env:
        result = build(options, shell(f'echo "{lent}"', "ssh-add -l"), env=env)
        kept = build({**options, "ssh_disable_agent_forwarding": True},
                     shell(f'echo "{lent}"'), env=env)  # fmt: skip
    assert result.status == 0, result
    assert "lent=/" in result.stdout and "(ED25519)" in result.stdout
    assert "lent=none." in kept.stdout, kept


def test_a_bastion_leads_to_the_machine(sshd, build, tmp_path):
    through = {
        "ssh_bastion_host": "127.0.0.1", "ssh_bastion_port": sshd.port,
        "ssh_bastion_username": sshd.user, "ssh_bastion_private_key_file": str(sshd.key),
    }  # fmt: skip
    result = build(sshd.options(**through), shell("echo $SSH_CONNECTION"))
    assert result.status == 0, result
    wrong = {"ssh_bastion_host_keys": ["SHA256:" + "A" * 43]}
    refused = build(sshd.options(**through, **wrong))
    assert "is not a trusted one" in refused.stdout, refused


def test_a_proxy_leads_to_the_machine(sshd, build, tmp_path):
    port = free_port()
    proxy = subprocess.Popen(
        ["ssh", "-N", "-D", f"127.0.0.1:{port}", "-p", str(sshd.port), "-i", str(sshd.key), "-F",
         "none", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
         f"{sshd.user}@127.0.0.1"], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        wait_until(lambda: is_open(port))
        options = sshd.options(ssh_proxy_host="127.0.0.1", ssh_proxy_port=port)
        result = build(options, shell("echo in"))
    finally:
        proxy.terminate()
        proxy.wait()
    assert result.status == 0, result


def is_open(port):
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 30):
        return True
    return False


def test_tunnels_lead_both_ways(sshd, build, tmp_path):
    there, here = free_port(), free_port()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]

        def answer():
            for _ in range(2):
                with listening.accept()[0] as one:
                    one.sendall(b"from the tunnel")

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        ask = "import socket; print(socket.create_connection(('localhost', {})).recv(99).decode())"
        result = build(
            sshd.options(ssh_remote_tunnels=[f"{there}:127.0.0.1:{port}"],
                         ssh_local_tunnels=[f"{here}:127.0.0.1:{port}"]),
            shell(f'python3 -c "{ask.format(there)}"'),
            {"type": "shell-local", "inline": [f'python3 -c "{ask.format(here)}"']},
        )  # fmt: skip
        assert result.status == 0, result
        thread.join(LONG_S)
    assert result.stdout.count("from the tunnel") == 2


CUT = (
    "p=$$; until grep -q '^sshd: .*@notty' /proc/$p/cmdline; do"
    " p=$(ps -o ppid= -p $p | tr -d ' '); [ $p -gt 1 ] || exit 5; done; kill -9 $p"
)
"""Ends the session's own sshd, which is found among the parents of the script."""


def test_a_connection_that_is_cut_is_made_anew(sshd, build):
    result = build(
        sshd.options(), shell(CUT, "sleep 100", expect_disconnect=True), shell("echo back again"),
        {"type": "file", "content": "x", "destination": "/dev/null"},
    )  # fmt: skip
    assert result.status == 0, result
    assert "back again" in result.stdout


def test_a_connection_that_is_cut_unexpectedly_fails(sshd, build):
    result = build(sshd.options(), shell(CUT, "sleep 100"))
    assert result.status == 1
    assert "Script disconnected unexpectedly" in result.stdout, result
    accepted = build(sshd.options(), shell(CUT, "sleep 100", valid_exit_codes=[0, 2300218]))
    assert accepted.status == 0, accepted


def test_status_signal_and_terminal(sshd, build):
    result = build(
        sshd.options(),
        shell("exit 7", valid_exit_codes=[7]),
        shell("test ! -t 1", "read x && exit 1 || true"),
        shell("kill -KILL $$", valid_exit_codes=[137]),
        shell("kill -TERM $$", valid_exit_codes=[143]),
    )
    assert result.status == 0, result
    terminal = build(sshd.options(ssh_pty=True), shell("test -t 0", "test -t 1", "echo at a tty"))
    assert terminal.status == 0, terminal
    assert "at a tty" in terminal.stdout
    failed = build(sshd.options(), shell("exit 3"))
    assert "Script exited with non-zero exit status: 3" in failed.stdout, failed


@pytest.mark.parametrize("way", ["interrupt", "timeout"])
def test_what_runs_there_ends_with_the_build(sshd, goldsmith, tmp_path, way):
    pids = tmp_path / "pids"
    script = shell(f"echo $$ > {pids}.new", "sleep 1000 &", f"echo $! >> {pids}.new",
                   f"mv {pids}.new {pids}", "wait")  # fmt: skip
    if way == "timeout":
        script["timeout"] = "30s"
    write(tmp_path, sshd.options(), script)
    with goldsmith.start("build", "t.json") as running:
        wait_until(pids.exists)
        if way == "interrupt":
            running.send_signal(signal.SIGINT)
        stdout, _ = running.communicate(timeout=LONG_S)
    assert running.returncode == 1
    assert ("interrupted" in stdout) if way == "interrupt" else ("did not end within" in stdout)
    for pid in pids.read_text().split():
        wait_until(lambda pid=pid: not Path("/proc", pid).exists() or is_zombie(pid))


def is_zombie(pid):
    with contextlib.suppress(OSError):
        return ") Z" in Path("/proc", pid, "stat").read_text()
    return True


def test_nobody_answers(build):
    options = {"ssh_host": "127.0.0.1", "ssh_username": "u", "ssh_password": "tell-nobody",
               "ssh_timeout": "2s"}  # fmt: skip
    result = build({**options, "ssh_port": free_port()})
    assert result.status == 1
    assert "Timeout waiting for SSH. After 2 s" in result.stdout, result
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        result = build({**options, "ssh_port": port})
    assert result.status == 1
    assert "Timeout waiting for SSH" in result.stdout, result
    assert f"the handshake with 127.0.0.1 port {port} was still under way" in result.stdout


def test_a_machine_that_starts_late_is_waited_for(goldsmith, tmp_path):
    """What listens at first closes each connection; then it is a real sshd."""
    with running_sshd(tmp_path / "sshd") as sshd, socket.create_server(("127.0.0.1", 0)) as door:
        seen = threading.Event()

        def close_three():
            for _ in range(3):
                door.accept()[0].close()
            seen.set()
            relay(door.accept()[0], sshd.port)

        thread = threading.Thread(target=close_three, daemon=True)
        thread.start()
        write(tmp_path, sshd.options(ssh_port=door.getsockname()[1]), shell("echo at last"))
        result = goldsmith("build", "t.json", timeout_s=300)
        assert seen.is_set(), result
        thread.join(LONG_S)
    assert result.status == 0, result
    assert "at last" in result.stdout


def relay(one, port):
    """Join two connections."""
    other = socket.create_connection(("127.0.0.1", port))

    def carry(source, target):
        with contextlib.suppress(OSError):
            while piece := source.recv(1 << 16):
                target.sendall(piece)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    back = threading.Thread(target=carry, args=(other, one), daemon=True)
    back.start()
    with one, other:
        carry(one, other)
        back.join(LONG_S)


def test_many_machines_at_once(sshd, goldsmith, tmp_path):
    builders = [{"type": "null", "name": f"m{n}", **sshd.options()} for n in range(8)]
    template = {"builders": builders, "provisioners": [shell("echo I am $PACKER_BUILD_NAME")]}
    (tmp_path / "t.json").write_text(json.dumps(template))
    result = goldsmith("build", "t.json", timeout_s=300)
    assert result.status == 0, result
    for number in range(8):
        assert f"I am m{number}" in result.stdout


def test_the_machine_is_there(sshd):
    wait_for_banner(sshd.port)
