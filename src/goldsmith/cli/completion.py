"""`goldsmith completion`: scripts that let shells complete verbs, flags and files.

They are made from the tables that read the command line, so they cannot know less or more than it.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module

from goldsmith.cli.app import VERBS, module_of
from goldsmith.cli.flags import Flag
from goldsmith.cli.native_flags import NativeParser
from goldsmith.ui.terminal import write_line


@dataclass(frozen=True, slots=True)
class Option:
    """A flag of a verb; `choices` are the only values that it takes, where they are known."""

    name: str
    help: str
    takes_value: bool
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class VerbWords:
    """What may follow a verb: words of its own, and flags; files may stand everywhere."""

    name: str
    help: str
    words: tuple[str, ...]
    options: tuple[Option, ...]


def verb_table() -> list[VerbWords]:
    """Every verb with its flags, from the tables of the verbs themselves."""
    return [_verb_words(name, text) for name, text in VERBS.items()]


def _verb_words(verb: str, text: str) -> VerbWords:
    module = import_module(module_of(verb))
    flags: Mapping[str, Flag] = getattr(module, "FLAGS", {})
    options = [Option(name, flag.help, flag.kind != "bool") for name, flag in flags.items()]
    words: tuple[str, ...] = ()
    if make := getattr(module, "command_parser", None):
        words, options = _of_parser(make())
    known = {option.name: option for option in options}
    return VerbWords(verb, text, words, tuple(known[name] for name in sorted(known)))


def _of_parser(parser: argparse.ArgumentParser) -> tuple[tuple[str, ...], list[Option]]:
    """The words and flags of a parser, those of its commands among them."""
    words: list[str] = []
    options: list[Option] = []
    for action in parser._actions:
        choices = tuple(str(choice) for choice in action.choices or ())
        if isinstance(action, argparse._SubParsersAction):
            words += choices
            for command in action.choices.values():
                options += _of_parser(command)[1]
        elif not action.option_strings:
            words += choices
        else:
            long_names = {name.lstrip("-") for name in action.option_strings if len(name) > 2}
            options += [
                Option(name, action.help or "", action.nargs != 0, choices)
                for name in sorted(long_names)
            ]
    return tuple(words), options


def bash_script(verbs: list[VerbWords]) -> str:
    """The script for bash; after `=` it starts a word of its own, as bash does by default."""
    cases, values = "", ""
    for verb in verbs:
        flags = " ".join(f"-{one.name}{'=' if one.takes_value else ''}" for one in verb.options)
        words = f" words='{' '.join(verb.words)}'" if verb.words else ""
        cases += f"    {verb.name}) flags='{flags}'{words} ;;\n"
        for one in verb.options:
            if one.choices:
                chosen = " ".join(one.choices)
                values += f"    '{verb.name} {one.name}') words='{chosen}'; only=1 ;;\n"
    return f"""# Completion of goldsmith for bash: source <(goldsmith completion bash)
