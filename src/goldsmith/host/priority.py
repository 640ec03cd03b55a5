"""Programs that give way to all others while nobody knows whether they are needed.

Where the kernel groups processes by session (autogroups, sched(7)), nice values count among those
of one session alone, and the session's own nice value counts among sessions; elsewhere there is
none of the latter. So both are set.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Final

_LOWEST: Final = 19
_OF_A_NEW_SESSION: Final = 0


def give_way(session: int) -> None:
    """Let a new session have what the others leave; not where that could not be taken back.

    A session is named by its leader's pid; its processes must all be in the leader's group.
    """
    with contextlib.suppress(OSError):
        # Who may not go up by one now (CAP_SYS_NICE) may not come back from the bottom later.
        os.setpriority(os.PRIO_PGRP, session, os.getpriority(os.PRIO_PROCESS, 0) - 1)
        os.setpriority(os.PRIO_PGRP, session, _LOWEST)
        _set_autogroup(session, _LOWEST)


def take_turns(session: int) -> None:
    """Give a session the priority of this process again; `rise_together` does the rest in it."""
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PGRP, session, os.getpriority(os.PRIO_PROCESS, 0))
        _set_autogroup(session, _OF_A_NEW_SESSION)


def rise_together() -> None:
    """Give our whole group the highest priority in it: a process that was being forked when
    `take_turns` looked has been left behind.
    """
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PGRP, 0, os.getpriority(os.PRIO_PGRP, 0))


def _set_autogroup(session: int, nice: int) -> None:
    Path(f"/proc/{session}/autogroup").write_text(str(nice))
