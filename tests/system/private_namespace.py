"""Runs a test's body in a mount namespace of its own, so that the host never sees its mounts."""

from __future__ import annotations

import os
import pickle
import traceback
from collections.abc import Callable
from typing import Any

from goldsmith.host import kernel, mounts


def run_privately(body: Callable[[], Any]) -> Any:
    """Run `body` in a forked child with private mounts; returns its (picklable) result.

    Raises AssertionError with the child's traceback when it fails.
    """
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        try:
            kernel.unshare(kernel.CLONE_NEWNS)
            mounts.make_private()
            answer = (True, body())
        except BaseException:
            answer = (False, traceback.format_exc())
        with os.fdopen(writer, "wb") as pipe:
            pickle.dump(answer, pipe)
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        data = pipe.read()
    os.waitpid(pid, 0)
    good, result = pickle.loads(data) if data else (False, "the child died")
    assert good, result
    return result
