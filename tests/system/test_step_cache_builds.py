"""Whole builds with the step cache: wishes, failures, secrets, full disks, company and death."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import subprocess
import threading

import pytest
from cached_builds import STEPS, Checkout, ran, steps_told
from private_namespace import run_privately
from small_image import look_into

from goldsmith.layers.store import Store
from goldsmith.layers.verify import verify_store

pytestmark = pytest.mark.root

TREE_STEPS = list(STEPS[:-1])
SECRET = "hunter-2-is-no-password"


@pytest.fixture
def checkout(tmp_path, goldsmith, small_tree):
    return Checkout.make(tmp_path / "checkout", small_tree, goldsmith, goldsmith.state)


def shorten(checkout, provisioners):
    """Leave a template with these provisioners only."""
    text = (checkout.path / "t.pkr.hcl").read_text()
    checkout.write(text[: text.index('  provisioner "shell"')] + provisioners + "}\n")


def shell(command, more=""):
    return f'  provisioner "shell" {{\n    inline  = [{json.dumps(command)}]\n    ' \
           f"network = false\n{more}  }}\n"  # fmt: skip


def in_image(checkout, path, name="small"):
    """The text of a file of the finished image."""
    manifest = json.loads((checkout.path / f"output/{name}.manifest.json").read_text())
    (offset,) = [p["offset_bytes"] for p in manifest["disk"]["partitions"] if p["mount"] == "/"]
    image = checkout.path / f"output/{name}.raw"
    return look_into(image, offset, lambda root: (root / path.lstrip("/")).read_text())


def records(checkout):
    return {record.step: record for record in Store.open(checkout.state / "store").records()}


# ---- wishes


def test_flags_and_options_that_say_what_is_used(checkout):
    checkout.edit('["echo last > /last"]', '["echo last > /last"]\n    cache = false')
    assert ran(checkout.build())[: len(TREE_STEPS)] == TREE_STEPS
    planned = checkout.plan()
    assert (planned["provisioner-6"]["state"], planned["provisioner-6"]["reason"]) == (
        "always", "cache = false",
    )  # fmt: skip
    assert ran(checkout.build()) == ["provisioner-6", "finish", "assemble", "formats"]
    checkout.edit("\n    cache = false", "")
    checkout.build()
    assert ran(checkout.build()) == []
    told = checkout.build("-refresh=provisioner-3")
    # What is made again is the same, so what stands on it stays.
    assert ran(told) == ["provisioner-3"]
    assert told["provisioner-3"].reason == "-refresh"
    assert checkout.plan("-refresh=provisioner-3")["provisioner-3"]["reason"] == "-refresh"
    told = checkout.build("-no-cache")
    assert ran(told) == [*TREE_STEPS, "assemble", "formats"]
    assert {told[name].reason for name in TREE_STEPS} == {"-no-cache"}
    assert ran(checkout.build()) == []


def test_a_result_that_is_too_old(checkout):
    checkout.edit('["env | sort > /environment"]',
                  '["env | sort > /environment"]\n    cache_ttl = "2h"')  # fmt: skip
    checkout.build()
    record = records(checkout)["provisioner-5"]
    path = checkout.state / f"store/keys/{record.key}.json"
    fields = json.loads(path.read_text())
    path.write_text(json.dumps({**fields, "made_s": fields["made_s"] - 3 * 3600}))
    reason = "expired: made 3 h ago, cache_ttl is 2 h"
    assert checkout.plan()["provisioner-5"]["reason"] == reason
    told = checkout.build()
    assert told["provisioner-5"].reason == reason
    assert ran(told) == ["provisioner-5"]
    assert ran(checkout.build()) == []
    assert records(checkout)["provisioner-5"].made_s > fields["made_s"]


def test_a_step_without_network_is_not_told_of_proxies(checkout):
    shorten(checkout, shell("env > /environment; ulimit -n > /dev/null"))
    checkout.env["http_proxy"] = "http://proxy.example:3128"
    checkout.build()
    assert "proxy" not in in_image(checkout, "/environment").lower()


def test_an_own_variable_of_a_step_counts_beside_that_of_the_caller(checkout):
    """Both are seen: one by the script, the other one by what runs it."""
    more = '    environment_vars = ["SOURCE_DATE_EPOCH=1"]\n'
    shorten(checkout, shell("echo $SOURCE_DATE_EPOCH > /epoch", more))
    checkout.build()
    assert in_image(checkout, "/epoch") == "1\n"
    checkout.edit("SOURCE_DATE_EPOCH=1", "SOURCE_DATE_EPOCH=2")
    assert "provisioner-1" in ran(checkout.build())
    assert in_image(checkout, "/epoch") == "2\n"


def test_the_name_of_the_checkout_counts_where_it_arrives(checkout):
    shorten(checkout, '  provisioner "file" {\n    source      = "."\n    destination = "/srv"\n'
                      "  }\n")  # fmt: skip
    outside = checkout.path.parent / "state-of-outputs"
    checkout.edit('"output"', json.dumps(str(outside)))
    checkout.build()
    moved = checkout.path.rename(checkout.path.with_name("renamed"))
    checkout.path = moved
    assert checkout.plan()["provisioner-1"]["state"] == "miss"


def test_a_download_happens_each_time_and_costs_no_later_step_its_result(checkout):
    download = (
        '  provisioner "file" {\n    direction   = "download"\n    source      = "/greeting"\n'
        '    destination = "got"\n  }\n'
    )
    shorten(checkout, shell("echo hello > /greeting") + download + shell("echo last > /last"))
    checkout.build()
    (checkout.path / "got").unlink()
    told = checkout.build()
    assert (checkout.path / "got").read_text() == "hello\n"
    assert told["provisioner-2"].cache == "none"
    assert [told[name].cache for name in ("provisioner-1", "provisioner-3", "finish")] == [
        "hit"
    ] * 3


def test_a_script_that_is_changed_while_its_step_runs_is_not_kept(checkout):
    """The step looks its own script up, runs, and meanwhile it becomes another one."""
    local = '  provisioner "shell" {\n    script  = "slow.sh"\n    network = false\n  }\n'
    fifo = checkout.path / "ready"
    (checkout.path / "slow.sh").write_text("echo one > /one\necho ready\nsleep 2\n")
    shorten(checkout, local)
    words = ("build", "-log-format=jsonl", "t.pkr.hcl")
    env = {"SOURCE_DATE_EPOCH": "1700000000", "GOLDSMITH_CACHE_DIR": str(checkout.state)}
    with checkout.goldsmith.start(*words, cwd=checkout.path, env=env) as running:
        for line in running.stdout:
            if '"ready' in line:
                (checkout.path / "slow.sh").write_text("echo two > /two\n")
                break
        rest = running.stdout.read()
        assert running.wait() == 0, rest
    assert "an input was changed while the step ran" in rest
    assert not fifo.exists()
    assert "provisioner-1" not in records(checkout)
    checkout.build()
    assert in_image(checkout, "/two") == "two\n"


# ---- failures


def test_a_failed_step_is_kept_and_the_build_resumes_there(checkout):
    checkout.edit('["echo last > /last"]', '["echo half > /half", "exit 3"]')
    told = checkout.build(fails=True)
    assert list(told) == TREE_STEPS[:-1]
    shown = checkout.command("shell", flags=("-at=provisioner-6",))
    assert shown.status == 0, shown
    for words, status, text in (
        (("-at=provisioner-6", "t.pkr.hcl", "--", "cat", "/half"), 0, "half"),
        (("-before=provisioner-6", "t.pkr.hcl", "--", "cat", "/half"), 1, ""),
        (("-after=provisioner-3", "t.pkr.hcl", "--", "cat", "/setup"), 0, "setup"),
        (("-before=provisioner-3", "t.pkr.hcl", "--", "ls", "/setup"), None, ""),
    ):
        env = {"GOLDSMITH_CACHE_DIR": str(checkout.state), "SOURCE_DATE_EPOCH": "1700000000"}
        result = checkout.goldsmith("shell", *words, cwd=checkout.path, env=env)
        assert text in result.stdout, result
        assert (result.status == status) if status is not None else (result.status != 0), result
    again = checkout.build(fails=True)
    assert ran(again) == ["provisioner-6"]
    checkout.edit('"exit 3"', '"exit 0"')
    assert ran(checkout.build()) == ["provisioner-6", "finish", "assemble", "formats"]
    assert in_image(checkout, "/half") == "half\n"


def test_a_damaged_layer_is_made_again_and_said(checkout):
    checkout.build()
    record = records(checkout)["provisioner-4"]
    motd = Store.open(checkout.state / "store").tree(record) / "etc/motd"
    motd.write_text("evil\n")
    (checkout.path / "output/small.raw").unlink()
    told = checkout.build()
    assert "provisioner-4" in ran(told)
    assert told["provisioner-4"].reason == "the kept result is damaged, or was removed meanwhile"
    assert in_image(checkout, "/etc/motd") == "welcome\n"


# ---- secrets


def below(directory):
    """The names and contents of everything in a directory."""
    for path in directory.rglob("*"):
        yield str(path), path.read_bytes() if path.is_file() and not path.is_symlink() else b""


def assert_unknown(directory, secret):
    digests = {hashlib.sha256(text.encode()).hexdigest() for text in (secret, f"{secret}\n")}
    for path, content in below(directory):
        for text in (secret, *digests):
            assert text not in path
            assert text.encode() not in content, path


@pytest.fixture
def secretive(checkout):
    shorten(checkout, shell('test \\"$PASSWORD\\" && echo ${var.password} | sha256sum | cut -c1-9 '
                            '> /used'.replace('\\"', '"'),
                            '    environment_vars = ["PASSWORD=${var.password}"]\n'))  # fmt: skip
    text = (checkout.path / "t.pkr.hcl").read_text()
    checkout.write('variable "password" {\n  sensitive = true\n}\n' + text)
    checkout.env["PKR_VAR_password"] = SECRET
    return checkout


def test_a_secret_is_nowhere_below_the_state_and_counts(secretive):
    secretive.build()
    assert_unknown(secretive.state, SECRET)
    assert ran(secretive.build()) == []
    secretive.env["PKR_VAR_password"] = f"{SECRET}-2"
    reason = secretive.plan()["provisioner-1"]["reason"]
    assert "environment PASSWORD changed" in reason
    assert "provisioner-1" in ran(secretive.build())
    assert_unknown(secretive.state, SECRET)


def test_a_layer_with_a_secret_in_it_is_not_kept(secretive):
    secretive.edit("| sha256sum | cut -c1-9 > /used", "> /used")
    result = secretive.command("build")
    assert result.status == 0, result
    assert "a secret of this template is in /used of the image" in result.stdout + result.stderr
    assert SECRET not in result.stdout + result.stderr
    assert_unknown(secretive.state, SECRET)
    assert "provisioner-1" not in records(secretive)
    result = secretive.command("build", flags=("-secrets-in-image=error",))
    assert result.status == 1, result
    assert "a secret of this template is in /used of the image" in result.stdout + result.stderr
    assert_unknown(secretive.state, SECRET)
    result = secretive.command("build", flags=("-secrets-in-image=maybe",))
    assert result.status == 1
    assert "it is warn or error" in result.stdout


def test_a_failed_step_with_a_secret_leaves_nothing(secretive):
    secretive.edit("| sha256sum | cut -c1-9 > /used", "> /used; exit 4")
    secretive.build(fails=True)
    assert_unknown(secretive.state, SECRET)


# ---- company


def test_two_builds_that_need_the_same_make_it_once(checkout, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(checkout.path, other, symlinks=True)
    outputs = {}

    def build(directory):
        result = Checkout(directory, checkout.goldsmith, checkout.state).command(
            "build", flags=("-log-format=jsonl",)
        )
        outputs[directory] = result

    threads = [threading.Thread(target=build, args=(path,)) for path in (checkout.path, other)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {result.status for result in outputs.values()} == {0}, outputs
    first, second = (steps_told(result.stdout) for result in outputs.values())
    for name in TREE_STEPS:
        assert {first[name].cache, second[name].cache} == {"hit", "miss"}, name


def kill_builds(checkout, tmp_path, rounds, seed):
    """Two builds on one store; one of them is killed at some moment, again and again."""
    chance = random.Random(seed)
    other = tmp_path / "other"
    shutil.copytree(checkout.path, other, symlinks=True)
    env = {"SOURCE_DATE_EPOCH": "1700000000", "GOLDSMITH_CACHE_DIR": str(checkout.state)}
    for number in range(rounds):
        # Every second round the steps are new ones, else what the dead has left is built upon.
        flags = (f"-var=greeting=round {number // 2}", "t.pkr.hcl")
        order = [checkout.path, other]
        chance.shuffle(order)
        start = checkout.goldsmith.start
        with start("build", *flags, cwd=order[0], env=env) as victim:
            with start("build", *flags, cwd=order[1], env=env) as survivor:
                threading.Event().wait(chance.uniform(0.2, 3))
                victim.kill()
                victim.communicate()
                stdout, stderr = survivor.communicate(timeout=300)
            assert survivor.returncode == 0, stdout + stderr
        built = Checkout(order[1], checkout.goldsmith, checkout.state)
        assert in_image(built, "/greeting") == f"round {number // 2}\n"
        assert in_image(built, "/last") == "last\n"
        assert not verify_store(Store.open(checkout.state / "store"))
    checkout.goldsmith("clean", env=env, check=True)
    store = Store.open(checkout.state / "store")
    named = {record.layer for record in (*store.records(), *store.flat_records())}
    assert set(os.listdir(store.directory.layers)) == named
    assert checkout.goldsmith("cache", "verify", env=env).status == 0
    assert not [path for path in (checkout.state / "runs").glob("[0-9]*")]


def test_a_killed_build_leaves_nothing_wrong(checkout, tmp_path):
    kill_builds(checkout, tmp_path, 6, seed=1)


@pytest.mark.nightly
def test_200_killed_builds_leave_nothing_wrong(checkout, tmp_path):
    kill_builds(checkout, tmp_path, 200, seed=2)


# ---- a full disk


def test_a_full_disk_while_a_layer_is_written(checkout, tmp_path):
    disk, place = tmp_path / "disk", tmp_path / "place"
    place.mkdir()
    with disk.open("wb") as file:
        file.truncate(160 << 20)
    subprocess.run(["mkfs.ext4", "-q", "-F", "-m", "0", disk], check=True)
    shorten(checkout, shell("echo one > /one") + shell("head -c 300000000 /dev/zero > /big"))

    def body():
        subprocess.run(["mount", "-o", "loop", disk, place], check=True)
        checkout.state = place / "state"
        try:
            result = checkout.command("build")
            assert result.status == 1, result
            said = result.stdout + result.stderr
            assert "No space left on device" in said, said
            assert "Traceback" not in said
            store = Store.open(checkout.state / "store")
            assert not verify_store(store)
            assert {record.step for record in store.records()} == {
                "bootstrap", "configure", "provisioner-1",
            }  # fmt: skip
            checkout.edit("head -c 300000000", "head -c 3000")
            assert ran(checkout.build())[0] == "provisioner-2"
            assert not verify_store(store)
        finally:
            subprocess.run(["umount", place], check=True)

    run_privately(body)


# ---- many steps


@pytest.mark.nightly
def test_500_steps_in_one_build(checkout):
    """More layers than an overlay takes, and each of them in use."""
    count = 500
    steps = "".join(
        f'  provisioner "file" {{\n    content     = "{n}"\n    destination = "/srv/{n}"\n  }}\n'
        for n in range(count)
    )
    shorten(checkout, steps + shell("cat /srv/* | wc -c > /sum"))
    assert len(ran(checkout.build())) == count + 6
    assert in_image(checkout, "/sum") == f"{sum(len(str(n)) for n in range(count))}\n"
    assert ran(checkout.build()) == []
    checkout.edit('"cat /srv/* | wc -c > /sum"', '"ls /srv | wc -l > /sum"')
    last = f"provisioner-{count + 1}"
    assert ran(checkout.build()) == [last, "finish", "assemble", "formats"]
    assert in_image(checkout, "/sum") == f"{count}\n"
