"""What mmdebstrap calls back: scripts of ours with no text of the user in them.

They stand in a private directory together with the files that hold the request, and find both by
their own `$0`. Each is run by `sh FILE TREE`, so a place that is mounted noexec does no harm.

Two of them start APT in the background, on the processor that mmdebstrap leaves idle: one resolves
the whole installation, so that a package that does not exist is told of at once and not after the
essential set; the other fetches the remaining packages while the essential ones are installed. A
lock is held until the background process has ended.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from goldsmith.packages.initramfs import DIVERTED, STUB, STUB_CONTENT

_IN_BACKGROUND: Final = """\
exec 9>"$work/lock"
flock 9
in_background() {
    {
        # One word per line, and no line is ever looked at by the shell.
        xargs --arg-file="$work/wanted" --delimiter='\\n' apt-get --yes \\
            -oDir::State::status=/dev/null -oDir::Cache::pkgcache= -oDebug::NoLocking=1 \\
            "$@" install >"$work/log" 2>&1 || echo failed >"$work/failed"
    } &
}
"""

SETUP: Final = f"""\
set -eu
work=${{0%/*}}
export APT_CONFIG="$MMDEBSTRAP_APT_CONFIG"
cd "$1"
apt-get update --error-on=any
{_IN_BACKGROUND}
# Resolves as an installation would; --simulate takes five times as long.
in_background --print-uris
"""

EXTRACT: Final = f"""\
set -eu
work=${{0%/*}}
{_IN_BACKGROUND}
if [ -e "$work/failed" ]; then
    cat "$work/log" >&2
    exit 1
fi
export APT_CONFIG="$MMDEBSTRAP_APT_CONFIG"
cd "$1"
in_background --download-only
"""

ESSENTIAL: Final = f"""\
set -eu
work=${{0%/*}}
umask 022
chroot "$1" dpkg-divert --quiet --local --rename --divert {DIVERTED} --add {STUB}
cp "$work/stub" "$1{STUB}"
chmod 0755 "$1{STUB}"
# openssh-server makes no key that is there already; these are removed afterwards.
mkdir -p "$1/etc/ssh"
for kind in rsa dsa ecdsa ed25519; do
    : >"$1/etc/ssh/ssh_host_${{kind}}_key"
done
# What could not be fetched in the background is fetched, or complained of, by the installation.
exec 9>"$work/lock"
flock 9
"""

_ESSENTIAL_SETS: Final = {
    "essential": ("?essential",),
    "apt": ("?essential", "apt"),
    "required": ("?essential", "?priority(required)"),
    "minbase": ("?essential", "?priority(required)"),
    "important": ("?essential", "?priority(required)", "?priority(important)"),
    "standard": (
        "?essential", "?priority(required)", "?priority(important)", "?priority(standard)"
    ),
}  # fmt: skip

VARIANTS: Final = frozenset(_ESSENTIAL_SETS)
"""The package sets that mmdebstrap knows and that can be a system of its own."""


def write_hooks(directory: Path, variant: str, packages: Sequence[str]) -> list[str]:
    """Write the scripts and their data; returns mmdebstrap's options that name them."""
    wanted = [*_ESSENTIAL_SETS[variant], *packages]
    (directory / "wanted").write_text("".join(f"{word}\n" for word in wanted))
    (directory / "stub").write_bytes(STUB_CONTENT)
    options = []
    for name, text in (("setup", SETUP), ("extract", EXTRACT), ("essential", ESSENTIAL)):
        script = directory / name
        script.write_text(text)
        options.append(f'--{name}-hook=sh {shlex.quote(str(script))} "$1"')
    return options
