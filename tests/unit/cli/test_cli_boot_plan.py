"""What `goldsmith boot` makes of its command line, before anything runs."""

import argparse
import contextlib
import json
import shutil
from pathlib import Path

import pytest

from goldsmith.builders.image.output import MANIFEST_SCHEMA
from goldsmith.cli import boot as verb
from goldsmith.errors import GoldsmithError, Interrupted, UsageError
from goldsmith.host import journal
from goldsmith.machine.acceleration import Acceleration
from goldsmith.machine.qemu import BootResult


@pytest.fixture
def image(tmp_path):
    def make(name, **entry):
        """An image of 4 bytes; with `entry`, a manifest beside it that has it for this name."""
        path = tmp_path / name
        path.write_bytes(b"disk")
        if entry:
            firmware = entry.pop("firmware", ["bios", "uefi"])
            schema = entry.pop("schema", MANIFEST_SCHEMA)
            document = {
                "goldsmith_manifest": schema, "firmware": firmware,
                "files": {name: {"format": "qcow2", "size_bytes": 4, **entry}},
            }  # fmt: skip
            manifest = tmp_path / f"{name.split('.')[0]}.manifest.json"
            manifest.write_text(json.dumps(document))
        return path

    return make


def plan(*words):
    return verb.plan_boots(verb.command_parser().parse_args([str(word) for word in words]))


def test_defaults(image):
    (only,) = plan(image("a.qcow2"))
    assert (only.format, only.firmware, only.expect) == ("qcow2", "bios", "login:")
    assert (only.timeout_s, only.memory_bytes, only.cpus) == (300.0, 1 << 30, 1)
    assert only.serial_log is None


def test_everything_given(image):
    (only,) = plan(
        image("a.img"), "--format=raw", "--firmware=uefi", "--expect", "ready", "--timeout=1m30s",
        "--memory", "512MiB", "--cpus=2", "--serial-log", "logs/x.log",
    )  # fmt: skip
    assert (only.format, only.firmware, only.expect) == ("raw", "uefi", "ready")
    assert (only.timeout_s, only.memory_bytes, only.cpus) == (90.0, 512 << 20, 2)
    assert only.serial_log == Path("logs/x.log")


@pytest.mark.parametrize(
    ("name", "kind"),
    [("a.raw", "raw"), ("A.RAW", "raw"), ("b.x.qcow2", "qcow2"), ("a.vmdk", "vmdk"),
     ("a.vdi", "vdi"), ("a.vhdx", "vhdx"), ("a.vhd", "vpc"), ("a.raw.gz", "raw.gz"),
     ("a.raw.zst", "raw.zst")],
)  # fmt: skip
def test_the_ending_says_the_format(image, name, kind):
    assert [options.format for options in plan(image(name))] == [kind]


@pytest.mark.parametrize("name", ["a.img", "a", "a.qcow2.bak", "qcow2", "a.gz", "raw.gz"])
def test_no_other_name_says_it(image, name):
    with pytest.raises(UsageError) as caught:
        plan(image(name))
    assert "--format" in (caught.value.hint or "")


def test_the_manifest_names_firmwares_and_format(image):
    boots = plan(image("debian.img", format="raw"))
    assert [(options.firmware, options.format) for options in boots] == [
        ("bios", "raw"), ("uefi", "raw")]  # fmt: skip


def test_the_command_line_wins_over_the_manifest(image):
    boots = plan(image("debian.img", format="raw"), "--firmware=uefi", "--format=qcow2")
    assert [(options.firmware, options.format) for options in boots] == [("uefi", "qcow2")]


def test_a_name_with_dots_finds_its_manifest(image, tmp_path):
    path = image("web.v1.raw")
    document = {"goldsmith_manifest": MANIFEST_SCHEMA, "firmware": ["uefi"],
                "files": {path.name: {"format": "raw", "size_bytes": 4}}}  # fmt: skip
    (tmp_path / "web.v1.manifest.json").write_text(json.dumps(document))
    assert [options.firmware for options in plan(path)] == ["uefi"]


