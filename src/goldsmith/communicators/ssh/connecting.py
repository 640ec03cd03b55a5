"""Connecting to a machine that may not have started yet: again and again, until time is over."""

from __future__ import annotations

import asyncio
import time
from typing import Final

from goldsmith.communicators.ssh.dialing import Dialer, Line, LoginRefused, Progress
from goldsmith.communicators.ssh.host_keys import HostKeyRefused
from goldsmith.core.communicator import ConnectionFailed
from goldsmith.errors import GoldsmithError

PAUSE_S: Final = 1.0
PAUSE_AFTER_REFUSAL_S: Final = 2.0


async def connect(dialer: Dialer, wait_s: float, handshakes: int) -> Line:
    """Connect within `wait_s`; a login may be refused `handshakes` times.

    Raises HostKeyRefused at once, whatever the time; LoginRefused; ConnectionFailed that says what
    stood in the way last, or what was still under way when time was over.
    """
    deadline_s = time.monotonic() + wait_s
    refused, last = 0, ""
    while True:
        progress = Progress()
        pause_s = PAUSE_S
        limit = asyncio.timeout(max(0.0, deadline_s - time.monotonic()))
        try:
            async with limit:
                return await dialer.dial(progress)
        except HostKeyRefused:
            raise
        except LoginRefused as e:
            refused += 1
            if refused >= handshakes:
                raise
            last, pause_s = str(e), PAUSE_AFTER_REFUSAL_S
        except ConnectionFailed as e:
            last = str(e)
        except TimeoutError:
            raise _too_late(dialer, progress.reached, last, wait_s) from None
        if time.monotonic() + pause_s >= deadline_s:
            raise _too_late(dialer, "", last, wait_s)
        await asyncio.sleep(pause_s)


def _too_late(dialer: Dialer, reached: str, last: str, wait_s: float) -> GoldsmithError:
    if reached:
        last = f"the handshake with {reached} was still under way"
    elif not last:
        last = f"{dialer.machine.what} port {dialer.machine.port} has not answered"
    return ConnectionFailed(
        f"Timeout waiting for SSH. After {wait_s:g} s: {last}",
        hint="see that the machine runs an sshd that this host can reach; ssh_timeout says how "
        "long to wait",
    )
