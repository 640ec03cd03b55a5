"""The initramfs made beside the configuring of the tree, from a guess at what comes of that.

The bootstrap keeps one processor busy, and mkinitramfs needs no configured package. So it runs in a
second view of the laid tree, whose changes are thrown away, and what it makes is kept under the
inputs of that view. When the tree is finished, they are compared with its own: only if all are the
same is it taken, else the tree makes its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from goldsmith.builders.image.kept_initramfs import LATER, NAME, keep_initramfs
from goldsmith.core.caching import CachePolicy
from goldsmith.core.step import TreeContext
from goldsmith.errors import GoldsmithError, Interrupted, explain_os_error
from goldsmith.events import Emitter, Event
from goldsmith.host.parallel import beside, cores


def is_of_use(policy: CachePolicy, step: str) -> bool:
    """Whether the step of this name will look for an initramfs that was made before."""
    return policy.use and not {step, NAME} & set(policy.refresh) and cores() > 1


@contextmanager
def made_beside(context: TreeContext, prepare: Callable[[Path], None]) -> Iterator[None]:
    """Make the initramfs of a tree that was laid while the block configures it; waits for the end.

    `prepare` writes what else will be in the tree. That it cannot be made is no error.
    """
    # Late: only trees of the store are ever laid.
    from goldsmith.packages.early_initramfs import unsuitable

    if context.beside is None:
        yield
        return
    events: list[Event] = []
    emitter = Emitter(context.emitter.build, events.append, context.emitter.redactor)
    emitter.step = context.emitter.step
    with ExitStack() as held:
        view = None
        try:
            if not unsuitable(context.tree):
                view = held.enter_context(context.beside(emitter))
        except Interrupted:
            raise
        except (GoldsmithError, OSError) as e:
            context.emitter.message(LATER.format(_told(e)))
        if view is None:
            yield
            return
        wait = held.enter_context(beside(partial(_make, view, prepare)))
        yield
        wait()
    for event in events:
        context.emitter.send(event)


def _make(view: TreeContext, prepare: Callable[[Path], None]) -> None:
    from goldsmith.packages.early_initramfs import configure_for_initramfs

    try:
        # The configuring itself tells the same lines.
        if not configure_for_initramfs(view.tree, run_tool=view.run_tool, on_line=_no_line):
            view.emitter.message(LATER.format("a package cannot be configured before the others"))
            return
        prepare(view.tree)
        keep_initramfs(view)
    except Interrupted:
        raise
    except (GoldsmithError, OSError) as e:
        view.emitter.message(LATER.format(_told(e)))


def _told(error: GoldsmithError | OSError) -> GoldsmithError:
    return explain_os_error(error) if isinstance(error, OSError) else error


def _no_line(stream: str, line: str) -> None:
    pass
