"""`goldsmith elements`, as people call it."""

import xml.etree.ElementTree as xml

import pytest

from goldsmith.cli import elements
from goldsmith.elements.catalog import upstream_package
from goldsmith.errors import GoldsmithError


@pytest.fixture(autouse=True)
def own_elements(tmp_path, monkeypatch):
    place = tmp_path / "elements/mine"
    (place / "install.d").mkdir(parents=True)
    (place / "README.rst").write_text("====\nmine\n====\nPuts a message into the image.\n")
    (place / "element-deps").write_text("install-bin\n")
    (place / "package-installs.yaml").write_text("curl:\n")
    (place / "install.d/10-message").write_text("#!/bin/sh\ntrue")
    (place / "install.d/10-message").chmod(0o755)
    monkeypatch.setenv("ELEMENTS_PATH", str(tmp_path / "elements"))
    monkeypatch.chdir(tmp_path)
    return place


def test_ls_has_ours_and_upstreams(capsys):
    assert elements.run(["ls"], False) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == sorted(line.split()[0] for line in lines)
    assert any(line.split(None, 1) == ["mine", "Puts a message into the image."] for line in lines)
    assert any(line.startswith("debian-minimal ") for line in lines)


def test_ls_warns_of_hidden_ones(own_elements, capsys):
    (own_elements.parent / "vm").mkdir()
    assert elements.run(["ls", "--paths"], False) == 0
    assert "Warning: vm: " in capsys.readouterr().err


def test_show_tells_what_it_is_made_of(capsys):
    assert elements.run(["show", "mine"], False) == 0
    said = capsys.readouterr().out
    assert "needs     install-bin" in said
    assert "declares  package-installs.yaml" in said
    assert "install.d\n  10-message" in said


def test_an_unknown_element_is_an_error_with_what_was_meant():
    with pytest.raises(GoldsmithError, match="'mien' not found") as caught:
        elements.run(["show", "mien"], False)
    assert "did you mean mine?" in caught.value.hint


def test_graph_is_a_drawing_with_every_element(tmp_path, capsys):
    words = ["graph", "vm", "debian-minimal", "mine"]
    assert elements.run([*words, "-o", "graph.svg"], False) == 0
    drawing = xml.parse(tmp_path / "graph.svg").getroot()  # noqa: S314 - our own
    names = {group.get("id") for group in drawing.iter("{http://www.w3.org/2000/svg}g")}
    assert {"mine", "base", "vm", "debootstrap", "block-device-mbr"} <= names
    assert elements.run(words, False) == 0
    assert capsys.readouterr().out == (tmp_path / "graph.svg").read_text()


def test_lint_fails_and_mends(own_elements, capsys):
    assert elements.run(["lint", "elements"], False) == 1
    said = capsys.readouterr()
    assert "10-message:2: the last line does not end [newline]" in said.out
    assert "1 finding; --fix mends 1 of them" in said.err
    assert elements.run(["lint", "--fix", "elements/mine"], False) == 0
    assert "mended: " in capsys.readouterr().out
    assert elements.run(["lint", "elements/mine"], False) == 0


def test_what_mending_brings_to_light_is_mended_too(own_elements, capsys):
    hook = own_elements / "install.d/20-more"
    hook.write_text("#!/usr/bin/env bash\n# dib-lint: disable=sete setu setpipefail dibdebugtrace")
    hook.chmod(0o644)
    assert elements.run(["lint", "--fix", "elements"], False) == 0
    assert hook.read_text().startswith("#!/bin/bash\n")
    assert hook.read_text().endswith("\n")
    capsys.readouterr()


def test_all_of_upstreams_elements_can_be_linted_at_once(capsys):
    assert elements.run(["lint", str(upstream_package() / "elements")], False) == 0
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("words", [[], ["nosuch"], ["show"], ["ls", "--nosuch"]])
def test_wrong_words_are_usage(words):
    assert elements.run(words, False) == 2


def test_what_is_no_directory_is_an_error():
    with pytest.raises(GoldsmithError, match="nosuch is not a directory"):
        elements.run(["lint", "nosuch"], False)
