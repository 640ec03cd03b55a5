"""Components of authors as the objects that cross the wire (see `protocols`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from goldsmith.core.artifact import Artifact
from goldsmith.core.options import Options
from goldsmith.errors import GoldsmithError
from goldsmith.plugin import protocols
from goldsmith.plugin.authoring.components import (
    Builder,
    Command,
    Configured,
    DataSource,
    Hook,
    PostProcessor,
    Provisioner,
)
from goldsmith.plugin.authoring.configuration import texts_of
from goldsmith.plugin.authoring.given_artifact import given_artifact, is_given, plain_given
from goldsmith.plugin.authoring.guard import authors_code, interruptible
from goldsmith.plugin.authoring.host_side import Communicator, Hooks, Ui
from goldsmith.plugin.authoring.options import secrets_in, spec_of
from goldsmith.plugin.cancel import Cancel
from goldsmith.plugin.protocols import PostProcessed, Prepared, RawConfig
from goldsmith.plugin.wire.hcl_spec import ObjectSpec
from goldsmith.redact import Redactor
from goldsmith.values.convert import convert
from goldsmith.values.value import Value, from_python


class ServedWithOptions:
    """What all kinds share: the options, and secrets that no message may show."""

    def __init__(self, component: Configured[Any]) -> None:
        self._component = component
        self._name = type(component).__name__
        self._redactor = Redactor()

    def config_spec(self) -> ObjectSpec:
        """The options as HCL2 has them."""
        return spec_of(self._component.options_model)

    def _configure(self, configs: Sequence[RawConfig]) -> Sequence[str]:
        with authors_code(self._name):
            try:
                return self._component.configure(list(configs))
            except GoldsmithError as error:
                self._learn_secrets()
                self._redactor.error(error)
                raise

    def _learn_secrets(self) -> None:
        self._redactor.add(self._component.build.secrets)
        options = self._component.__dict__.get("options")
        if isinstance(options, Options):
            self._redactor.add(secrets_in(options))

    def _ui(self, plain: protocols.Ui) -> Ui:
        self._learn_secrets()
        return Ui(plain, self._redactor)

    def _make_ready(self, data: Mapping[str, Any] | None = None) -> None:
        self._component.make_ready(texts_of(data))
        self._learn_secrets()


class ServedBuilder(ServedWithOptions):
    """A builder."""

    def __init__(self, component: Builder[Any]) -> None:
        super().__init__(component)
        self._builder = component

    def prepare(self, configs: Sequence[RawConfig]) -> Prepared:
        """Read and check the options."""
        warnings = self._configure(configs)
        return Prepared(self._builder.generated, warnings)

    def run(
        self, ui: protocols.Ui, hook: protocols.Hook, cancel: Cancel
    ) -> protocols.Artifact | None:
        """Build."""
        with self._redactor.errors(), authors_code(self._name), interruptible(cancel):
            self._make_ready()
            masked = self._ui(ui)
            artifact = self._builder.run(masked, Hooks(hook, masked, self._builder.build.on_error))
        return None if artifact is None else ServedArtifact(artifact, self._redactor)


class ServedProvisioner(ServedWithOptions):
    """A provisioner."""

    def __init__(self, component: Provisioner[Any]) -> None:
        super().__init__(component)
        self._provisioner = component

    def prepare(self, configs: Sequence[RawConfig]) -> None:
        """Read and check the options; there is no way to warn."""
        self._configure(configs)

    def provision(
        self,
        ui: protocols.Ui,
        communicator: protocols.Communicator,
        generated: Mapping[str, Any],
        cancel: Cancel,
    ) -> None:
        """Do the work."""
        with self._redactor.errors(), authors_code(self._name), interruptible(cancel):
            self._make_ready(generated)
            self._provisioner.provision(self._ui(ui), Communicator(communicator), generated)


class ServedPostProcessor(ServedWithOptions):
    """A post-processor."""

    def __init__(self, component: PostProcessor[Any]) -> None:
        super().__init__(component)
        self._post_processor = component

    def configure(self, configs: Sequence[RawConfig]) -> None:
        """Read and check the options; there is no way to warn."""
        self._configure(configs)

    def post_process(
        self, ui: protocols.Ui, artifact: protocols.Artifact, cancel: Cancel
    ) -> PostProcessed:
        """Make an artifact of an artifact."""
        with self._redactor.errors(), authors_code(self._name), interruptible(cancel):
            given = given_artifact(artifact)
            self._make_ready(given.state.get("generated_data"))
            made, keep = self._post_processor.post_process(self._ui(ui), given)
            handed_on: protocols.Artifact = (
                plain_given(made) if is_given(made) else ServedArtifact(made, self._redactor)
            )
            return PostProcessed(handed_on, keep, self._post_processor.force_keep)


class ServedDatasource(ServedWithOptions):
    """A data source."""

    def __init__(self, component: DataSource[Any, Any]) -> None:
        super().__init__(component)
        self._source = component

    def configure(self, configs: Sequence[RawConfig]) -> None:
        """Read and check the options."""
        self._configure(configs)

    def output_spec(self) -> ObjectSpec:
        """The attributes that it gives."""
        return spec_of(self._source.outputs_model)

    def execute(self) -> Value:
        """Ask, and tell."""
        with self._redactor.errors(), authors_code(self._name):
            self._make_ready()
            given = self._source.execute()
            return outputs_value(self._source.outputs_model, given)


class ServedHook:
    """A hook."""

    def __init__(self, component: Hook) -> None:
        self._hook = component
        self._cancel = Cancel()

    def run(
        self,
        name: str,
        ui: protocols.Ui,
        communicator: protocols.Communicator,
        data: Mapping[str, Any] | None,
    ) -> None:
        """Join in at an event."""
        with authors_code(type(self._hook).__name__), interruptible(self._cancel):
            self._hook.run(name, Ui(ui), Communicator(communicator), data or {})

    def cancel(self) -> None:
        """Make `run` end soon."""
        self._cancel.cancel()


class ServedCommand:
    """A command."""

    def __init__(self, component: Command) -> None:
        self._command = component

    @property
    def help(self) -> str:
        """What --help prints."""
        return self._command.help

    @property
    def synopsis(self) -> str:
        """One line."""
        return self._command.synopsis

    def run(self, args: Sequence[str], ui: protocols.Ui) -> int:
        """Run with these words."""
        with authors_code(type(self._command).__name__):
            self._command.ui = Ui(ui)
            return int(self._command.run(list(args)) or 0)


class ServedArtifact:
    """An artifact of an author's."""

    def __init__(self, artifact: Artifact, redactor: Redactor) -> None:
        self._artifact = artifact
        self._redactor = redactor

    @property
    def builder_id(self) -> str:
        """What kind of thing it is."""
        return self._artifact.builder_id

    @property
    def id(self) -> str:
        """What identifies it."""
        return self._redactor.redact(self._artifact.id)

    @property
    def string(self) -> str:
        """What the user reads about it."""
        return self._redactor.redact(self._artifact.string)

    @property
    def files(self) -> Sequence[str]:
        """Its files on this host."""
        return self._artifact.files

    def state(self, name: str) -> Any:
        """What it tells under this name."""
        return self._artifact.state.get(name)

    def destroy(self) -> None:
        """Remove it."""
        with self._redactor.errors(), authors_code(type(self._artifact).__name__):
            self._artifact.destroy()