@pytest.mark.parametrize(
    "entry", [{"size_bytes": 5}, {"schema": MANIFEST_SCHEMA + 1}, {"format": None}]
)
def test_a_manifest_that_does_not_fit_counts_for_nothing(image, entry):
    path = image("debian.raw", **entry)
    if entry == {"format": None}:
        (path.with_name("debian.manifest.json")).write_text("{ torn")
    assert [(options.firmware, options.format) for options in plan(path)] == [("bios", "raw")]


def test_a_format_that_cannot_be_booted_is_refused(image):
    with pytest.raises(UsageError, match="parallels"):
        plan(image("debian.hdd", format="parallels"))


def test_an_image_made_for_no_firmware_is_refused_unless_one_is_named(image):
    path = image("debian.qcow2", firmware=[])
    with pytest.raises(UsageError, match="no firmware"):
        plan(path)
    assert [options.firmware for options in plan(path, "--firmware=bios")] == ["bios"]


def test_each_firmware_gets_a_log_of_its_own(image):
    boots = plan(image("debian.qcow2", format="qcow2"), "--serial-log", "logs/console.txt")
    assert [str(options.serial_log) for options in boots] == [
        "logs/console.bios.txt", "logs/console.uefi.txt"]  # fmt: skip


def warned(*words):
    return verb.warnings(verb.command_parser().parse_args([str(word) for word in words]))


def test_a_firmware_that_the_image_was_not_made_for_is_told(image):
    path = image("debian.qcow2", firmware=["bios"])
    assert warned(path) == warned(path, "--firmware=bios") == []
    (text,) = warned(path, "--firmware=uefi")
    assert "was made for bios" in text
    assert "no boot loader for uefi" in text
    (text,) = warned(image("data.qcow2", firmware=[]), "--firmware=bios")
    assert "was made for no firmware" in text


def test_another_format_and_another_size_than_the_manifest_says_are_told(image):
    (text,) = warned(image("debian.qcow2", format="qcow2"), "--format=raw")
    assert text.endswith("is qcow2, as its manifest says, not raw")
    (text,) = warned(image("cut.raw", format="raw", size_bytes=4096))
    assert "has 4 B and its manifest says 4 KiB" in text
    assert warned(image("alone.raw")) == []


def test_writes_are_thrown_away_unless_that_is_refused(image):
    path = image("a.raw")
    assert [plan(path, *words)[0].snapshot for words in ([], ["-snapshot"], ["--snapshot"])] == [
        True] * 3  # fmt: skip
    assert not plan(path, "--no-snapshot")[0].snapshot
    with pytest.raises(UsageError, match="kept in a vdi"):
        plan(image("a.vdi"), "--no-snapshot")


def test_ports_and_the_console_belong_to_one_machine(image):
    path = image("debian.qcow2", format="qcow2")
    (only,) = plan(path, "--forward=2222:22", "--forward", "8080:80", "--serial-log=x.log")
    assert (only.firmware, only.serial_log) == ("bios", Path("x.log"))
    assert [str(f) for f in only.forwards] == ["127.0.0.1:2222 -> 22", "127.0.0.1:8080 -> 80"]
    assert [options.firmware for options in plan(path, "--console")] == ["bios"]
    for word in ("--console", "--forward=2222:22"):
        with pytest.raises(UsageError, match=word.partition("=")[0]):
            plan(path, word, "--firmware=bios", "--firmware=uefi")


@pytest.mark.parametrize("word", ["--expect=x", "--timeout=1s", "--quiet"])
def test_a_console_waits_for_nothing(image, word):
    with pytest.raises(UsageError, match=word.partition("=")[0]):
        plan(image("a.raw"), "--console", word)


def test_an_image_that_is_not_there_is_named(tmp_path):
    with pytest.raises(GoldsmithError, match=r"absent\.qcow2") as caught:
        plan(tmp_path / "absent.qcow2")
    assert caught.value.exit_code == 1


