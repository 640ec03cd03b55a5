"""The `fuel-target` provisioner: what fuel-agent does to a tree after its packages are installed.

Source: fuel-agent's do_post_inst (861acf9). What is only there on some systems, upstart's
directory, puppet or cloud-init, is looked for, never assumed.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Final

from pydantic import Field, field_validator

from goldsmith.core.caching import config_inputs
from goldsmith.core.options import Finding, Options
from goldsmith.core.provisioner import ProvisionContext
from goldsmith.errors import GoldsmithError
from goldsmith.layers.keys import StepKey

_HASH: Final = re.compile(r"\$[0-9a-z]{1,8}\$[^:\s]{8,500}|[./0-9A-Za-z]{13}")
_CLOUD_CFG: Final = "/etc/cloud/cloud.cfg"
_NO_NETWORK_CFG: Final = "/etc/cloud/cloud.cfg.d/99-disable-network-config.cfg"
_GRUB_MD: Final = "/etc/default/grub.d/dmraid2mdadm.cfg"
_SCRIPT: Final = f"""\
set -e
if [ -e /etc/init.d/puppet ] && command -v update-rc.d >/dev/null; then
    update-rc.d puppet disable
fi
if [ -d /etc/init ] && [ -e /etc/init/mcollective.conf ]; then
    echo manual > /etc/init/mcollective.override
fi
rm -f /etc/systemd/system/multi-user.target.wants/mcollective.service
if command -v dpkg-divert >/dev/null; then
    mkdir -p {_GRUB_MD.rpartition("/")[0]}
    dpkg-divert --quiet --local --add {_GRUB_MD}
    rm -f {_GRUB_MD}
fi
"""


class FuelTargetOptions(Options):
    """Options of the `fuel-target` provisioner."""

    root_password_hash: str | None = Field(
        None,
        repr=False,
        description="Root's password as shadow(5) has it, made by `openssl passwd -6`; without it "
        "the account stays as the packages made it: locked.",
    )

    @field_validator("root_password_hash")
    @classmethod
    def _is_hash(cls, given: str | None) -> str | None:
        # It is not shown.
        if given is not None and not _HASH.fullmatch(given):
            raise ValueError("it is not a hash that shadow(5) takes, as `openssl passwd -6` makes")
        return given


class FuelTargetProvisioner:
    """Sets root's password, and keeps services and cloud-init from acting before they are to."""

    type_name: ClassVar[str] = "fuel-target"
    options_model: ClassVar[type[Options]] = FuelTargetOptions
    changes_tree: ClassVar[bool] = True
    network: bool = False
    reads_only: bool = False

    def __init__(self, options: Options) -> None:
        assert isinstance(options, FuelTargetOptions)
        self.options = options

    @property
    def label(self) -> str:
        """Says what for."""
        return "Preparing the tree for deployment as fuel-agent does"

    def check(self, directory: Path) -> Sequence[Finding]:
        """Nothing depends on the host."""
        return []

    def key(self, directory: Path) -> StepKey | None:
        """The options."""
        options = {"root_password_hash": self.options.root_password_hash or ""}
        return StepKey({"type": "fuel-target/1", "script": _SCRIPT, **config_inputs(options)})

    def provision(self, context: ProvisionContext) -> None:
        """Change the files; raises GoldsmithError when there is no account of root's."""
        communicator = context.communicator
        if self.options.root_password_hash is not None:
            text = _read(context, "/etc/shadow")
            changed = set_root_hash(text, self.options.root_password_hash)
            communicator.upload(changed.encode(errors="surrogateescape"), "/etc/shadow", mode=0o640)
        status = communicator.start(_SCRIPT, on_line=lambda stream, line: context.emitter.output(
            line, stream, routine=True))  # fmt: skip
        if status != 0:
            raise GoldsmithError(f"the script that prepares the tree ended with status {status}")
        if communicator.is_directory("/etc/cloud/cloud.cfg.d"):
            communicator.upload(b"network: {config: disabled}\n", _NO_NETWORK_CFG)
            text = _read(context, _CLOUD_CFG, missing="")
            if text and (moved := write_files_last(text)) != text:
                communicator.upload(moved.encode(errors="surrogateescape"), _CLOUD_CFG)


def _read(context: ProvisionContext, path: str, missing: str | None = None) -> str:
    """A text file of the tree; `missing` in place of one that is not there."""
    with tempfile.TemporaryDirectory(prefix="goldsmith-") as name:
        copy = Path(name, "copy")
        try:
            context.communicator.download(path, copy)
        except GoldsmithError:
            if missing is None:
                raise
            return missing
        return copy.read_text(errors="surrogateescape")


def set_root_hash(shadow: str, password_hash: str) -> str:
    """The text of /etc/shadow with this hash for root, whatever stood there: locked, empty, other.

    Raises GoldsmithError where root has no line.
    """
    lines = shadow.splitlines()
    for number, line in enumerate(lines):
        fields = line.split(":")
        if fields[0] == "root" and len(fields) > 1:
            lines[number] = ":".join(["root", password_hash, *fields[2:]])
            return "\n".join(lines) + "\n"
    raise GoldsmithError("/etc/shadow of the tree has no line for root",
                         hint="install the packages base-passwd and passwd")  # fmt: skip


_LIST: Final = re.compile(r"(?P<name>[a-z_]+):\s*(?:#.*)?")
_ITEM: Final = re.compile(r"\s*-\s+(?P<word>\S.*?)\s*")


def write_files_last(cloud_cfg: str) -> str:
    """cloud.cfg with `write-files` moved to the end of `cloud_config_modules`.

    There users exist who may own the files. Comments stay; without both lists nothing is changed.
    """
    lines, section, last = cloud_cfg.splitlines(), "", None
    taken: int | None = None
    for number, line in enumerate(lines):
        if match := _LIST.fullmatch(line):
            section = match["name"]
        elif match := _ITEM.fullmatch(line):
            if section == "cloud_config_modules":
                last = number
            elif section == "cloud_init_modules" and match["word"] in ("write-files",
                                                                       "write_files"):  # fmt: skip
                taken = number
        elif line.strip() and not line.lstrip().startswith("#") and not line[:1].isspace():
            section = ""
    if taken is None or last is None:
        return cloud_cfg
    moved = lines[taken]
    lines.insert(last + 1, moved)
    del lines[taken if taken < last else taken + 1]
    return "\n".join(lines) + "\n"
