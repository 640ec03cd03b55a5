"""The environment of hooks: the part of the caller's that they read, and what they are told.

Upstream hands on all that the caller has. Here hooks get what some hook, or a program that hooks
run, looks at: every variable that is named in a file of the elements, and the families that
well-known programs read. So a result can be found again by what it was made from.
Source: `specs/diskimage-builder.md`, A7; upstream's `disk-image-create`.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Mapping
from typing import Final

from goldsmith.elements.description import Description
from goldsmith.elements.hook_files import words_of
from goldsmith.elements.passing_variables import NOT_STORED
from goldsmith.elements.places import Places
from goldsmith.elements.secret_variables import without_secret_words, without_secrets
from goldsmith.elements.setup import PROGRAMS, Setup
from goldsmith.host.journal import state_directory
from goldsmith.host.process import SYSTEM_PATH

_FAMILIES: Final = re.compile(
    r"(DIB|GIT|PIP|UV|REG|APT|DEB|CURL|REQUESTS|RUN_PARTS|OVERWRITE|NO|FS)_[A-Za-z0-9_]+|"
    r"(https?|ftp|all|no|rsync)_proxy|(HTTPS?|FTP|ALL|NO)_PROXY|"
    r"SSL_CERT_(FILE|DIR)|ARCH|SOURCE_DATE_EPOCH|USER|HOME|LOGNAME|TMP_DIR|TMPDIR|break(_\w+)?"
)
_OF_THE_CALLER: Final = frozenset({
    "BASH_ENV", "BASHOPTS", "CDPATH", "COLUMNS", "ENV", "GLOBIGNORE", "HOSTNAME", "IFS", "LANG",
    "LANGUAGE", "LINES", "OLDPWD", "PATH", "POSIXLY_CORRECT", "PS1", "PS4", "PWD", "SHELL",
    "SHELLOPTS", "SHLVL", "TERM", "VIRTUAL_ENV", "_",
})  # fmt: skip
"""What describes the caller's session, whatever hooks name: these are set anew, or not at all."""

# A hook that calls it after a test that succeeded means to fail all the same.
_DIE: Final = (
    '() { local status=$?; { set +x; } 2>/dev/null; echo "$@"; '
    'if [ "$status" -eq 0 ]; then status=1; fi; exit "$status"; }'
)


_OF_RAMDISKS: Final = {
    "EXTRA_DETACH": "", "EXTRA_UNMOUNT": "",
    "TMP_IMAGE_PATH": "/tmp/image.ramdisk",  # noqa: S108 - in the tree
}  # fmt: skip
"""What the functions of `_LIB` read that the ramdisk elements call in the tree, with `set -u`."""


_OF_PYTHON: Final = {"PYTHONHASHSEED": "0"}
"""Sets have one order: upstream's programs install packages in that of a set, and what Python
compiles into an image has the same bytes every time."""


def hook_environment(
    description: Description, setup: Setup, places: Places, **more: str
) -> dict[str, str]:
    """The variables and exported functions of hooks that run on the host; `more` is added.

    TARGET_ROOT is for those phases that name it, and added by them.
    """
    elements = setup.expansion.elements
    trees = {element.name: str(element.path) for element in elements}
    return {
        **{"DIB_CHECKSUM": "0", "DIB_NO_TMPFS": "1" if description.ramdisk else "0",
           "DIB_MIN_TMPFS": "1" if description.ramdisk else "2", "IMAGE_TYPE": "qcow2",
           **_OF_PYTHON},
        **relevant(description.environment, setup),
        "PATH": search_path(description.environment.get("PATH", "")), **_of_programs(),
        "LC_ALL": "C", "TERM": "dumb", "SHELL": "/bin/bash", "ARCH": description.arch,
        "TMP_BUILD_DIR": str(places.build), "TMP_IMAGE_DIR": str(places.image),
        "TMP_MOUNT_PATH": str(places.mount), "TMP_HOOKS_PATH": str(places.hooks),
        "OUT_IMAGE_PATH": "", "IMAGE_NAME": description.image_name,
        "IMAGE_ELEMENT": " ".join(trees), "IMAGE_ELEMENT_YAML": json.dumps(trees),
        "BASH_FUNC_get_image_element_array%%": _echoing(trees), "BASH_FUNC_die%%": _DIE,
        "ELEMENTS_PATH": ":".join(map(str, setup.directories)),
        "FS_TYPE": description.root_filesystem,
        "DIB_IMAGE_CACHE": str(places.cache), "DIB_LOCKFILES": str(places.locks),
        "DIB_OFFLINE": "1" if description.offline else "",
        "DIB_DEBUG_TRACE": str(description.trace),
        "DIB_PYTHON_EXEC": _python(description), "_LIB": str(setup.library),
        **({**_OF_RAMDISKS, "_BASE_ELEMENT_DIR": str(setup.package / "elements")}
           if description.ramdisk else {}),
        "DIB_ROOT_FSTYPE": description.root_filesystem,
        **stored(description), **more,
    }  # fmt: skip


