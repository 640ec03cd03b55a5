"""`init` and `plugins`: what a template requires, and where it is."""

import hashlib

import pytest

from goldsmith.cli import app
from goldsmith.host import process
from goldsmith.host.process import Completed
from goldsmith.plugin import discovery
from goldsmith.plugin.described import Description
from goldsmith.plugin.discovery import file_name
from goldsmith.plugin.packages import ENTRY_POINTS

SOURCE = "example.com/ours/thing"
BUILD = 'source "null" "a" {\n  communicator = "none"\n}\nbuild {\n  sources = ["null.a"]\n}\n'


@pytest.fixture(autouse=True)
def work(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PACKER_PLUGIN_PATH", str(tmp_path / "plugins"))
    # Programs say of themselves what their names say.
    monkeypatch.setattr(
        discovery, "describe",
        lambda path: Description(path.name.split("_")[1].removeprefix("v"), "x5.0", {}),
    )  # fmt: skip
    return tmp_path


@pytest.fixture
def say(capsys):
    def run(*words):
        status = app.run(list(words))
        said = capsys.readouterr()
        return status, said.out + said.err

    return run


def requiring(work, constraint=">= 1.0", source=SOURCE, name="thing"):
    (work / "t.pkr.hcl").write_text(
        f'packer {{\n  required_plugins {{\n    {name} = {{\n      source  = "{source}"\n'
        f'      version = "{constraint}"\n    }}\n  }}\n}}\n' + BUILD
    )


def put(work, version="1.2.3"):
    path = work / "plugins" / SOURCE / file_name("thing", version)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"#!/bin/sh\n")
    path.chmod(0o755)
    digest = hashlib.sha256(b"#!/bin/sh\n").hexdigest()
    path.with_name(path.name + "_SHA256SUM").write_text(digest)
    return path


def test_a_plugin_that_is_not_here_is_one_finding_with_its_place_and_a_remedy(work, say):
    requiring(work)
    for verb in ("init", "validate"):
        status, text = say(verb, "t.pkr.hcl")
        flat = " ".join(text.split())
        assert status == 1
        assert "t.pkr.hcl:3:5" in text
        assert f'thing ({SOURCE} ">= 1.0") is not here' in flat
        assert f"goldsmith plugins install -path PROGRAM {SOURCE}" in flat
    for verb in (["validate", "-syntax-only"], ["inspect"], ["fmt", "-check"]):
        assert say(*verb, "t.pkr.hcl")[0] == 0


def test_a_program_that_is_here_is_found(work, say):
    requiring(work)
    path = put(work)
    status, text = say("init", "t.pkr.hcl")
    assert (status, f"thing ({SOURCE} >= 1.0): {path}\n" in text) == (0, True)
    assert (work / ".goldsmith.lock.json").exists()
    (work / ".goldsmith.lock.json").unlink()
    assert say("validate", "t.pkr.hcl")[0] == 0
    requiring(work, ">= 2")
    status, text = say("init", "t.pkr.hcl")
    assert (status, "Here are v1.2.3" in " ".join(text.split())) == (1, True)


def test_a_program_that_is_not_what_its_digest_says_is_told_of(work, say):
    requiring(work)
    path = put(work)
    path.write_bytes(b"#!/bin/sh\n# changed\n")
    for verb in ("init", "validate"):
        status, text = say(verb, "t.pkr.hcl")
        flat = " ".join(text.split())
        assert status == 1
        assert "is not here" not in flat
        assert f"is here and is not used: {path} is not what {path.name}_SHA256SUM" in flat
        assert f"goldsmith plugins install -force -path PROGRAM {SOURCE}" in flat
    (work / "t.pkr.hcl").write_text('source "thing-box" "a" {}\nbuild {\n  sources = '
                                    '["source.thing-box.a"]\n}\n')  # fmt: skip
    status, text = say("validate", "t.pkr.hcl")
    assert (status, f"{path} is not what" in " ".join(text.split())) == (1, True)
    path.with_name(path.name + "_SHA256SUM").unlink()
    requiring(work)
    text = say("init", "t.pkr.hcl")[1]
    assert f"has no {path.name}_SHA256SUM beside it" in " ".join(text.split())


def test_a_prerelease_counts_unless_it_is_told_not_to(work, say):
    requiring(work, "= 1.2.3")
    put(work, "1.2.3-dev")
    assert say("validate", "t.pkr.hcl")[0] == 0
    assert say("validate", "-ignore-prerelease-plugins", "t.pkr.hcl")[0] == 1


def test_components_of_goldsmiths_own_need_no_plugin(work, say):
    requiring(work, source="github.com/hashicorp/checksum", name="checksum")
    assert say("init", "t.pkr.hcl")[1].endswith("built in\n")
    requiring(work, source="example.com/other/checksum", name="checksum")
    assert say("init", "t.pkr.hcl")[0] == 1


