"""Completion knows what the command line knows: its scripts are made from the same tables."""

import pytest

from goldsmith.cli import app, build, completion
from goldsmith.cli.app import VERBS
from goldsmith.cli.completion import bash_script, fish_script, verb_table, zsh_script


@pytest.fixture(scope="module")
def verbs():
    return {verb.name: verb for verb in verb_table()}


def test_every_verb_is_there_with_its_summary(verbs):
    assert {name: verb.help for name, verb in verbs.items()} == VERBS


def test_flags_come_from_the_tables_of_packers_verbs(verbs):
    options = {option.name: option for option in verbs["build"].options}
    assert options.keys() == build.FLAGS.keys()
    assert options["var"].takes_value
    assert not options["force"].takes_value


def test_flags_come_from_the_parsers_of_native_verbs(verbs):
    options = {option.name: option for option in verbs["boot"].options}
    assert options["firmware"].choices == ("bios", "uefi")
    assert not options["console"].takes_value
    assert "no-snapshot" in options
    assert verbs["cache"].words[:2] == ("ls", "show")
    assert "unused-for" in {option.name for option in verbs["cache"].options}


@pytest.mark.parametrize("write", [bash_script, zsh_script, fish_script])
def test_every_script_names_every_flag(write, verbs):
    script = write(list(verbs.values()))
    for verb in verbs.values():
        assert verb.name in script
        for option in verb.options:
            assert option.name in script


def test_a_script_is_printed(capsys):
    assert app.run(["completion", "fish"]) == 0
    said = capsys.readouterr().out
    assert "complete -c goldsmith -n __fish_use_subcommand -f -a validate" in said


def test_another_shell_is_refused(capsys):
    assert completion.run(["tcsh"], False) == 2
    assert "tcsh" in capsys.readouterr().err