def stored(description: Description) -> dict[str, str]:
    """DIB_ARGS and DIB_ENV, which manifests store in the image: without any secret."""
    given = description.environment
    words = without_secret_words(description.arguments, given)
    own = {name: value for name, value in given.items() if name.startswith("DIB_")}
    shown = without_secrets(own) | {"DIB_ARGS": words, "DIB_PYTHON_EXEC": _python(description)}
    lines = [_declared(name, without_secret_words(shown[name], given)) for name in sorted(shown)]
    return {"DIB_ARGS": words, "DIB_ENV": "\n".join(lines)}


def in_tree(environment: Mapping[str, str]) -> dict[str, str]:
    """What of a phase's environment hooks in the tree are given: no paths to programs of the host.

    PATH has the directories of every distribution, whatever the host's.
    """
    left_out = {"TMPDIR", "VIRTUAL_ENV", *_of_programs()}
    given = {name: value for name, value in environment.items() if name not in left_out}
    return {**given, "PATH": SYSTEM_PATH, "HOME": "/root"}


def relevant(environment: Mapping[str, str], setup: Setup) -> dict[str, str]:
    """The variables of the caller that hooks may read."""
    named = named_in(setup)
    return {
        name: value
        for name, value in environment.items()
        if name not in _OF_THE_CALLER and (_FAMILIES.fullmatch(name) or name in named)
    }


def named_in(setup: Setup) -> frozenset[str]:
    """Every word of the elements' files that could be the name of a variable."""
    return words_of(tuple(file.source for file in setup.hooks.files.values()))


def search_path(given: str) -> str:
    """PATH of hooks on the host: goldsmith's programs, the caller's, the system's directories."""
    own = [str(PROGRAMS / "quick"), str(PROGRAMS / "host")]
    parts = [*own, *given.split(":"), *SYSTEM_PATH.split(":")]
    return ":".join(dict.fromkeys(part for part in parts if part))


def _of_programs() -> dict[str, str]:
    """What our own programs need: DIB_PYTHON_EXEC may be an interpreter without goldsmith.

    GOLDSMITH_PASSING has the variables that are not to be stored in what outlives a build.
    """
    return {"GOLDSMITH_PYTHON": sys.executable, "GOLDSMITH_CACHE_DIR": str(state_directory()),
            "GOLDSMITH_PASSING": " ".join(sorted(NOT_STORED))}  # fmt: skip


def _python(description: Description) -> str:
    return description.environment.get("DIB_PYTHON_EXEC") or sys.executable


def _echoing(trees: Mapping[str, str]) -> str:
    """The body of a function whose output makes an associative array of bash."""
    pairs = " ".join(f"[{name}]={_quoted(path)}" for name, path in trees.items())
    return "() { printf '%s\\n' " + _single_quoted(pairs) + "; }"


def _quoted(text: str) -> str:
    """As it is where a shell takes it as one word, else in quotes."""
    return text if re.fullmatch(r"[A-Za-z0-9_./+:@%=-]+", text) else _single_quoted(text)


def _single_quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


def _declared(name: str, value: str) -> str:
    """A variable as bash's `declare -p` shows it."""
    if any(ord(character) < 0x20 or character == "\x7f" for character in value):
        return f"declare -x {name}=$'{''.join(map(_escaped, value))}'"
    special = re.sub(r'[$`"\\]', _backslashed, value)
    return f'declare -x {name}="{special}"'


def _backslashed(match: re.Match[str]) -> str:
    return f"\\{match.group()}"


def _escaped(character: str) -> str:
    known = {"\n": "\\n", "\t": "\\t", "\r": "\\r", "\\": "\\\\", "'": "\\'"}
    if character in known:
        return known[character]
    return f"\\{ord(character):03o}" if ord(character) < 0x20 or character == "\x7f" else character


def working_directory(places: Places) -> str:
    """Where hooks on the host start: where the caller is, or the root if that is gone."""
    return str(places.directory) if os.path.isdir(places.directory) else "/"