def test_a_python_package_offers_components(work, say, monkeypatch):
    class Dist:
        name, version = "their-components", "1.4"

    class Entry:
        name, dist, value = "thing", Dist, "theirs:plugins"

    def entry_points(*, group):
        return [Entry] if group == ENTRY_POINTS else []

    monkeypatch.setattr("importlib.metadata.entry_points", entry_points)
    requiring(work)
    status, text = say("init", "t.pkr.hcl")
    assert (status, text) == (0, f"thing ({SOURCE} >= 1.0): Python package their-components 1.4\n")
    requiring(work, ">= 2")
    assert say("init", "t.pkr.hcl")[0] == 1


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("    x = 5\n", "3:9"),
        ('    x = { source = "a/b/c" }\n', "3:5"),
        ('    x = { source = "a/b", version = "1" }\n', "3:20"),
        ('    x = { source = "a/b/packer-plugin-c", version = "1" }\n', "3:20"),
        ('    x = { source = "a/b/c", version = "new" }\n', "3:39"),
        ('    x = { source = "a/b/c", version = ">= 1.0.0-dev" }\n', "3:39"),
        ('    X = { source = "a/b/c", version = "1" }\n', "3:5"),
        ('    x = { sourc = "a/b/c", source = "a/b/c", version = "1" }\n', "3:19"),
        ("    x = { source = var.a, version = 1 }\n", "3:20"),
    ],
)
def test_a_requirement_that_is_none(work, say, text, place):
    (work / "t.pkr.hcl").write_text("packer {\n  required_plugins {\n" + text + "  }\n}\n" + BUILD)
    for verb in (["init"], ["validate", "-syntax-only"], ["plugins", "required"]):
        status, said = say(*verb, "t.pkr.hcl")
        assert (status, f"t.pkr.hcl:{place}," in said) == (1, True), said


def test_requirements_of_several_files_are_joined(work, say):
    (work / "d").mkdir()
    block = 'packer {\n  required_plugins {\n    x = { source = "a/b/x", version = "%s" }\n  }\n}\n'
    (work / "d/a.pkr.hcl").write_text(block % ">= 1.0" + 'variable "unset" {}\n')
    (work / "d/b.pkr.hcl").write_text(block % "< 2")
    assert say("plugins", "required", "d") == (0, 'x a/b/x ">= 1.0, < 2"\n')


def test_templates_that_require_nothing_or_cannot(work, say):
    (work / "t.pkr.hcl").write_text(BUILD + 'variable "unset" {}\n')
    (work / "t.json").write_text('{"builders": [{"type": "null"}]}')
    status, text = say("init", "t.pkr.hcl")
    assert (status, "required_plugins" in text) == (0, True)
    assert say("plugins", "required", "t.pkr.hcl") == (0, "")
    for verb in (["init"], ["plugins", "required"]):
        status, text = say(*verb, "t.json")
        assert (status, "hcl2_upgrade" in text) == (1, True)
    assert say("init")[0] == 1
    assert say("init", "absent.pkr.hcl")[0] == 1


def described(monkeypatch, said):
    def run(argv, **how):
        assert argv[1] == "describe"
        return Completed(tuple(map(str, argv)), 0, said.encode(), (), 0.0)

    monkeypatch.setattr(process, "run", run)


def test_a_program_is_installed_listed_and_removed(work, say, monkeypatch):
    described(monkeypatch, '{"version": "1.2.3", "api_version": "x5.0"}')
    (work / "program").write_bytes(b"content")
    status, text = say("plugins", "install", "-path", "program", SOURCE)
    path = work / "plugins" / SOURCE / file_name("thing", "1.2.3")
    assert (status, str(path) in text) == (0, True)
    assert say("plugins", "installed") == (0, f"{path}\n")
    assert path.read_bytes() == b"content"
    assert sorted(one.name for one in path.parent.iterdir()) == [
        path.name, path.name + "_SHA256SUM",
    ]  # fmt: skip
    status, text = say("plugins", "install", "-path", "program", SOURCE)
    assert (status, "-force" in text) == (1, True)
    assert say("plugins", "install", "-path", "program", "-force", SOURCE)[0] == 0
    assert say("plugins", "remove", SOURCE, ">= 2")[0] == 1
    assert say("plugins", "remove", SOURCE, ">= 1") == (0, f"{path}\n")
    assert list(path.parent.iterdir()) == []
    put(work)
    assert say("plugins", "remove", str(path)) == (0, f"{path}\n")
    assert say("plugins", "remove", SOURCE)[0] == 1


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("hello", "does not describe itself"),
        ("[]", "does not describe itself"),
        ('{"version": "1.2.3"}', "tells no version of itself or of its protocol"),
        ('{"version": "1.2.3", "api_version": "x4.0"}', "speaks protocol x4.0"),
        ('{"version": "1.2.3-rc1", "api_version": "x5.0"}', "only releases and -dev"),
        ('{"version": "1.2", "api_version": "x5.0"}', "only releases and -dev"),
    ],
)
def test_a_program_that_is_no_plugin_is_not_installed(work, say, monkeypatch, said, why):
    described(monkeypatch, said)
    (work / "program").write_bytes(b"content")
    status, text = say("plugins", "install", "-path", "program", SOURCE)
    assert (status, why in " ".join(text.split())) == (1, True), text
    assert not (work / "plugins").exists()


@pytest.mark.parametrize(
    "words",
    [
        [], ["bogus"], ["remove"], ["remove", "nobody"], ["remove", SOURCE, "new"],
        ["install"], ["install", SOURCE], ["install", "-path=absent", SOURCE],
        ["install", "-bogus"], ["required"], ["remove", SOURCE, ">= 1", "more"],
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_1_and_says_why(say, words):
    status, text = say("plugins", *words)
    assert status == 1
    assert text.strip()
    assert "Traceback" not in text


def test_a_list_of_plugin_directories_is_refused(say, monkeypatch):
    monkeypatch.setenv("PACKER_PLUGIN_PATH", "/a:/b")
    status, text = say("plugins", "installed")
    assert (status, "PACKER_PLUGIN_PATH" in text) == (1, True)
