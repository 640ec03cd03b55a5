"""Running an author's code: interrupts reach it, and whatever it raises becomes one clear error."""

from __future__ import annotations

import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

from goldsmith.errors import GoldsmithError, Interrupted, explain_os_error
from goldsmith.host.cancellation import Cancellation, current
from goldsmith.plugin.cancel import Cancel


class Cancelled(GoldsmithError):
    """The host asked for an end, and here it is."""


@contextmanager
def authors_code(what: str) -> Iterator[None]:
    """Turn what the block raises into a GoldsmithError without a traceback.

    The traceback of a defect goes to the log, which is standard error in a plugin's process.
    """
    try:
        yield
    except GoldsmithError:
        raise
    except OSError as error:
        raise explain_os_error(error) from error
    except (Exception, SystemExit) as error:
        import logging

        logging.getLogger("goldsmith.plugin").info("a defect in %s", what, exc_info=True)
        said = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        raise GoldsmithError(
            f"{what} has a defect: {said} ({_place(error.__traceback__)})",
            hint="report it to the author of the plugin",
        ) from error


@contextmanager
def interruptible(cancel: Cancel) -> Iterator[None]:
    """Let the host's wish to end stop what this thread does within the block.

    In goldsmith's own process its threads have a way to be stopped already.
    """
    if current() is not None or threading.current_thread() is threading.main_thread():
        yield
        return
    cancellation = Cancellation()
    try:
        with cancel.calling(lambda: cancellation.cancel("SIGINT")), cancellation.installed():
            yield
    except Interrupted as error:
        raise Cancelled("context canceled") from error
    finally:
        cancellation.close()


def _place(at: TracebackType | None) -> str:
    """Where an error arose: the innermost frame that is the author's, else the innermost."""
    frames = traceback.extract_tb(at)
    if not frames:
        return "nobody knows where"
    own = [frame for frame in frames if "goldsmith" not in frame.filename.split("/")[-3:]]
    chosen = (own or frames)[-1]
    return f"{chosen.filename}:{chosen.lineno}"
