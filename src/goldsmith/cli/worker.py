"""What a build worker runs: a program of its own by a hidden verb, or a copy of the command."""

from __future__ import annotations

import sys
from functools import partial
from typing import TYPE_CHECKING

from goldsmith.errors import GoldsmithError
from goldsmith.host.worker import become_worker, receive_lock

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from goldsmith.cli.start_document import StartDocument
    from goldsmith.core.artifact import Artifact
    from goldsmith.core.registry import Registry
    from goldsmith.events import Emitter
    from goldsmith.host.worker import Link


def run_worker(words: list[str]) -> int:
    """Become a worker: the words are the two pipes' descriptors and the parent's pid."""
    control, events, parent_pid = words
    try:
        return become_worker(int(control), int(events), int(parent_pid), _work)
    except GoldsmithError as e:
        _tell(e)
        return e.exit_code


def _tell(error: GoldsmithError) -> None:
    from goldsmith.ui.diagnostics import render_error
    from goldsmith.ui.terminal import write_line

    write_line(render_error(error), stream=sys.stderr)


def become_early(source_type: str, control: int, events: int, parent_pid: int) -> int:
    """Become a worker whose build nobody knows yet, but its source type."""
    try:
        return become_worker(control, events, parent_pid, partial(_work_early, source_type))
    except (GoldsmithError, OSError) as e:
        from goldsmith.errors import explain_os_error

        error = explain_os_error(e) if isinstance(e, OSError) else e
        if receive_lock(control):  # else no build has wanted a worker: none has failed
            _tell(error)
        return error.exit_code


def _work_early(source_type: str, link: Link) -> int:
    """Import what a build of this type will need, then wait for it."""
    import contextlib
    import gc

    gc.disable()
    with contextlib.suppress(Exception):  # who needs what is missing here tells so
        from goldsmith.cli.early_imports import import_early

        import_early(source_type)
    gc.freeze()  # what is there now stays: no collection need look at it
    gc.enable()
    return _work(link) if link.receive_lock() else 0


def _work(link: Link) -> int:
    """Build what the start document says; every end is told up the event pipe."""
    # Late: the outer process and init of one that was executed, forked before this, stay small.
    from goldsmith.cli.start_document import StartDocument
    from goldsmith.errors import explain_os_error
    from goldsmith.events import ArtifactMade, Emitter, Failed
    from goldsmith.host.signals import interruptible
    from goldsmith.redact import Redactor

    with interruptible() as interrupts:
        document = StartDocument.from_wire(link.read_start_document())
        redactor = Redactor(document.secrets)
        emitter = Emitter(document.build, link.emit, redactor)

        def fail(kind: str, message: str, hint: str, exit_code: int) -> int:
            interrupts.settle()
            emitter.send(
                Failed(build=document.build, error=kind, message=redactor.redact(message),
                       hint=redactor.redact(hint), exit_code=exit_code)
            )  # fmt: skip
            return 1

        try:
            link.listen()
            artifact = _build(document, link, emitter, interrupts.settle)
            interrupts.settle()
        except GoldsmithError as e:
            notes = "".join(f"\n{note}" for note in getattr(e, "__notes__", []))
            return fail(type(e).__name__, f"{e}{notes}", e.hint or "", e.exit_code)
        except OSError as e:
            told = explain_os_error(e)
            return fail(type(told).__name__, str(told), told.hint or "", told.exit_code)
        except Exception:
            import traceback

            hint = "this is a defect of goldsmith: please report it with the text above"
            return fail("Defect", traceback.format_exc(), hint, 1)
        emitter.send(ArtifactMade(build=document.build, artifact=artifact.to_wire()))
        return 0


def _keep_temporary_files_in(directory: Path) -> None:
    """Make temporary files, ours and those of tools, in the run directory: it is always removed."""
    import os
    import tempfile

    directory.mkdir(mode=0o700)
    os.environ["TMPDIR"] = str(directory)
    tempfile.tempdir = None


def _build(
    document: StartDocument, link: Link, emitter: Emitter, commit: Callable[[], None]
) -> Artifact:
    import os
    from pathlib import Path

    from goldsmith.cli.plugin_session import plugins_of_worker

    os.chdir(document.cwd)
    _keep_temporary_files_in(Path(f"{document.work}-tmp"))
    with plugins_of_worker(document) as plugins:
        return _build_with(plugins.registry, document, link, emitter, commit)


def _build_with(
    registry: Registry,
    document: StartDocument,
    link: Link,
    emitter: Emitter,
    commit: Callable[[], None],
) -> Artifact:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from goldsmith.cli.app import collect_as_usual
    from goldsmith.core.builder import BuildContext
    from goldsmith.core.caching import CachePolicy
    from goldsmith.core.prepare import prepare, resolve_error_cleanup, resolve_provisioners
    from goldsmith.core.provisioner import ProvisionerCall
    from goldsmith.events import Asked
    from goldsmith.host.journal import RunDirectory
    from goldsmith.template.load import load
    from goldsmith.values.world import ReplayedWorld

    directory = Path(document.cwd)
    world = ReplayedWorld(document.record)
    template = load(
        document.template,
        variables=[(name, value) for name, value in document.variables],
        variable_files=document.variable_files,
        world=world,
        registry=registry,
    )
    build = next(build for build in template.builds if build.name == document.build)
    (prepared,) = prepare(template, registry, directory, [build], world)

    def provisioners(run_values: Mapping[str, str]) -> Sequence[ProvisionerCall]:
        return resolve_provisioners(
            build, registry, directory, run_values, template.sources,
            template_path=template.path, world=world,
        )  # fmt: skip

    def error_cleanup(run_values: Mapping[str, str]) -> ProvisionerCall | None:
        return resolve_error_cleanup(
            build, registry, directory, run_values, template.sources,
            template_path=template.path, world=world,
        )  # fmt: skip

    def ask(question: str, choices: tuple[str, ...]) -> str | None:
        return link.ask(
            lambda number: Asked(
                build=document.build, id=number, question=question, choices=choices
            )
        )

    context = BuildContext(
        name=build.name, source_name=build.source_name, emitter=emitter,
        run=RunDirectory(Path(document.run), -1), work=Path(document.work),
        provisioners=provisioners, error_cleanup=error_cleanup, debug=document.debug,
        directory=directory, force=document.force,
        epoch_s=document.epoch_s, environment=document.environment, ask=ask,
        host_environment=document.host_environment,
        on_error=document.on_error, commit=commit, run_uuid=document.run_uuid,
        policy=CachePolicy(**{**document.policy, "refresh": tuple(document.policy["refresh"])}),
        state=Path(document.state), template=document.template,
    )  # fmt: skip
    collect_as_usual()
    return prepared.builder.build(context)
