"""The hidden verb that holds a tree open for `goldsmith shell`."""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from goldsmith.host.worker import Link, become_worker

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path
    from typing import Any

    from goldsmith.builders.elements.kept_shell import HookShell


def run_worker(words: list[str]) -> int:
    """Become a worker: the words are the two pipes' descriptors and the parent's pid."""
    control, events, parent_pid = (int(word) for word in words)
    return become_worker(control, events, parent_pid, _work)


def _work(link: Link) -> int:
    from goldsmith.errors import GoldsmithError, explain_os_error
    from goldsmith.events import Failed
    from goldsmith.host.signals import interruptible

    with interruptible() as interrupts:
        document = link.read_start_document()
        try:
            link.listen()
            return _run_in_tree(document, link)
        except (GoldsmithError, OSError) as e:
            interrupts.settle()
            told = explain_os_error(e) if isinstance(e, OSError) else e
            link.emit(Failed(error=type(told).__name__, message=str(told), hint=told.hint or ""))
            return 1


def _run_in_tree(document: Mapping[str, Any], link: Link) -> int:
    import os
    from pathlib import Path

    from goldsmith.core.kept_trees import opened
    from goldsmith.errors import GoldsmithError
    from goldsmith.events import Said
    from goldsmith.host import process
    from goldsmith.layers.method import choose_method
    from goldsmith.layers.store import Store

    work = Path(document["work"])
    work.mkdir(mode=0o700)
    store = Store.open(Path(document["store"]))
    found = [(store.find_failed if layer["failed"] else store.find)(layer["key"])
             for layer in document["layers"]]  # fmt: skip
    records = [record for record in found if record is not None]
    if len(records) < len(found):
        raise GoldsmithError("a result that the tree needs has been removed meanwhile",
                             hint="build it again")  # fmt: skip
    stdin, stdout, stderr = document["stdio"]
    with (
        opened(store, records) as trees,
        choose_method(work).view(trees, work / "tree", work / "view") as whole,
    ):
        with _shell(document, whole, work / "image") as shell:
            if shell.warning:
                link.emit(Said(level="warning", text=shell.warning))
            argv = shell.words(document["command"])
            if document["controls"]:
                argv = ["/usr/bin/setsid", "--ctty", "--wait", *argv]
            given = {**shell.environment, "TERM": document["term"]}
            with process.start(
                shell.access.words_into(argv), env=given,
                stdin=stdin, stdout=stdout, stderr=stderr,
            ) as running:  # fmt: skip
                for fd in {stdin, stdout, stderr} - {0, 1, 2}:
                    os.close(fd)
                status = running.popen.wait()
    return status if status >= 0 else 128 - status


@contextmanager
def _shell(document: Mapping[str, Any], whole: Path, image: Path) -> Iterator[HookShell]:
    """A way into the tree, with what surrounds the hooks of elements if the step has some."""
    from goldsmith.builders.elements.kept_shell import HookShell, hook_shell
    from goldsmith.communicators.chroot import ChrootEntrance
    from goldsmith.core.tree_entrance import entered
    from goldsmith.host import chroot

    if document["around"] is not None:
        with hook_shell(document["around"], whole, image, outside=document["outside"]) as shell:
            yield shell
        return
    tree = whole / document["inside"]
    with entered(ChrootEntrance(), tree, {}, network=True, enters=True) as access:
        yield HookShell(access, partial(chroot.chroot_argv, tree), chroot.CLEAN_ENVIRONMENT)
