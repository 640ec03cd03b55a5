"""The base classes of components: what an author writes, wherever the component then runs.

The same class runs in goldsmith's own process, in a process of its own, or under Packer. Errors are
raised as `PluginError` or any GoldsmithError; `check_cancelled` and `pause` stop work that the user
interrupts, and calls to the host stop by themselves.
"""

from __future__ import annotations

import typing
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Generic, TypeVar

from goldsmith.core.artifact import Artifact
from goldsmith.core.options import Finding, Options
from goldsmith.errors import GoldsmithError
from goldsmith.plugin.authoring.configuration import BuildInfo, ConfigError, Configuration
from goldsmith.plugin.authoring.host_side import Communicator, Hooks, Ui
from goldsmith.plugin.protocols import RawConfig
from goldsmith.values.value import Value

O = TypeVar("O", bound=Options)  # noqa: E741 (reads as "any Options")
R = TypeVar("R", bound=Options)

Raw = RawConfig | Sequence[RawConfig]
"""The configuration as a host sends it: one layer, or several of which later ones win."""


class PluginError(GoldsmithError):
    """A component cannot do what it was asked to."""


class NoOptions(Options):
    """The options of a component that has none."""


class Configured(ABC, Generic[O]):
    """What all components with options share; the options' model is the class's first parameter."""

    options_model: ClassVar[type[Options]] = NoOptions
    options: O
    """What the template says; there from `configure` on."""
    build: BuildInfo = BuildInfo()
    """What the host says of the build."""
    _configuration: Configuration[O]
    _doubts: tuple[str, ...] = ()

    def __init_subclass__(cls, **rest: Any) -> None:
        super().__init_subclass__(**rest)
        for base in cls.__dict__.get("__orig_bases__", ()):
            first = next(iter(typing.get_args(base)), None)
            if isinstance(first, type) and issubclass(first, Options):
                cls.options_model = first

    def configure(self, raw: Raw) -> Sequence[str]:
        """Read and check the options, and nothing else; returns warnings.

        It replaces what was configured before. Raises ConfigError with every problem.
        """
        alone = raw is None or isinstance(raw, (Mapping, Value))
        layers = typing.cast("Sequence[RawConfig]", [raw] if alone else raw)
        model = typing.cast("type[O]", self.options_model)
        self._configuration = Configuration.of(model, type(self).__name__, layers)
        self.build = self._configuration.build
        reading = self._configuration.read(self._findings)
        if reading.problems:
            raise ConfigError(reading.problems)
        self._doubts = reading.doubts
        if reading.options is not None:
            self.options = reading.options
        else:
            self.__dict__.pop("options", None)
        return reading.warnings

    def make_ready(self, run_values: Mapping[str, str] | None = None) -> None:
        """Called by what runs a component before its work begins; `run_values` is for {{build}}.

        Raises ConfigError for what only now turns out to be wrong.
        """
        if run_values and self._configuration.depends_on_run:
            reading = self._configuration.read(self._findings, run_values)
            if reading.problems:
                raise ConfigError(reading.problems)
            if reading.options is not None:
                self.options = reading.options
        elif self._doubts:
            raise ConfigError(self._doubts)
        if "options" not in self.__dict__:
            raise ConfigError(["it has options that are not known although the build runs"])

    def accept(self, options: O, build: BuildInfo) -> None:
        """Take options that goldsmith has read and checked already."""
        self.options, self.build = options, build

    def check(self) -> Iterable[Finding | str]:
        """Problems with `options` that only their meaning shows; changes nothing."""
        return ()

    def _findings(self, options: O) -> Iterable[Finding | str]:
        """What `check` says of options that are not accepted yet."""
        looking = type(self).__new__(type(self))
        looking.__dict__.update(self.__dict__)
        looking.options = options
        return list(looking.check())


class Builder(Configured[O]):
    """A builder: makes an artifact, with the template's provisioners in between."""

    generated: ClassVar[tuple[str, ...]] = ()
    """The names of `build.*` that it fills when it calls the provisioners."""
    communicates: ClassVar[bool] = True
    """Whether it has a machine or tree for provisioners to work in."""

    @abstractmethod
    def run(self, ui: Ui, hooks: Hooks) -> Artifact | None:
        """Build; None where there is nothing to hand on. Leaves nothing behind when it raises."""


class Provisioner(Configured[O]):
    """A provisioner: changes the machine or tree of a build."""

    changes_tree: ClassVar[bool] = True
    """Whether it works through the communicator, not on this host's files alone."""

    @abstractmethod
    def provision(self, ui: Ui, communicator: Communicator, data: Mapping[str, Any]) -> None:
        """Do the work; `data` is what the builder fills of `build.*`."""


class PostProcessor(Configured[O]):
    """A post-processor: makes an artifact of an artifact."""

    force_keep: ClassVar[bool] = False
    """Whether its own word on keeping the artifact holds against the template's."""

    @abstractmethod
    def post_process(self, ui: Ui, artifact: Artifact) -> tuple[Artifact, bool]:
        """The new artifact, or the given one, and whether the given one is kept."""


class DataSource(Configured[O], Generic[O, R]):
    """A data source: asks something outside before anything is built.

    The second parameter is the model of what it gives: the attributes of `data.TYPE.NAME`.
    """

    outputs_model: ClassVar[type[Options]] = NoOptions

    def __init_subclass__(cls, **rest: Any) -> None:
        super().__init_subclass__(**rest)
        for base in cls.__dict__.get("__orig_bases__", ()):
            arguments = typing.get_args(base)
            if len(arguments) == 2 and isinstance(arguments[1], type):
                cls.outputs_model = arguments[1]

    @abstractmethod
    def execute(self) -> R:
        """Ask, and tell."""


class Hook(ABC):
    """A hook: joins in at the events of a build. For goldsmith only."""

    @abstractmethod
    def run(self, name: str, ui: Ui, communicator: Communicator, data: Mapping[str, Any]) -> None:
        """Called at the event `name`, such as "packer_provision"."""


class Command(ABC):
    """A command: `goldsmith NAME ...`. For goldsmith only."""

    help: ClassVar[str] = ""
    """What `goldsmith NAME --help` prints."""
    synopsis: ClassVar[str] = ""
    """The line that `goldsmith --help` prints."""
    ui: Ui
    """Where it tells what it has to tell."""

    @abstractmethod
    def run(self, args: Sequence[str]) -> int:
        """Run with these words; returns the exit code."""
