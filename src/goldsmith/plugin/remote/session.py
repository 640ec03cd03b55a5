"""The plugins' processes of one command, each for one use of a component, until they are released.

A component is prepared when the template is checked and used when it is its turn, by the same
process, as Packer does.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from goldsmith.core.foreign import Surroundings
from goldsmith.errors import GoldsmithError
from goldsmith.plugin.discovery import digest_of
from goldsmith.plugin.printed import logged_prints, printing_to
from goldsmith.plugin.remote.configuration import RunSettings
from goldsmith.plugin.remote.places import KIND_NAMES, ComponentPlace
from goldsmith.plugin.wire.errors import RemoteError, WireError

if TYPE_CHECKING:
    from goldsmith.plugin.client import Client

UseKey = tuple[str, str, str, str]


@dataclass(slots=True)
class Use:
    """One component at work for one block of one build."""

    place: ComponentPlace
    component: Any
    """Follows the protocol of its kind."""
    client: Client | None
    """None where it runs in this process."""
    told: object = None
    """The configuration that it was prepared with; None where it was not yet, or refused it."""
    log: list[Callable[[str], None]] = field(default_factory=list)
    """Where the lines of its log go at present; the last one takes them."""

    @contextmanager
    def phase(self, what: str) -> Iterator[None]:
        """Say in errors of calls whose they are, and in which phase they came up."""
        from goldsmith.plugin.client.client import PluginError

        try:
            with printing_to(_to_last(self.log)) if self.log else nullcontext():
                yield
        except PluginError:
            raise
        except RemoteError as error:
            message = f"{self.place.kind} {self.place.name} (plugin {self.place.label}): {error}"
            raise PluginError(message, hint=error.hint) from error
        except WireError as error:
            if self.client is None:
                raise
            raise self.client.explained(what, error) from error

    @contextmanager
    def logging(self, log: Callable[[str], None]) -> Iterator[None]:
        """Hand the lines of its log on within the block."""
        self.log.append(log)
        try:
            yield
        finally:
            self.log.remove(log)


@dataclass(slots=True)
class Session:
    """Opens components, once for each use; a context manager that ends all their processes."""

    settings: RunSettings
    watch: Callable[[], AbstractContextManager[object]] | None = None
    """Makes a watcher before the first process; None where there is one already."""
    checks: bool = True
    """Whether components are prepared when the template is checked; a worker's were already."""
    _uses: dict[UseKey, Use] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _scope: ExitStack = field(default_factory=ExitStack)
    _watched: bool = False

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def use(self, place: ComponentPlace, around: Surroundings) -> Use:
        """The component for a block of a build, opened now unless it is open.

        Raises GoldsmithError that names the plugin.
        """
        key = (around.build, around.kind, place.name, str(around.range))
        with self._lock:
            if (use := self._uses.get(key)) is not None:
                return use
            use = self._uses[key] = self._opened(place)
            return use

    @contextmanager
    def passing_use(self, place: ComponentPlace) -> Iterator[Use]:
        """A component for the time of the block."""
        with self._lock:
            use = self._opened(place)
        try:
            yield use
        finally:
            if use.client is not None:
                use.client.kill()

    def release(self, build: str, kind: str | None = None) -> None:
        """End the processes of one build, or those of a kind: they are not used any more."""
        with self._lock:
            ended = [key for key in self._uses if key[0] == build and kind in (None, key[1])]
            uses = [self._uses.pop(key) for key in ended]
        _kill(uses)

    def release_use(self, use: Use) -> None:
        """End the process of one use."""
        with self._lock:
            for key in [key for key, one in self._uses.items() if one is use]:
                del self._uses[key]
        _kill([use])

    def close(self) -> None:
        """End all processes; to be called as often as one likes."""
        with self._lock:
            uses = list(self._uses.values())
            self._uses.clear()
        _kill(uses)
        self._scope.close()
        self._watched = False

    def _opened(self, place: ComponentPlace) -> Use:
        if place.package:
            self._scope.enter_context(logged_prints())
            return Use(place, _in_process(place), None)
        if place.digest and digest_of_program(place) != place.digest:
            raise GoldsmithError(
                f"{place.program} has changed since it was found",
                hint="build again; whoever changes plugins must not do it while they are used",
            )
        if not self._watched and self.watch is not None:
            self._scope.enter_context(self.watch())
        self._watched = True
        # Late: most commands have no plugins.
        from goldsmith.plugin.client import Client, ClientConfig

        log: list[Callable[[str], None]] = []
        client = Client(
            ClientConfig(
                command=place.command, protobuf=place.protobuf, name=place.label, log=_to_last(log),
                origin=place.program,
            )
        )  # fmt: skip
        opener: Mapping[str, Callable[[], object]] = {
            "builder": client.builder,
            "provisioner": client.provisioner,
            "post-processor": client.post_processor,
            "datasource": client.datasource,
            "hook": client.hook,
            "command": client.command,
        }
        try:
            component = opener[KIND_NAMES[place.kind]]()
        except BaseException:
            client.kill()
            raise
        return Use(place, component, client, log=log)


def _to_last(log: Sequence[Callable[[str], None]]) -> Callable[[str], None]:
    """Hands a line on to the last of those who take a log now, if there is one."""

    def tell(line: str) -> None:
        for hand_on in log[-1:]:
            hand_on(line)

    return tell


def digest_of_program(place: ComponentPlace) -> str:
    """What the program is now; raises GoldsmithError when it is gone."""
    from pathlib import Path

    try:
        return digest_of(Path(place.program))
    except OSError as error:
        raise GoldsmithError(f"cannot read {place.program}: {error.strerror}") from error


def _in_process(place: ComponentPlace) -> object:
    from goldsmith.plugin.packages import load_set

    plain: object = load_set(place.package).plain_component(KIND_NAMES[place.kind], place.component)
    return plain


def _kill(uses: list[Use]) -> None:
    """End processes, all at once."""
    clients = [use.client for use in uses if use.client is not None]
    threads = [threading.Thread(target=client.kill) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