_goldsmith() {{
  local cur=${{COMP_WORDS[COMP_CWORD]}} verb='' flag='' flags='' words='' only='' i
  COMPREPLY=()
  for ((i = 1; i < COMP_CWORD; i++)); do
    if [[ ${{COMP_WORDS[i]}} != -* ]]; then
      verb=${{COMP_WORDS[i]}}
      break
    fi
  done
  if [[ -z $verb ]]; then
    words='{" ".join(verb.name for verb in verbs)}'
    mapfile -t COMPREPLY < <(compgen -W "$words --help --version" -- "$cur")
    return
  fi
  case $verb in
{cases}  esac
  if [[ $cur == '=' ]]; then
    flag=${{COMP_WORDS[COMP_CWORD-1]}}
    cur=''
  elif [[ ${{COMP_WORDS[COMP_CWORD-1]}} == '=' ]]; then
    flag=${{COMP_WORDS[COMP_CWORD-2]}}
  else
    flag=${{COMP_WORDS[COMP_CWORD-1]}}
  fi
  flag=${{flag#-}}
  flag=${{flag#-}}
  case "$verb $flag" in
{values}    *) ;;
  esac
  if [[ $cur == --* ]]; then
    mapfile -t COMPREPLY < <(compgen -P - -W "$flags" -- "${{cur#-}}")
  elif [[ $cur == -* ]]; then
    mapfile -t COMPREPLY < <(compgen -W "$flags" -- "$cur")
  else
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur"; [[ $only ]] || compgen -f -- "$cur")
  fi
  if ((${{#COMPREPLY[@]}} == 1)) && [[ ${{COMPREPLY[0]}} == -*= ]]; then
    compopt -o nospace 2>/dev/null
  fi
}}
complete -o filenames -F _goldsmith goldsmith"""


def zsh_script(verbs: list[VerbWords]) -> str:
    """The script for zsh, to be sourced or to stand in a file `_goldsmith` of `fpath`."""
    names = " ".join(_quoted(f"{verb.name}:{verb.help}") for verb in verbs)
    cases = ""
    for verb in verbs:
        flags = " ".join(_quoted(f"-{one.name}:{_escaped(one.help)}") for one in verb.options)
        words = " ".join(_quoted(word) for word in verb.words)
        cases += f"    {verb.name}) flags=({flags}) own=({words}) ;;\n"
    return f"""#compdef goldsmith
# Completion of goldsmith for zsh: source <(goldsmith completion zsh)
_goldsmith() {{
  local -a verbs flags own
  verbs=({names})
  if (( CURRENT == 2 )); then
    _describe 'command' verbs
    return
  fi
  case ${{words[2]}} in
{cases}  esac
  if [[ $PREFIX == -*=* ]]; then
    compset -P '*='
    _files
  elif [[ $PREFIX == -* ]]; then
    _describe -o 'option' flags
  else
    (( $#own )) && _describe 'word' own
    _files
  fi
}}
if [[ ${{funcstack[1]}} == _goldsmith ]]; then
  _goldsmith "$@"
else
  compdef _goldsmith goldsmith
fi"""


def fish_script(verbs: list[VerbWords]) -> str:
    """The script for fish; Go's single dash is its old style of options, and both are offered."""
    lines = ["# Completion of goldsmith for fish: goldsmith completion fish | source"]
    for verb in verbs:
        lines.append(
            f"complete -c goldsmith -n __fish_use_subcommand -f -a {verb.name}"
            f" -d {_fish(verb.help)}"
        )
    for verb in verbs:
        start = f"complete -c goldsmith -n '__fish_seen_subcommand_from {verb.name}'"
        if verb.words:
            lines.append(f"{start} -a {_fish(' '.join(verb.words))}")
        for one in verb.options:
            value = f" -x -a {_fish(' '.join(one.choices))}" if one.choices else " -r"
            lines.append(
                f"{start} -o {one.name} -l {one.name}"
                f"{value if one.takes_value else ''} -d {_fish(one.help)}"
            )
    return "\n".join(lines)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace(":", "\\:")


def _fish(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


_SCRIPTS: Mapping[str, Callable[[list[VerbWords]], str]] = {
    "bash": bash_script,
    "fish": fish_script,
    "zsh": zsh_script,
}


def run(words: list[str], machine_readable: bool) -> int:
    """Print the script for a shell; 0, or 2 for usage."""
    try:
        options = command_parser().parse_args(words)
    except SystemExit as e:
        return int(e.code or 0)
    write_line(_SCRIPTS[options.shell](verb_table()))
    return 0


def command_parser() -> NativeParser:
    """The words of the verb."""
    parser = NativeParser(
        prog="goldsmith completion", allow_abbrev=False,
        description="Prints a script that completes verbs, flags and files of goldsmith. For bash, "
        "in ~/.bashrc: source <(goldsmith completion bash)",
    )  # fmt: skip
    parser.add_argument("shell", choices=sorted(_SCRIPTS), help="the shell that reads it")
    return parser
