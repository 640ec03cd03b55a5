"""What `build` asks before it starts a worker: the cache, where an output is there at all."""

import json
import os
import subprocess
import sys

import pytest
from cached_builds import EPOCH, Checkout

pytestmark = pytest.mark.root

CODE = """
import json, sys
from goldsmith.builders.image.builder import ImageBuilder
asked = []
def plan(self, context, real=ImageBuilder.plan):
    asked.append(context.name)
    return real(self, context)
ImageBuilder.plan = plan
from goldsmith.cli.app import run
status = run(["build", "t.pkr.hcl"])
print(json.dumps([status, asked, sorted(sys.modules)]))
"""
HEAVY = {
    "rich", "asyncio", "ssl", "http.client", "xml.etree.ElementTree", "boto3", "yaml", "argparse",
    "goldsmith.packages.unpacked.unpacking", "goldsmith.packages.unpacked.configuring",
    "goldsmith.packages.unpacked.laying", "goldsmith.machine.guest_image",
    "goldsmith.disk.assemble", "goldsmith.communicators.chroot",
}  # fmt: skip


def identity(image):
    """What a new image would change; the time of its last reading is none of it."""
    status = image.stat()
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def test_a_first_build_asks_nothing_twice_and_an_unchanged_one_only_the_cache(
    tmp_path, goldsmith, small_tree
):
    checkout = Checkout.make(tmp_path / "checkout", small_tree, goldsmith, goldsmith.state)
    text = (checkout.path / "t.pkr.hcl").read_text()
    checkout.write(text[: text.index('  provisioner "shell"')] + "}\n")
    environment = {
        **os.environ, "GOLDSMITH_CACHE_DIR": str(checkout.state), "SOURCE_DATE_EPOCH": EPOCH,
    }  # fmt: skip

    def build():
        done = subprocess.run(
            [sys.executable, "-c", CODE], cwd=checkout.path, env=environment, capture_output=True,
            text=True, check=True, timeout=300,
        )  # fmt: skip
        return json.loads(done.stdout.splitlines()[-1])

    status, asked, _ = build()
    assert (status, asked) == (0, [])
    image = checkout.path / "output/small.raw"
    made = identity(image)
    status, asked, modules = build()
    assert (status, asked) == (0, ["image.small"])
    assert identity(image) == made
    assert HEAVY.isdisjoint(modules), HEAVY & set(modules)
