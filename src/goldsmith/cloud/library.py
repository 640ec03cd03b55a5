"""The library for AWS: sessions of it that start quickly; only where it is installed."""

from __future__ import annotations

import copy
import functools
from typing import Any

from goldsmith.cloud.descriptions import descriptions


def new_session(profile: str = "") -> Any:
    """A session that knows the files of the user, and nobody's credentials; raises ImportError."""
    from botocore.session import Session

    session = Session(
        profile=profile or None, event_hooks=copy.copy(_hooks()), include_builtin_handlers=False
    )
    session.register_component("data_loader", descriptions())
    return session


@functools.cache
def _hooks() -> Any:
    """The library's own handlers: it looks at the signature of each of 120 before it takes it."""
    from botocore.hooks import HierarchicalEmitter
    from botocore.session import Session

    hooks = HierarchicalEmitter()
    Session(event_hooks=hooks)
    return hooks