def outputs_value(model: type[Options], given: Options) -> Value:
    """What a data source gave, as the object of its outputs."""
    if not isinstance(given, model):
        raise GoldsmithError(f"it gave a {type(given).__name__} instead of {model.__name__}")
    content = given.model_dump(mode="json", by_alias=True)
    return convert(from_python(content), spec_of(model).type)


def plain(kind: str, component: type[Any]) -> Any:
    """A new component of a class as the wire knows it; raises TypeError for what is none.

    Hosts crash on a schema that cannot be told, so it is looked at here.
    """
    base, serving = _KINDS[kind]
    if not (isinstance(component, type) and issubclass(component, base)):
        raise TypeError(f"{component!r} is no goldsmith.plugin.{base.__name__}")
    made = serving(component())
    if isinstance(made, ServedWithOptions):
        made.config_spec()
    if isinstance(made, ServedDatasource):
        made.output_spec()
    return made


_KINDS: Final[dict[str, tuple[type[Any], Callable[[Any], Any]]]] = {
    "builder": (Builder, ServedBuilder),
    "provisioner": (Provisioner, ServedProvisioner),
    "post-processor": (PostProcessor, ServedPostProcessor),
    "datasource": (DataSource, ServedDatasource),
    "hook": (Hook, ServedHook),
    "command": (Command, ServedCommand),
}
