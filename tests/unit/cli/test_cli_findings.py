"""Everything wrong with a template in one run, in the order of its lines; -strict says more."""

import pytest

from goldsmith.cli import app

BOTH_STAGES = """locals {
  a = "x" + 1
}
source "null" "b" {
  communicator = "nothing"
  wrong        = 1
}
build {
  sources = ["source.null.b"]
  provisioner "shel-local" {
  }
  provisioner "shell-local" {
    inline = ["${var.nosuch}"]
  }
  provisioner "shell-local" {
    inlin = []
  }
}
"""
CLEAN = """variable "used" {
  default = "a"
}
variable "spare" {
  default = "b"
}
locals {
  kept  = var.used
  other = 1
}
source "null" "a" {
  communicator = "none"
}
source "null" "b" {
  communicator = "none"
}
build {
  sources = ["source.null.a"]
  provisioner "shell-local" {
    inline = [local.kept]
  }
}
"""


@pytest.fixture
def said(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)

    def run(text, *words):
        (tmp_path / "t.pkr.hcl").write_text(text)
        status = app.run([*words, "t.pkr.hcl"])
        printed = capsys.readouterr()
        return status, printed.out + printed.err

    return run


def places(text):
    return [line.split(":")[1] for line in text.splitlines() if line.startswith("  on t.pkr.hcl:")]


@pytest.mark.parametrize("verb", ["validate", "plan"])
def test_language_and_components_are_told_together(said, verb):
    status, text = said(BOTH_STAGES, verb)
    assert status == 1
    assert places(text) == ["2", "5", "6", "10", "13", "16"]
    assert 'Did you mean "shell-local"?' in text
    assert 'Did you mean "inline"?' in text
    assert "communicator 'nothing' does not exist" in text, "a wrong key hides no other finding"


def test_names_that_nobody_uses_are_no_matter_by_default(said):
    assert said(CLEAN, "validate")[0] == 0


def test_strict_refuses_what_nobody_uses(said):
    status, text = said(CLEAN, "validate", "-strict")
    assert status == 1
    assert places(text) == ["4", "9", "14"]
    for name in ("var.spare", "local.other", "source.null.b"):
        assert f"{name} is declared, and nothing in the template refers to it." in text


def test_strict_refuses_values_for_what_nobody_declares(said, tmp_path):
    (tmp_path / "x.pkrvars.hcl").write_text('usd = "a"\n')
    words = ("-var-file=x.pkrvars.hcl",)
    clean = HEADLESS
    assert said(clean, "validate", *words)[0] == 0
    status, text = said(clean, "validate", "-strict", *words)
    assert status == 1
    assert "Error: Undefined variable" in text


HEADLESS = """source "null" "a" {
  communicator = "none"
}
build {
  sources = ["null.a"]
}
"""
