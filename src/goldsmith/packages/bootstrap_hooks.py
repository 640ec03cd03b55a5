"""What mmdebstrap calls back: scripts of ours with no text of the user in them.

They stand in a private directory together with the files that hold the request, and find both by
their own `$0`. Each is run by `sh FILE TREE`, so a place that is mounted noexec does no harm.

Two of them start APT in the background, on the processor that mmdebstrap leaves idle: one resolves
the whole installation, so that a package that does not exist is told of at once and not after the
essential set; the other fetches the remaining packages while the essential ones are installed. A
lock is held until the background process has ended.

With a package store that is not empty the first one is waited for: it tells which files are needed,
with the digests of the signed index, and those that the store has are copied to APT's archives.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from goldsmith.packages.initramfs import DIVERTED, STUB, STUB_CONTENT
from goldsmith.packages.package_store import PRINT_URIS, Archive, PackageStore, parse_uris

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
# Archives that arrive meanwhile would be left out of the list.
mkdir -p "$work/none/partial"
in_background {" ".join(PRINT_URIS)} "-oDir::Cache::archives=$work/none"
if [ -e "$work/store" ]; then
    wait
    if [ -e "$work/failed" ]; then
        cat "$work/log" >&2
        exit 1
    fi
    archives=$1/var/cache/apt/archives
    mkdir -p "$archives"
    while read -r _ name _ digest; do
        digest=${{digest#SHA256:}}
        case $name in */* | .* | '') continue ;; esac
        case $digest in */* | .* | '') continue ;; esac
        [ -f "$work/store/$digest" ] || continue
        # The copy is what is verified: nobody else can change it any more.
        cp --reflink=auto "$work/store/$digest" "$archives/.$name"
        if echo "$digest  $archives/.$name" | sha256sum --check --status; then
            chmod 0644 "$archives/.$name"
            mv "$archives/.$name" "$archives/$name"
            touch -c "$work/store/$digest"
        else
            rm -f "$archives/.$name"
        fi
    done <"$work/log"
fi
"""

EXTRACT: Final = f"""\
set -eu
work=${{0%/*}}
{_IN_BACKGROUND}
if [ -e "$work/failed" ]; then
    cat "$work/log" >&2
    exit 1
fi
cp "$work/log" "$work/uris"
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


def write_hooks(
    directory: Path, wanted: Sequence[str], store: PackageStore | None = None
) -> list[str]:
    """Write the scripts and their data; returns mmdebstrap's options that name them.

    `wanted` are the words that `apt-get install` is given.
    """
    (directory / "wanted").write_text("".join(f"{word}\n" for word in wanted))
    (directory / "stub").write_bytes(STUB_CONTENT)
    if store is not None and store.directory.is_dir() and any(store.directory.iterdir()):
        (directory / "store").symlink_to(store.directory.absolute())
    options = []
    for name, text in (("setup", SETUP), ("extract", EXTRACT), ("essential", ESSENTIAL)):
        script = directory / name
        script.write_text(text)
        options.append(f'--{name}-hook=sh {shlex.quote(str(script))} "$1"')
    return options


def fetched_archives(directory: Path) -> tuple[Archive, ...]:
    """What the signed indexes said of the packages that were needed; empty after an early end."""
    try:
        return parse_uris((directory / "uris").read_text(errors="replace"))
    except FileNotFoundError:
        return ()
