"""Every input that a step can see, changed one at a time; and what must not matter.

All tests share one store, which only grows: a change must not be taken for another test's, so each
makes a text of its own. Every checkout lies in another directory, which must not matter either.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile

import pytest
from cached_builds import STEPS, Checkout, ran

pytestmark = pytest.mark.root


REASON_OF_IMAGE = "it was not made of this tree with these options, or its files were changed"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("matrix")


@pytest.fixture
def checkout(place, tmp_path, goldsmith, small_tree):
    """A copy of a checkout that was built with this store, in a directory of its own."""
    first = place / "first"
    if not first.exists():
        made = Checkout.make(first, small_tree, goldsmith, place / "state")
        assert ran(made.build()) == [*STEPS[:-1], "assemble", "formats"]
    copy = tmp_path / "elsewhere" / "copy"
    shutil.copytree(first, copy, symlinks=True, ignore=shutil.ignore_patterns("output"))
    return Checkout(copy, goldsmith, place / "state")


def add_to_tree(checkout):
    (checkout.path / "more").write_text("more")
    with tarfile.open(checkout.path / "tree.tar", "a") as tar:
        tar.add(checkout.path / "more", "./more")


def set_env(name, value):
    return lambda checkout: checkout.env.update({name: value})


def edit(old, new):
    return lambda checkout: checkout.edit(old, new)


def write(name, text):
    return lambda checkout: (checkout.path / name).write_text(text)


def relink(checkout):
    (checkout.path / "files/link").unlink()
    (checkout.path / "files/link").symlink_to("sub/b")


# What is changed; the step that sees it; the reason; whether the tree becomes another one.
CHANGES = {
    "bootstrap source": (add_to_tree, "bootstrap", "file tree.tar changed", True),
    "epoch": (set_env("SOURCE_DATE_EPOCH", "1600000000"), "bootstrap",
              "environment SOURCE_DATE_EPOCH changed", True),
    "hostname": (edit('"golden"', '"silver"'), "configure", "hostname changed", True),
    "variable": (lambda c: setattr(c, "flags", ("-var=greeting=good day",)), "provisioner-1",
                 "file inline changed", True),
    "environment_vars, other value": (edit("COLOUR=red", "COLOUR=blue"), "provisioner-1",
                                      "environment COLOUR changed", False),
    "environment_vars, another": (edit('"COLOUR=red"', '"COLOUR=red", "SHAPE=round"'),
                                  "provisioner-1", "environment SHAPE added", False),
    "environment_vars, none": (edit('    environment_vars = ["COLOUR=red"]\n', ""),
                               "provisioner-1", "environment COLOUR removed", False),
    "execute_command": (
        edit("    environment_vars",
             '    execute_command  = "umask 077; {{.Vars}} sh {{.Path}}"\n    environment_vars'),
        "provisioner-1", "option execute_command added", True),
    "build name": (
        lambda c: c.write((c.path / "t.pkr.hcl").read_text().replace('"image" "small"',
                          '"image" "other"').replace("image.small", "image.other")),
        "provisioner-1", "environment PACKER_BUILD_NAME changed", True),
    "uploaded file": (write("files/sub/b", "other\n"), "provisioner-2",
                      "file files/sub/b changed", True),
    "uploaded file, added": (write("files/sub/c", "new\n"), "provisioner-2",
                             "file files/sub/c added", True),
    "uploaded file, removed": (lambda c: (c.path / "files/sub/b").unlink(), "provisioner-2",
                               "file files/sub/b removed", True),
    "uploaded file, mode": (lambda c: (c.path / "files/a").chmod(0o700), "provisioner-2",
                            "file files/a changed", True),
    "uploaded directory, mode": (lambda c: (c.path / "files/sub").chmod(0o700), "provisioner-2",
                                 "file files/sub changed", True),
    "uploaded link": (relink, "provisioner-2", "file files/link changed", True),
    "destination": (edit('"/opt"', '"/srv"'), "provisioner-2", "option destination changed", True),
    "script byte": (write("scripts/setup.sh", "#!/bin/sh\necho setup >  /setup\n"),
                    "provisioner-3", "file scripts/setup.sh changed", False),
    "script": (write("scripts/setup.sh", "#!/bin/sh\necho other > /setup\n"),
               "provisioner-3", "file scripts/setup.sh changed", True),
    "cache_key": (edit('"scripts/setup.sh"', '"scripts/setup.sh"\n    cache_key = "2"'),
                  "provisioner-3", "option cache_key added", False),
    "mode of one file": (lambda c: (c.path / "motd").chmod(0o600), "provisioner-4",
                         "file motd changed", True),
    "proxy": (set_env("http_proxy", "http://proxy.example:3128"), "provisioner-5",
              "environment http_proxy added", True),
    "user's variable": (edit('["env | sort > /environment"]',
                             '["env | sort > /environment"]\n    env = { SIZE = "big" }'),
                        "provisioner-5", "environment SIZE added", True),
    "no network": (edit('["env | sort > /environment"]',
                        '["env | sort > /environment"]\n    network = false'),
                   "provisioner-5", "network", True),
    "network": (edit('["echo last > /last"]\n    network = false', '["echo last > /last"]'),
                "provisioner-6", "network", True),
    "kernel's arguments": (edit('  hostname ', '  kernel_cmdline = "quiet"\n  hostname '), "finish",
                           "cmdline changed", False),
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_a_changed_input_is_a_miss_with_its_reason(checkout, name):
    change, step, reason, other_tree = CHANGES[name]
    change(checkout)
    at = STEPS.index(step)
    planned = checkout.plan()
    assert [planned[one]["state"] for one in STEPS[:at]] == ["hit"] * at
    assert planned[step]["state"] == "miss"
    assert reason in planned[step]["reason"]
    told = checkout.build()
    assert [told[one].cache for one in STEPS[:at]] == ["hit"] * at
    assert told[step].cache == "miss"
    assert told[step].reason == planned[step]["reason"]
    after = [told[one].cache for one in STEPS[at + 1 : -1]]
    if other_tree:
        assert after == ["miss"] * len(after)
        if at + 1 < len(STEPS) - 1:
            # What changed for this step did so for others too, where it is of the whole build.
            assert told[STEPS[at + 1]].reason in ("parent made again", reason)
    else:
        assert after == ["hit"] * len(after)
    assert (told["assemble"].cache, told["assemble"].reason) == ("miss", REASON_OF_IMAGE)
    assert {step["state"] for step in checkout.plan().values()} == {"hit"}


def touch_all(checkout):
    for path in checkout.path.rglob("*"):
        os.utime(path, (1, 1), follow_symlinks=False)


def turn_order(checkout):
    checkout.edit('  hostname         = "golden"\n', "")
    checkout.edit("  firmware         = []", '  hostname = "golden"\n  firmware = []')
    checkout.edit('    script  = "scripts/setup.sh"\n    network = false\n',
                  '    network = false\n    script  = "scripts/setup.sh"\n')  # fmt: skip


SAME = {
    "the path of the checkout": lambda checkout: None,
    "times of files": touch_all,
    "order of keys": turn_order,
    "comments": edit("build {\n", "# all of it\nbuild {\n  // the steps\n"),
    "another variable": lambda c: c.write(
        'variable "unused" {\n  default = 1\n}\n' + (c.path / "t.pkr.hcl").read_text()
    ),
    "limits and pauses": edit(
        '"scripts/setup.sh"\n',
        '"scripts/setup.sh"\n    timeout = "1h"\n    pause_before = "1ms"\n    max_retries = 2\n'
        '    cache_ttl = "1h"\n',
    ),
    "what the environment has": set_env("EDITOR", "vi"),
    "where the output goes": edit('"output"', '"elsewhere"'),
    "formats": edit('["raw"]', '["raw", "qcow2"]'),
}


@pytest.mark.parametrize("name", SAME)
def test_what_no_step_can_see_does_not_matter(checkout, name):
    SAME[name](checkout)
    planned = checkout.plan()
    assert [planned[one]["state"] for one in STEPS[:-1]] == ["hit"] * (len(STEPS) - 1)
    # The files of the image are none of this directory's yet.
    assert planned["image"]["state"] == "miss"
    assert planned["image"]["reason"] == REASON_OF_IMAGE
    told = checkout.build()
    assert [told[one].cache for one in STEPS[:-1]] == ["hit"] * (len(STEPS) - 1)
    assert "assemble" in ran(told)


def test_a_hit_says_by_which_rule(checkout):
    planned = checkout.plan()
    assert planned["bootstrap"]["reason"] == "inputs unchanged"
    assert planned["provisioner-1"]["reason"] == "inputs unchanged"
    rule = planned["provisioner-5"]["reason"]
    assert rule.startswith("inputs unchanged, made ")
    assert rule.endswith("ago (cache_ttl 24 h)")


def test_an_unchanged_image_is_not_made_again_and_a_changed_file_of_it_is(checkout):
    checkout.build()
    image = checkout.path / "output/small.raw"
    before = image.stat()
    assert ran(checkout.build()) == []
    assert checkout.plan()["image"]["state"] == "hit"
    assert image.stat().st_mtime_ns == before.st_mtime_ns
    content = image.read_bytes()
    with image.open("r+b") as file:
        file.seek(len(content) // 2)
        file.write(b"!")
    assert "its files were changed" in checkout.plan()["image"]["reason"]
    assert "assemble" in ran(checkout.build("-force"))
    assert image.read_bytes() == content


def test_a_directory_as_the_source_of_the_tree(tmp_path, goldsmith, small_tree):
    """Content, owners, modes, links and attributes of a directory that becomes the tree."""
    made = Checkout.make(tmp_path / "made", small_tree, goldsmith, goldsmith.state)
    tree = made.path / "tree"
    tree.mkdir()
    subprocess.run(["tar", "-xf", small_tree, "-C", tree], check=True)
    text = (made.path / "t.pkr.hcl").read_text()
    start = text.index('  provisioner "shell"')
    made.write(text[:start].replace('"tar"', '"directory"').replace('"tree.tar"', '"tree"') + "}\n")
    assert ran(made.build())[:3] == ["bootstrap", "configure", "finish"]
    assert ran(made.build()) == []
    passwd = tree / "etc/passwd"
    changes = {
        "content": lambda: passwd.write_text(passwd.read_text() + "a:x:1:1::/:/bin/sh\n"),
        "mode": lambda: passwd.chmod(0o600),
        "owner": lambda: os.chown(passwd, 1, 2),
        "attribute": lambda: os.setxattr(passwd, "user.mark", b"1"),
        "second name": lambda: os.link(passwd, tree / "etc/passwd-"),
        "empty directory": (tree / "srv/empty").mkdir,
    }
    for name, change in changes.items():
        change()
        assert made.plan()["bootstrap"]["reason"] == "file tree changed", name
        assert ran(made.build())[0] == "bootstrap", name
        assert ran(made.build()) == [], name
