"""Finds the verb and runs it; imports nothing that a verb may not need: `--help` is quick."""

from __future__ import annotations

import atexit
import contextlib
import gc
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from importlib import import_module
from typing import Final, TypeVar

VERBS = {
    "build": "build images from a template",
    "validate": "check that a template is valid",
    "plan": "say what a build would do, and why",
    "init": "look for the plugins that a template requires",
    "plugins": "list, add and remove plugins; list what a template requires",
    "inspect": "show what a template is made of",
    "console": "try expressions and templates",
    "fix": "bring an old JSON template up to date",
    "hcl2_upgrade": "rewrite a JSON template in HCL2",
    "fmt": "write HCL2 files in their canonical form",
    "disk-image-create": "make an image of diskimage-builder's elements",
    "ramdisk-image-create": "make a kernel and a ramdisk of diskimage-builder's elements",
    "diskimage-builder": "make the images that YAML files describe",
    "block-device": "make, mount and take down a disk as diskimage-builder's elements do",
    "elements": "list, show, draw and check diskimage-builder's elements",
    "fa-build-image": "build an image set from fuel-agent's input",
    "fa-provision": "write a machine's disks by fuel-agent's input: all that follows",
    "fa-partition": "divide the disks that fuel-agent's input names",
    "fa-configdrive": "write the configuration for the first start",
    "fa-copyimage": "write images onto disks that are divided",
    "fa-bootloader": "configure a target with its images, and install the boot loader",
    "fa-mkbootstrap": "make a system that runs from memory: kernel, initramfs and root",
    "boot": "boot an image and wait for its login prompt",
    "deploy": "divide disks by a scheme, and write images onto them",
    "shell": "open a shell in the tree of a build, as a step left it",
    "cache": "show, check and prune what earlier builds have left for later ones",
    "clean": "remove what builds that were killed have left",
    "doctor": "say what this host can do, and what to install",
    "schema": "print the JSON Schema of what programs read",
    "completion": "print what a shell needs to complete commands and flags",
    "version": "print the version",
}
_PROGRAMS: Final = {
    "disk-image-create": ("disk-image-create",),
    "ramdisk-image-create": ("ramdisk-image-create",),
    "diskimage-builder": ("diskimage-builder",), "dib-lint": ("elements", "lint"),
}  # fmt: skip
"""What a link to goldsmith may be called, and the verb that it stands for."""
_LATER = (
    "diff",
)  # fmt: skip
_REFUSED = {
    "verify-attestation": "it signs no statements about builds, so there are none to verify; what "
    "cosign or another tool has signed is verified by that tool"
}
_OBJECTS_WHILE_STARTING: Final = 100_000
"""With Python's own 700 a start spends a tenth of its time in finding no garbage."""
_OBJECTS_WHILE_BUILDING: Final = 700