@pytest.mark.parametrize(
    "words",
    [[], ["a", "b"], ["a", "--memory=1Q"], ["a", "--timeout", "soon"], ["a", "--cpus=x"],
     ["a", "--firmware=coreboot"], ["a", "--format=vhs"], ["a", "--forward=22"], ["a", "--quie"],
     ["a", "--nope"]],
)  # fmt: skip
def test_a_wrong_command_line_is_2(words, capsys):
    assert verb.run(words, False) == 2
    said = capsys.readouterr()
    assert (said.out, "goldsmith boot: error:" in said.err) == ("", True)


def test_help_is_0(capsys):
    assert verb.run(["--help"], False) == 0
    assert "--serial-log" in capsys.readouterr().out


@pytest.fixture
def boots(monkeypatch, tmp_path):
    """Replaces the machine: what was booted, in order."""
    seen = []

    def boot(options, *, directory, on_line):
        assert directory.parent == tmp_path / "state" / "runs"
        seen.append(options.firmware)
        if on_line is not None:
            on_line("hello")
        return BootResult(seen=True, duration_s=2, acceleration=Acceleration("tcg", "a test"),
                          firmware=options.firmware, log=None)  # fmt: skip

    monkeypatch.setattr(verb, "boot", boot)
    monkeypatch.setattr(verb, "start_watcher", contextlib.nullcontext)
    monkeypatch.setattr(journal, "remove_tree", shutil.rmtree)
    monkeypatch.setattr(verb, "get_tool", lambda tool: tool)
    monkeypatch.setenv("GOLDSMITH_CACHE_DIR", str(tmp_path / "state"))
    return seen


def test_all_firmwares_are_booted_in_turn(image, boots, capsys):
    path = image("debian.qcow2", format="qcow2")
    assert verb.run([str(path)], False) == 0
    assert boots == ["bios", "uefi"]
    assert capsys.readouterr().out.splitlines() == [
        "==> Booting debian.qcow2 by bios, waiting for 'login:'...",
        "hello",
        "==> Booted by bios in 2 seconds (tcg)",
        "==> Booting debian.qcow2 by uefi, waiting for 'login:'...",
        "hello",
        "==> Booted by uefi in 2 seconds (tcg)",
    ]


def test_quiet_leaves_the_console_out(image, boots, capsys):
    assert verb.run([str(image("a.raw")), "--quiet"], False) == 0
    assert "hello" not in capsys.readouterr().out


@pytest.mark.parametrize(("name", "status"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_an_interrupt_is_told_by_the_status(image, boots, monkeypatch, capsys, name, status):
    def interrupted(options, **_):
        raise Interrupted(name)

    monkeypatch.setattr(verb, "boot", interrupted)
    assert verb.run([str(image("a.raw"))], False) == status
    assert capsys.readouterr().err == f"goldsmith boot: interrupted by {name}\n"


def test_units_tell_the_parser_in_their_own_words():
    with pytest.raises(argparse.ArgumentTypeError, match="not a size"):
        verb._unit(verb.parse_size_bytes)("much")


def test_further_disks_are_of_the_formats_that_their_names_say(image):
    first, second = image("b.raw"), image("c.qcow2")
    (only,) = plan(image("a.qcow2"), "--disk", first, "--disk", second)
    assert only.disks == ((first, "raw"), (second, "qcow2"))


def test_a_further_disk_that_is_not_there_or_has_no_format_is_refused(image, tmp_path):
    with pytest.raises(GoldsmithError, match=r"no image .*absent\.raw"):
        plan(image("a.qcow2"), "--disk", tmp_path / "absent.raw")
    with pytest.raises(UsageError, match="does not say what format"):
        plan(image("a.qcow2"), "--disk", image("b.img"))
    with pytest.raises(UsageError, match="kept in a vmdk"):
        plan(image("a.qcow2"), "--disk", image("b.vmdk"), "--no-snapshot")
