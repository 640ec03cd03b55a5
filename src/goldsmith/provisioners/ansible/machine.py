"""What Ansible finds at the other end: a place for its files, Python, and no services in a tree."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Final

from goldsmith.core.communicator import Communicator
from goldsmith.core.provisioner import ProvisionContext
from goldsmith.errors import GoldsmithError
from goldsmith.host.chroot import RUN_FILES

_IN_TREE: Final = f"{RUN_FILES}/ansible"
_STARTER: Final = "start-stop-daemon"
# Init scripts ask neither policy-rc.d nor systemctl(1), which knows that it is in a chroot. As with
# dpkg-divert, yet nothing is written into dpkg's database, and an upgrade may replace it meanwhile.
_NO_STARTER: Final = b"""#!/bin/sh
# goldsmith: no service starts while this image is built
case " $* " in
*" --start "*|*" -S "*)
  echo "not started while this image is built: $*"
  exit 0 ;;
esac
exec "$0.goldsmith" "$@"
"""
_PUT_IN_PLACE: Final = f"""\
starter=$(command -v {_STARTER}) || exit 0
grep -q '^# goldsmith: no service' "$starter" || mv -f "$starter" "$starter.goldsmith" || exit 1
cp -p {_IN_TREE}/{_STARTER} "$starter"
"""
_PUT_BACK: Final = f"""\
starter=$(command -v {_STARTER}) || exit 0
[ -e "$starter.goldsmith" ] || exit 0
if grep -q '^# goldsmith: no service' "$starter"; then
  mv -f "$starter.goldsmith" "$starter"
else
  rm -f "$starter.goldsmith"
fi
"""


@dataclass(frozen=True, slots=True)
class Machine:
    """The tree or machine, ready for Ansible."""

    directory: str
    """A directory there for goldsmith's and Ansible's files; it goes away."""
    environment: Mapping[str, str]
    """What commands there are given."""
    in_tree: bool = False
    become: str = ""
    """How to become another user, where it is not the usual way."""

    @property
    def settings(self) -> dict[str, str]:
        """What Ansible's own settings are to be for it, unless the template says otherwise."""
        become = {"ANSIBLE_BECOME_METHOD": self.become} if self.become else {}
        return {"ANSIBLE_PYTHON_INTERPRETER": "auto_silent", **become}

    @property
    def variables(self) -> dict[str, str]:
        """Variables of the host that keep Ansible's temporary files in this directory."""
        places = {"ansible_remote_tmp": f"{self.directory}/files"}
        return places | ({"ansible_async_dir": f"{self.directory}/async"} if self.in_tree else {})


@contextmanager
def prepared_machine(context: ProvisionContext, *, needs_python: bool) -> Iterator[Machine]:
    """Make a place for Ansible's files there, and remove it at the end.

    Raises GoldsmithError when there is no Python for its modules.
    """
    communicator, environment = context.communicator, dict(context.environment)
    in_tree = communicator.is_directory(RUN_FILES)
    directory = _IN_TREE if in_tree else f"/tmp/goldsmith-ansible-{secrets.token_hex(8)}"  # noqa: S108
    _shell(communicator, f"umask 077; mkdir -p {directory}", environment)
    try:
        if needs_python and not _has(communicator, "python3", environment):
            raise _no_python(in_tree=in_tree)
        if not in_tree:
            yield Machine(directory, environment)
            return
        communicator.upload(_NO_STARTER, f"{directory}/{_STARTER}", mode=0o755)
        # Tasks for other users leave their progress there.
        places = f"mkdir -p {directory}/async; chmod 0755 {directory}; chmod 1777 {directory}/async"
        try:
            _shell(communicator, f"{places}; {_PUT_IN_PLACE}", environment)
            become = "" if _has(communicator, "sudo", environment) else "su"
            yield Machine(directory, environment | {"SYSTEMD_OFFLINE": "1"}, True, become)
        except BaseException:
            # A cleanup provisioner may see this tree; what went wrong before counts.
            with suppress(GoldsmithError):
                _shell(communicator, _PUT_BACK, environment)
            raise
        _shell(communicator, _PUT_BACK, environment)
    finally:
        if not in_tree:
            with suppress(GoldsmithError):
                _shell(communicator, f"rm -rf {directory}", environment)


def _shell(communicator: Communicator, line: str, environment: Mapping[str, str]) -> None:
    told: list[str] = []
    status = communicator.start(line, on_line=lambda stream, text: told.append(text),
                                env=environment)  # fmt: skip
    if status:
        raise GoldsmithError(f"cannot prepare the machine for Ansible: {' '.join(told)}",
                             hint=f"the command was: {line}")  # fmt: skip


def _has(communicator: Communicator, program: str, environment: Mapping[str, str]) -> bool:
    line = f"command -v {program} || test -x /usr/bin/{program}"
    return communicator.start(line, on_line=lambda stream, text: None, env=environment) == 0


def _no_python(*, in_tree: bool) -> GoldsmithError:
    where = "the tree" if in_tree else "the machine"
    return GoldsmithError(
        f"{where} has no python3, and Ansible's modules are written in Python",
        hint="add python3 to the packages of the bootstrap, or install it in a shell provisioner "
        "before this one; a playbook that does so itself sets needs_python = false",
    )
