"""The hidden verb that carries out a deployment, in namespaces of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from goldsmith.host.worker import Link, become_worker

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from goldsmith.events import Emitter


def run_worker(words: list[str]) -> int:
    """Become a worker: the words are the two pipes' descriptors and the parent's pid."""
    control, events, parent_pid = (int(word) for word in words)
    return become_worker(control, events, parent_pid, _work)


def _work(link: Link) -> int:
    """Deploy what the start document says; every end but a good one is told up the event pipe."""
    from goldsmith.errors import GoldsmithError, explain_os_error
    from goldsmith.events import Emitter, Failed
    from goldsmith.host.signals import interruptible
    from goldsmith.redact import Redactor

    with interruptible() as interrupts:
        document = link.read_start_document()
        redactor = Redactor(document["secrets"])
        name = document["name"]

        def fail(kind: str, message: str, hint: str, exit_code: int) -> int:
            interrupts.settle()
            link.emit(Failed(build=name, error=kind, message=redactor.redact(message),
                             hint=redactor.redact(hint), exit_code=exit_code))  # fmt: skip
            return 1

        try:
            link.listen()
            _deploy(document, Emitter(name, link.emit, redactor))
            interrupts.settle()
        except (GoldsmithError, OSError) as e:
            told = explain_os_error(e) if isinstance(e, OSError) else e
            notes = "".join(f"\n{note}" for note in getattr(told, "__notes__", []))
            return fail(type(told).__name__, f"{told}{notes}", told.hint or "", told.exit_code)
        except Exception:
            import traceback

            hint = "this is a defect of goldsmith: please report it with the text above"
            return fail("Defect", traceback.format_exc(), hint, 1)
        return 0


def _deploy(document: Mapping[str, Any], emitter: Emitter) -> None:
    import os
    import tempfile
    from pathlib import Path

    from goldsmith.deploy.deployment import deploy
    from goldsmith.deploy.wire import deployment_from_wire, limits_from_wire

    scratch = Path(document["scratch"])
    for place in (scratch, scratch / "tmp"):
        place.mkdir(mode=0o700)
    os.environ["TMPDIR"] = str(scratch / "tmp")
    tempfile.tempdir = None
    deploy(
        deployment_from_wire(document["deployment"]), scratch=scratch,
        locks=Path(document["locks"]), emitter=emitter, stages=document["stages"],
        limits=limits_from_wire(document["limits"]), sequences=document["sequences"],
    )  # fmt: skip
