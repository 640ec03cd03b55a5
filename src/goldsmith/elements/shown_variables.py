"""The variables that a command line needs before it to mean the same image again, for people."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from typing import Final

from goldsmith.elements.secret_variables import without_secrets

_PROGRAMS: Final = ("disk-image-create ", "ramdisk-image-create ")
_TOLD: Final = re.compile(r"DIB_\w+|ARCH|ELEMENTS_PATH|FS_TYPE|IMAGE_NAME|MKFS_OPTS|ROOT_LABEL")
"""What upstream's programs and elements take from the environment."""


def assignments_for(template: str, environment: Mapping[str, str]) -> str:
    """`NAME=VALUE ` for each variable that a command line in a template's place goes by.

    Secrets are `***`; nothing for any other template, which holds its variables itself.
    """
    if not template.startswith(_PROGRAMS):
        return ""
    shown = without_secrets(environment)
    return "".join(
        f"{name}={shlex.quote(shown[name]) if name in shown else '***'} "
        for name in sorted(environment)
        if _TOLD.fullmatch(name)
    )
