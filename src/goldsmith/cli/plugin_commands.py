"""The commands of plugins: `goldsmith NAME ...` where NAME is no verb of goldsmith's own."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from goldsmith.errors import GoldsmithError
from goldsmith.ui.terminal import write_line

if TYPE_CHECKING:
    from goldsmith.plugin.protocols import Command
    from goldsmith.plugin.remote.catalogue import Catalogue
    from goldsmith.plugin.remote.session import Session

KIND: Final = "command"
_HELP: Final = ("-help", "--help", "-h")


class TerminalUi:
    """The user at the terminal, as commands of plugins reach him (see `protocols.Ui`)."""

    def say(self, text: str) -> None:
        """Print a line."""
        write_line(text)

    def message(self, text: str) -> None:
        """Print a line."""
        write_line(text)

    def error(self, text: str) -> None:
        """Print a line on standard error."""
        write_line(text, stream=sys.stderr)

    def ask(self, question: str) -> str:
        """The user's answer; raises GoldsmithError when nobody can answer."""
        if not sys.stdin.isatty():
            raise GoldsmithError("no available tty: nobody can be asked")
        write_line(question, stream=sys.stderr)
        return sys.stdin.readline().rstrip("\n")

    def machine(self, category: str, args: Sequence[str]) -> None:
        """Print the words with commas, as data."""
        write_line(",".join([category, *args]))

    @contextmanager
    def progress(self, name: str, *, current: int = 0, total: int = 0) -> Iterator[TerminalUi]:
        """Nothing is shown: a command says itself how far it is."""
        yield self

    def add(self, count: int) -> None:
        """Nothing is shown."""


def names(catalogue: Catalogue | None = None) -> list[str]:
    """The names of all commands; plugins that cannot be asked are left out."""
    from goldsmith.plugin.remote.catalogue import Catalogue

    try:
        return (catalogue or Catalogue()).names(KIND)
    except GoldsmithError:
        return []


def synopses() -> dict[str, str]:
    """The line that each command says of itself."""
    from goldsmith.plugin.remote.catalogue import Catalogue

    told: dict[str, str] = {}
    catalogue = Catalogue()
    if not (commands := names(catalogue)):
        return told  # without what a session imports: few hosts have any, and `--help` is quick
    with _session() as session:
        for name in commands:
            place = catalogue.find(KIND, name)
            assert place is not None, "it was listed"
            try:
                with session.passing_use(place) as use, use.phase("synopsis"):
                    told[name] = use.component.synopsis
            except GoldsmithError as error:
                told[name] = f"cannot be used: {error}".partition("\n")[0]
    return told


def run(name: str, words: list[str]) -> int | None:
    """Run a plugin's command; returns its exit code, None where there is none of that name."""
    from goldsmith.plugin.remote.catalogue import Catalogue

    place = Catalogue().find(KIND, name)
    if place is None:
        return None
    with _session() as session, session.passing_use(place) as use, use.phase("run"):
        command: Command = use.component
        if words[:1] and words[0] in _HELP:
            write_line(command.help.rstrip("\n") or command.synopsis)
            return 0
        return command.run(words, TerminalUi())


def _session() -> Session:
    """The processes of the commands that are asked here."""
    from goldsmith.cli.plugin_session import own_watcher
    from goldsmith.plugin.remote.configuration import RunSettings
    from goldsmith.plugin.remote.session import Session
    from goldsmith.template.hcl2.scope import PACKER_VERSION

    return Session(RunSettings(core_version=PACKER_VERSION), own_watcher)
