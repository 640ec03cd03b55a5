"""The scripts that run the last phases in the guest: POSIX sh, with nothing of a user in them.

They start as few programs as they can: each one is emulated on hosts without KVM. The rules are
those of `dib-run-parts` (`elements.run_parts`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

_DIRECTORY: Final = "/run/goldsmith"
PHASE: Final = f"{_DIRECTORY}/phase"
"""Runs a phase: its name, the hooks, the hooks as they see themselves, names, words that source."""
COPY: Final = f"{_DIRECTORY}/copy"
"""Copies the file system at one directory into another one."""
NETWORK: Final = f"{_DIRECTORY}/loopback"
"""Makes the host's loopback the guest's."""
VARIABLES_FD: Final = 7
"""Where the words that source leave the environment."""
PHASE_ENDED: Final = "goldsmith: the phase has ended"
_HOOK: Final = f"{_DIRECTORY}/hook"


def given_place(phase: str) -> str:
    """Where a phase's environment before its snippets has to be (see `joined`)."""
    return f"{_DIRECTORY}/given-{phase}"


def enter_place(phase: str) -> str:
    """Where the words have to be that run a program where the phase's hooks run."""
    return f"{_DIRECTORY}/enter-{phase}"


def joined(words: Iterable[str]) -> bytes:
    """Words as the scripts read them."""
    return b"".join(word.encode("utf-8", "surrogateescape") + b"\0" for word in words)


_PHASE_SCRIPT: Final = f"""\
phase=$1 hooks=$2 seen=$3 pattern=$4
shift 4
[ -d "$hooks/$phase" ] || exit 0

# entered ENVIRONMENT WORD...: runs a program where the hooks run; returns its status.
entered() {{
    variables=$1
    shift
    # What cannot even be started leaves no status.
    echo 126 >{_HOOK}.status
    {{
        cat "$variables" {_DIRECTORY}/enter-"$phase"
        printf '%s\\0' "$@"
    }} | busybox xargs -0 -x -n 100000 -s 2000000 sh {_HOOK}
    read -r status <{_HOOK}.status
    return "$status"
}}

variables={_DIRECTORY}/given-$phase
snippets=
for file in "$hooks"/environment.d/*; do
    name=${{file##*/}}
    case $name in
    *[!0-9A-Za-z_.-]*) continue ;;
    esac
    [ -f "$file" ] || continue
    snippets=yes
    set -- "$@" "$seen/environment.d/$name"
done
if [ "$snippets" ]; then
    entered "$variables" "$@" {VARIABLES_FD}>{_DIRECTORY}/variables || exit "$status"
    variables={_DIRECTORY}/variables
fi
for file in "$hooks/$phase"/*; do
    if [ -f "$file" ] && [ -x "$file" ]; then
        echo "${{file##*/}}"
    fi
done | grep -E "$pattern" | sort -n >{_DIRECTORY}/names
while read -r name; do
    echo "dib-run-parts Running $seen/$phase/$name" >&2
    entered "$variables" "$seen/$phase/$name" || exit "$status"
    echo "dib-run-parts $name completed" >&2
done <{_DIRECTORY}/names
echo "{PHASE_ENDED}" >&2
"""
_HOOK_SCRIPT: Final = f"""\
busybox env -i "$@" </dev/null
echo "$?" >{_HOOK}.status
"""
_COPY_SCRIPT: Final = """\
set -e
tar --create --xattrs --acls --sparse --directory="$1" --file=- . |
    tar --extract --xattrs --acls --preserve-permissions --directory="$2" --file=-
"""
# What goes to the host's loopback is taken there by QEMU, whatever the address, if it leaves here.
_NETWORK_SCRIPT: Final = """\
set -e
ip route del table local local 127.0.0.0/8 dev lo
ip addr flush dev lo
echo 1 >/proc/sys/net/ipv4/conf/all/route_localnet
echo 1 >/proc/sys/net/ipv4/conf/eth0/route_localnet
ip route add 127.0.0.0/8 dev eth0 via 10.0.2.2 src 10.0.2.15
"""
SCRIPTS: Final = {
    PHASE: _PHASE_SCRIPT.encode(), _HOOK: _HOOK_SCRIPT.encode(), COPY: _COPY_SCRIPT.encode(),
    NETWORK: _NETWORK_SCRIPT.encode(),
}  # fmt: skip
"""The scripts by their places in the guest."""
