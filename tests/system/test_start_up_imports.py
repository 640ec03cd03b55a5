"""What a small template does not import: every start would pay for it."""

import json
import os
import subprocess
import sys

import pytest

CODE = """
import json, sys
from goldsmith.cli.app import run
assert run([sys.argv[1], "t.pkr.hcl"]) == 0
print(json.dumps(sorted(sys.modules)))
"""


@pytest.fixture(scope="module")
def imported(tmp_path_factory):
    place = tmp_path_factory.mktemp("template")
    (place / "t.pkr.hcl").write_text(
        'source "null" "n" {\n  communicator = "none"\n}\nbuild {\n  sources = ["null.n"]\n'
        '  provisioner "shell-local" {\n    inline = ["true"]\n  }\n}\n'
    )
    environment = {**os.environ, "GOLDSMITH_CACHE_DIR": str(place / "state")}

    def modules(verb):
        done = subprocess.run(
            [sys.executable, "-c", CODE, verb], cwd=place, env=environment, capture_output=True,
            text=True, check=True,
        )  # fmt: skip
        return set(json.loads(done.stdout.splitlines()[-1]))

    return {verb: modules(verb) for verb in ("validate", "build")}


@pytest.mark.parametrize(
    "module",
    [
        "rich", "yaml", "ssl", "urllib.request", "subprocess", "concurrent.futures", "re2",
        "asyncio", "asyncssh", "msgpack", "zstandard", "isal", "ansible", "diskimage_builder",
        "argparse", "logging",
        "goldsmith.core.tree_build", "goldsmith.layers.store", "goldsmith.packages",
        "goldsmith.gotemplate.parser", "goldsmith.host.process", "goldsmith.builders.image",
        "goldsmith.template.hcl2.functions.collections", "goldsmith.template.hcl2.json_syntax",
        "goldsmith.template.legacy_json.document", "goldsmith.cli.start_document",
        "goldsmith.communicators.ssh.session", "goldsmith.plugin.client", "goldsmith.elements",
        "goldsmith.host.watcher", "goldsmith.machine", "goldsmith.disk",
        "goldsmith.plugin.remote.builder", "goldsmith.plugin.remote.provisioner",
    ],
)  # fmt: skip
def test_a_small_template_imports_little(module, imported):
    assert module not in imported["validate"]


@pytest.mark.parametrize(
    "module",
    [
        "rich", "yaml", "ssl", "http.client", "urllib.request", "concurrent.futures", "re2",
        "asyncio", "asyncssh", "msgpack", "zstandard", "isal", "ansible", "diskimage_builder",
        "boto3", "argparse", "logging", "multiprocessing", "tarfile", "gzip", "xml",
        "goldsmith.core.tree_build", "goldsmith.core.step_cache", "goldsmith.layers.store",
        "goldsmith.layers.publish", "goldsmith.layers.content", "goldsmith.layers.garbage",
        "goldsmith.packages", "goldsmith.disk", "goldsmith.machine", "goldsmith.elements",
        "goldsmith.cloud", "goldsmith.gotemplate.parser", "goldsmith.builders.image",
        "goldsmith.template.hcl2.json_syntax", "goldsmith.template.legacy_json.document",
        "goldsmith.cli.native_flags", "goldsmith.communicators.ssh.session",
        "goldsmith.plugin.client", "goldsmith.plugin.remote.builder",
    ],
)  # fmt: skip
def test_a_build_on_a_thread_imports_little(module, imported):
    assert module not in imported["build"]


HELP = """
import contextlib, io, json, sys
from goldsmith.cli.app import run
with contextlib.redirect_stdout(io.StringIO()) as told:
    assert run([sys.argv[1], "--help"]) == 0
assert "usage:" in told.getvalue().lower()
print(json.dumps(sorted(sys.modules)))
"""


@pytest.mark.parametrize(
    "verb", ["disk-image-create", "ramdisk-image-create", "diskimage-builder", "block-device",
             "elements"],
)  # fmt: skip
def test_help_of_a_verb_imports_no_engine(verb):
    done = subprocess.run(
        [sys.executable, "-c", HELP, verb], capture_output=True, text=True, check=True
    )
    heavy = {"goldsmith.core.engine", "goldsmith.core.options", "goldsmith.layers.store",
             "goldsmith.builders.elements", "goldsmith.disk", "goldsmith.machine",
             "goldsmith.host.process", "pydantic", "yaml", "rich", "diskimage_builder"}  # fmt: skip
    assert heavy.isdisjoint(json.loads(done.stdout.splitlines()[-1]))


def test_help_without_commands_of_plugins_imports_no_models(tmp_path):
    environment = {**os.environ, "HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)}
    environment.pop("PACKER_PLUGIN_PATH", None)
    code = HELP.replace("[sys.argv[1], ", "[")
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    heavy = {"pydantic", "rich", "yaml", "goldsmith.core.options", "goldsmith.core.engine"}
    assert heavy.isdisjoint(json.loads(done.stdout.splitlines()[-1]))