def usage(*, of_plugins: bool = False) -> str:
    """The text of `goldsmith --help`; `of_plugins` asks plugins for their commands besides."""
    known = dict(VERBS)
    if of_plugins:
        from goldsmith.cli.plugin_commands import synopses

        known = {**synopses(), **VERBS}
    width = max(len(verb) for verb in known)
    order = [*VERBS, *sorted(known.keys() - VERBS.keys())]
    verbs = "\n".join(f"    {verb:<{width}}  {known[verb]}".rstrip() for verb in order)
    return (
        "Usage: goldsmith [--version] [--help] <command> [<args>]\n\n"
        f"Available commands are:\n{verbs}\n\n"
        "goldsmith <command> -help tells more of one command."
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line and end the process with the verb's exit code."""
    words = [*_verb_of_program(), *sys.argv[1:]] if argv is None else list(argv)
    gc.set_threshold(_OBJECTS_WHILE_STARTING, 10, 10)
    # Whoever ignores its children's ends has us ignore ours: nobody would hear how they ended.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    _open_missing_streams()
    try:
        status = run(words)
    except KeyboardInterrupt:
        status = 130
    except OSError as e:
        status = _tell_os_error(e)
    gc.freeze()  # else the last collections look at every function and class again
    if argv is None:
        _end_at_once(status)
    sys.exit(status)


def _end_at_once(status: int) -> None:
    """End the process, unless more is to be done than Python's own functions at the exit do.

    Python would take its modules apart first: 10 to 20 ms for what the kernel frees anyway.
    """
    if sys.getprofile() is not None or sys.gettrace() is not None:
        return  # who looks on tells what was seen afterwards
    threads = sys.modules.get("threading")
    if threads is not None and any(
        not one.daemon and one is not threads.main_thread() for one in threads.enumerate()
    ):
        return  # the exit waits for them
    atexit._run_exitfuncs()
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except (OSError, ValueError):
        return  # the exit tells of it, and has a status for it
    os._exit(status)


def _verb_of_program() -> list[str]:
    """The verb that the name stands for by which we were called: a link can have another one."""
    name = os.path.basename(sys.argv[0])
    return list(_PROGRAMS.get(name, ()))


def collect_as_usual() -> None:
    """From now on collect garbage as often as Python does: what a build moves is large."""
    gc.freeze()  # else the first collection looks at every function and class
    gc.set_threshold(_OBJECTS_WHILE_BUILDING, 10, 10)


def _open_missing_streams() -> None:
    """Whoever closes a standard stream wants nothing of it; no file of ours may take its place."""
    for fd, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            if os.open(os.devnull, os.O_RDWR) != fd:
                continue
            setattr(sys, name, open(fd, "w" if fd else "r", closefd=False))  # noqa: SIM115


def _tell_os_error(error: OSError) -> int:
    """Say what the system refused, which may be to take our output."""
    from goldsmith.errors import explain_os_error
    from goldsmith.ui.diagnostics import render_error
    from goldsmith.ui.terminal import discard_output, write_line

    discard_output()
    with contextlib.suppress(OSError):
        write_line(render_error(explain_os_error(error)), stream=sys.stderr)
    return 1


def run(words: list[str]) -> int:
    """Run the command line; returns the exit code."""
    from goldsmith.ui.terminal import write_line

    machine_readable = "-machine-readable" in words
    words = [word for word in words if word != "-machine-readable"]
    verb = words[0] if words else ""
    if verb in ("--version", "-version", "-v", "version"):
        return _verb("version")(words[1:], machine_readable)
    if verb in ("--help", "-help", "-h", "help"):
        write_line(usage(of_plugins=True))
        return 0
    _start_quickly()
    if verb == "_worker":
        from goldsmith.cli.worker import run_worker

        return run_worker(words[1:])
    if verb == "_shell":
        from goldsmith.cli.shell_worker import run_worker as run_shell

        return run_shell(words[1:])
    if verb == "_deploy":
        from goldsmith.cli.deploy_worker import run_worker as run_deploy

        return run_deploy(words[1:])
    if verb == "_unpack":
        return _verb("unpack")(words[1:], machine_readable)
    if verb == "_compare":
        return _verb("compare")(words[1:], machine_readable)
    if verb == "_mmdebstrap":
        return _guarded(_verb("quick_mmdebstrap"), words[1:], machine_readable)
    if verb == "build":
        return _guarded(_build, words[1:], machine_readable)
    if verb in VERBS:
        return _guarded(_verb(verb), words[1:], machine_readable)
    if verb in _LATER:
        write_line(f"goldsmith {verb} is not available yet.\n\n{usage()}", stream=sys.stderr)
        return 127
    if verb in _REFUSED:
        write_line(f"goldsmith has no {verb}: {_REFUSED[verb]}.", stream=sys.stderr)
        return 1
    if verb and not verb.startswith("-"):
        status = _guarded(partial(_command_of_plugin, verb), words[1:], machine_readable)
        if status is not None:
            return status
    unknown = f'goldsmith has no command "{verb}".{_nearest(verb)}\n\n' if verb else ""
    write_line(unknown + usage(), stream=sys.stderr)
    return 127


def _start_quickly() -> None:
    # Late: `--version` knows no data classes.
    from goldsmith.cli.quick_start import start_quickly

    start_quickly()


def _command_of_plugin(verb: str, words: list[str], machine_readable: bool) -> int | None:
    from goldsmith.cli.plugin_commands import run as run_command

    return run_command(verb, words)


def _nearest(verb: str) -> str:
    import difflib

    near = difflib.get_close_matches(verb, VERBS, n=1)
    return f' Did you mean "{near[0]}"?' if near else ""


Verb = Callable[[list[str], bool], int]
S = TypeVar("S")


def module_of(verb: str) -> str:
    """The module of a verb."""
    return f"goldsmith.cli.{verb.replace('-', '_')}"


@contextlib.contextmanager
def importing() -> Iterator[None]:
    """Hold back SIGINT: libraries break in many ways when they are interrupted while imported."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _verb(name: str) -> Verb:
    with importing():
        module = import_module(module_of(name))
    verb: Verb = module.run
    return verb


def _build(words: list[str], machine_readable: bool) -> int:
    from goldsmith.cli.early_worker import worker_started_early

    with worker_started_early(words):
        return _verb("build")(words, machine_readable)


def _guarded(
    verb: Callable[[list[str], bool], S], words: list[str], machine_readable: bool
) -> S | int:
    """The last border: what is not one of our errors is a defect, and says so."""
    from goldsmith.errors import GoldsmithError
    from goldsmith.host.signals import noting_interrupts
    from goldsmith.ui.diagnostics import render_error
    from goldsmith.ui.terminal import write_line

    try:
        with noting_interrupts():
            return verb(words, machine_readable)
    except GoldsmithError as e:
        write_line(render_error(e), stream=sys.stderr)
        return e.exit_code
    except KeyboardInterrupt:
        return 130
    except OSError as e:
        return _tell_os_error(e)
    except Exception as e:
        if isinstance(e.__cause__, KeyboardInterrupt):
            return 130  # Python 3.11 wraps what comes while a class is made (__set_name__)
        import traceback

        write_line(traceback.format_exc(), stream=sys.stderr)
        write_line("This is a defect of goldsmith: please report it with the text above.",
                   stream=sys.stderr)  # fmt: skip
        return 1
