"""`goldsmith deploy` from servers that fail: clear errors, blank targets, and a second run."""

from __future__ import annotations

import hashlib
import signal
import time

import pytest
from deploy_targets import SCHEME, WAIT_S, attached, image_set

from fault_server import GOOD, Fault, fault_server

pytestmark = pytest.mark.root
FILES = ("root.yaml", "root.img.gz")


@pytest.fixture
def target(tmp_path):
    with attached(tmp_path / "disk.img") as made:
        yield made


@pytest.fixture
def server(tmp_path):
    """Serves an image set at /a, and the same one at /b."""
    image_set(tmp_path)
    (tmp_path / "scheme.hcl").write_text(SCHEME)
    with fault_server() as serving:
        for name in FILES:
            for place in "ab":
                serving.add(f"/{place}/{name}", (tmp_path / name).read_bytes())
        yield serving


@pytest.fixture
def words(tmp_path, target, server):
    address = f"http://127.0.0.1:{server.server_port}/a/root.yaml"
    return ["deploy", "--scheme", tmp_path / "scheme.hcl", "--disk", f"one={target.device}",
            "--image", address, "--yes", "--stall-timeout", "60s"]  # fmt: skip


def is_blank(target):
    """Nothing is recognised on the partition of the root."""
    return "TYPE" not in target.content(3)


@pytest.mark.parametrize("wrong", ["cut", "gone", "forbidden"])
def test_an_image_that_no_server_has_is_refused_while_the_disk_is_as_it_was(
    goldsmith, target, server, words, wrong
):
    served = server.files["/a/root.img.gz"]
    right, before = served.data, target.digest()
    if wrong == "cut":
        served.data = right[:-100]
    elif wrong == "gone":
        del server.files["/a/root.img.gz"]
    else:
        served.faults = [Fault(status=403)]
    failed = goldsmith(*words)
    assert failed.status == 1, failed
    said = {"cut": f"bytes, not {len(right)}", "gone": "404", "forbidden": "403"}[wrong]
    assert f"{server.server_port}/a/root.img.gz" in failed.stderr and said in failed.stderr
    assert "nothing was written to any disk" in failed.stderr
    assert target.digest() == before
    server.add("/a/root.img.gz", right)
    assert goldsmith(*words).status == 0
    assert target.read(3, "/etc/motd") == "deployed\n"


def test_a_wrong_image_leaves_its_target_blank_and_the_right_one_follows(
    goldsmith, target, server, words
):
    served = server.files["/a/root.img.gz"]
    right = served.data
    noise = hashlib.shake_128(b"noise").digest(len(right))
    served.data = right[:5000] + noise[5000:6000] + right[6000:]
    failed = goldsmith(*words)
    assert failed.status == 4, failed
    assert "/a/root.img.gz" in failed.stderr
    assert is_blank(target)
    served.data = right
    assert goldsmith(*words).status == 0
    assert target.read(3, "/etc/motd") == "deployed\n"


def test_a_mirror_takes_over(goldsmith, target, server, words):
    breaks = [Fault(cut_after=5000), *[Fault(status=503)] * 50]
    # It was asked before the disk was divided.
    server.files["/a/root.img.gz"].faults = [GOOD, *breaks]
    done = goldsmith(*words, "--mirror", words[words.index("--image") + 1].replace(
        "/a/root.yaml", "/b/"))  # fmt: skip
    assert done.status == 0, done
    assert server.files["/b/root.img.gz"].ranges == ["bytes=5000-"]
    assert target.read(3, "/etc/motd") == "deployed\n"


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL])
def test_a_copy_that_is_ended_leaves_a_blank_target(goldsmith, target, server, words, end):
    served = server.files["/a/root.img.gz"]
    served.faults = [GOOD, Fault(stall_after=5000)]
    with goldsmith.start(*words) as running:
        deadline_s = time.monotonic() + WAIT_S
        while len(served.asked) < 2:
            assert time.monotonic() < deadline_s
            assert running.poll() is None, running.communicate()
            time.sleep(0.05)
        running.send_signal(end)
        _, stderr = running.communicate(timeout=WAIT_S)
    assert running.returncode == (130 if end is signal.SIGINT else -signal.SIGKILL), stderr
    assert is_blank(target)
    assert goldsmith(*words).status == 0
    assert target.read(3, "/etc/motd") == "deployed\n"
