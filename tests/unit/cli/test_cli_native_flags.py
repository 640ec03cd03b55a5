"""Flags of native verbs: one dash or two, values either way, and what is wrong is named."""

import argparse

import pytest

from goldsmith.cli import clean, doctor, schema
from goldsmith.cli.native_flags import NativeParser


@pytest.fixture
def parser():
    parser = NativeParser(prog="goldsmith x", allow_abbrev=False)
    parser.add_argument("image")
    parser.add_argument("--timeout", default="5m")
    parser.add_argument("--dry-run", action="store_true")
    parser.add_argument("--keep", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--many", action="append", default=[])
    return parser


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["-timeout=1s", "i"], {"timeout": "1s"}),
        (["--timeout", "1s", "i"], {"timeout": "1s"}),
        (["i", "-timeout", "1s"], {"timeout": "1s"}),
        (["-timeout", "-dry-run", "i"], {"timeout": "-dry-run", "dry_run": False}),
        (["-timeout=a=b", "i"], {"timeout": "a=b"}),
        (["-timeout=", "i"], {"timeout": ""}),
        (["-dry-run", "i"], {"dry_run": True}),
        (["-dry-run=true", "i"], {"dry_run": True}),
        (["--dry-run=false", "i"], {"dry_run": False}),
        (["-keep=false", "i"], {"keep": False}),
        (["-no-keep", "i"], {"keep": False}),
        (["-many", "a", "--many=b", "i"], {"many": ["a", "b"]}),
        (["-dry-run", "--", "-timeout"], {"image": "-timeout", "dry_run": True}),
    ],
)
def test_both_ways_of_writing_are_read(parser, words, wanted):
    given = vars(parser.parse_args(words))
    assert {name: given[name] for name in wanted} == wanted


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["i", "-timout=1s"], 'unknown flag -timout. Did you mean "timeout"?'),
        (["i", "--frob"], "unknown flag -frob"),
        (["i", "-dry-run=maybe"], 'invalid boolean value "maybe" for -dry-run'),
        (["i", "-timeout"], "expected one argument"),
    ],
)
def test_what_is_wrong_is_named(parser, words, message, capsys):
    with pytest.raises(SystemExit) as caught:
        parser.parse_args(words)
    assert caught.value.code == 2
    assert capsys.readouterr().err.rstrip().endswith(message)


@pytest.mark.parametrize("word", ["-h", "-help", "--help"])
@pytest.mark.parametrize("verb", [clean, doctor, schema])
def test_help_is_asked_for_in_every_way(verb, word, capsys):
    assert verb.run([word], False) == 0
    assert capsys.readouterr().out.startswith("usage: goldsmith")


def test_clean_takes_its_flag_with_one_dash(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("GOLDSMITH_CACHE_DIR", str(tmp_path / "state"))
    assert clean.run(["-dry-run"], False) == 0
    assert capsys.readouterr().out == "Nothing is left to clean.\n"
