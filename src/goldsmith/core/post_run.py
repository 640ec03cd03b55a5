"""The post-processors of a build as the engine sees them: a further run, on a thread of its own."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from goldsmith.core.artifact import Artifact
from goldsmith.core.post_processing import PostProcessing
from goldsmith.core.thread_runner import DEFECT_HINT, ThreadedRun
from goldsmith.errors import GoldsmithError, Interrupted, WorkerError, explain_os_error
from goldsmith.events import EventSink
from goldsmith.redact import Redactor


class PostRun(ThreadedRun):
    """The chains of one build; once it has ended, what remains of its artifact, and the errors."""

    def __init__(
        self,
        artifact: Artifact,
        processing: Callable[[EventSink], PostProcessing],
        redactor: Redactor,
    ) -> None:
        super().__init__()
        self.artifacts: list[Artifact] = []
        self.errors: list[GoldsmithError] = []
        self.cancelled = False
        self._artifact = artifact
        self._processing = processing
        self._redactor = redactor

    def run(self, sink: EventSink) -> None:
        """Run every chain; an interrupt leaves the builder's artifact as it is."""
        try:
            self.artifacts, self.errors = self._processing(sink).process(self._artifact)
        except Interrupted:
            self.artifacts, self.cancelled = [self._artifact], True
        except OSError as e:
            self.artifacts, self.errors = [self._artifact], [explain_os_error(e)]
        except Exception:
            self.artifacts = [self._artifact]
            self.errors = [WorkerError("Defect", traceback.format_exc(), hint=DEFECT_HINT)]
        for error in self.errors:
            self._redactor.error(error)
        if self.errors and not self._artifact.native:
            # Packer names no artifact of a build with errors; we do where one is at stake.
            self.artifacts = []


@contextmanager
def post_run(
    artifact: Artifact, processing: Callable[[EventSink], PostProcessing], redactor: Redactor
) -> Iterator[PostRun]:
    """Post-processors for a thread that calls `deliver`; leaving the block ends them."""
    run = PostRun(artifact, processing, redactor)
    try:
        yield run
    finally:
        run.close()
