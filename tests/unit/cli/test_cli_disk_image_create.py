"""`goldsmith disk-image-create` and its kin before anything is built."""

import os
import sys

import pytest

from goldsmith.cli import app, disk_image_create, diskimage_builder, ramdisk_image_create
from goldsmith.errors import TemplateError


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch):
    for name in list(os.environ):
        if name.startswith(("DIB_", "IMAGE_", "ELEMENTS")):
            monkeypatch.delenv(name)


@pytest.mark.parametrize("words", [["-h"], ["--help"], ["--he"], ["-help"]])
def test_help_lists_options_and_variables(words, capsys):
    assert disk_image_create.run(words, False) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("Usage: disk-image-create [OPTION]... ELEMENT...\n")
    assert "--mkfs-journal-size VALUE" in printed
    assert "ELEMENTS_PATH" in printed


def test_help_of_the_other_program(capsys):
    assert ramdisk_image_create.run(["--help"], False) == 0
    assert capsys.readouterr().out.startswith("Usage: ramdisk-image-create ")


def test_every_option_of_the_reader_is_described():
    from goldsmith.template.dib import request

    known = {**request._SHORT, **request._LONG}
    assert {*disk_image_create.OPTIONS, "h"} == set(known)
    for name, flag in disk_image_create.OPTIONS.items():
        assert known[name] == (flag.kind != "bool")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "ERROR: At least one distribution root element must be specified"),
        (["-t", "q/3", "vm"], "ERROR: -t q/3: "),
        (["--image-size", "big", "vm"], "ERROR: --image-size big: it is not a size"),
        (["--wrong"], "ERROR: unrecognized option '--wrong'"),
        (["-t", "docker", "vm"], "ERROR: -t docker needs --docker-target"),
    ],
)
def test_wrong_words_end_with_1(words, told, capsys):
    assert disk_image_create.run(words, False) == 1
    assert told in capsys.readouterr().err


@pytest.fixture
def goes_on(monkeypatch):
    """The program ends as others do, so that the tests go on."""
    monkeypatch.setattr(app, "_end_at_once", lambda status: None)


@pytest.mark.parametrize("name", ["disk-image-create", "ramdisk-image-create"])
def test_a_link_of_that_name_is_the_verb(name, goes_on, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [f"/usr/local/bin/{name}", "--help"])
    with pytest.raises(SystemExit) as ended:
        app.main()
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith(f"Usage: {name} ")


def test_a_link_called_dib_lint_has_its_name_and_checks_a_whole_project(
    tmp_path, goes_on, monkeypatch, capsys
):
    (tmp_path / "diskimage_builder/elements/mine").mkdir(parents=True)
    (tmp_path / "diskimage_builder/elements/mine/element-deps").write_text("b\na\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ELEMENTS_DIR", raising=False)
    for words, status, told in (
        ([], 1, "element-deps"), (["--help"], 0, "usage: dib-lint "),
        (["--nosuch"], 2, "dib-lint: error: "),
    ):  # fmt: skip
        monkeypatch.setattr(sys, "argv", ["/usr/local/bin/dib-lint", *words])
        with pytest.raises(SystemExit) as ended:
            app.main()
        assert ended.value.code == status
        printed = capsys.readouterr()
        assert told in printed.out + printed.err


def test_wrong_words_and_a_wrong_image_are_told_together(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = ["--image-size", "big", "-a", "amd46", "-o", "/proc/x", "-t", "tar", "nosuch"]
    assert disk_image_create.run(words, False) == 1
    told = capsys.readouterr().err
    for mistake in ("--image-size big: ", "-a amd46: ", "-o /proc/x: ", "Element 'nosuch' "):
        assert f"ERROR: {mistake}" in told
    assert "ERROR: ERROR" not in told


def test_dry_run_prints_commands_and_runs_none(tmp_path, capsys):
    described = tmp_path / "images.yaml"
    described.write_text(
        "- imagename: one\n  elements: [vm, debian-minimal]\n  environment: {DIB_RELEASE: 'a b'}\n"
        "- imagename: two\n  ramdisk: true\n  elements: [x]\n"
    )
    assert diskimage_builder.run(["--dry-run", str(described)], False) == 0
    assert capsys.readouterr().err.split("\n\n") == [
        "DIB_RELEASE='a b' disk-image-create -o one vm debian-minimal",
        "ramdisk-image-create -o two x",
        "",
    ]


def test_every_image_is_tried_unless_it_stops_at_the_first(tmp_path, capsys):
    described = tmp_path / "images.yaml"
    described.write_text("- imagename: one\n  elements: []\n- imagename: two\n  elements: []\n")
    assert diskimage_builder.run([str(described)], False) == 1
    assert capsys.readouterr().err.count("At least one distribution root element") == 2
    assert diskimage_builder.run(["--stop-on-failure", str(described)], False) == 1
    assert capsys.readouterr().err.count("At least one distribution root element") == 1


def test_wrong_descriptions_are_found_before_anything_runs(tmp_path):
    described = tmp_path / "images.yaml"
    described.write_text("- imagename: one\n  typs: [qcow2]\n")
    with pytest.raises(TemplateError) as caught:
        diskimage_builder.run([str(described)], False)
    assert "typs" in caught.value.diagnostics[0].summary
