"""Quicker copies into an initramfs: mkinitramfs starts five programs for each of 2,600 files.

Its function `copy_file` asks realpath and readlink of every file what a shell can see by itself:
that neither the file nor a directory above it is a link. So for the time in which the initramfs is
made, the file of functions has one more in front of that one, which copies such files, and leaves
every other to the function itself. It is lent only where that is one that is known to the letter.
Source: hook-functions of initramfs-tools 0.142.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from goldsmith.host.confined import confined
from goldsmith.host.process import write_program

FUNCTIONS: Final = "/usr/share/initramfs-tools/hook-functions"
_ASIDE: Final = ".goldsmith"
_FUNCTION: Final = re.compile(r"^copy_file\(\) \{\n.*?^\}\n", re.MULTILINE | re.DOTALL)
_KNOWN: Final = frozenset({"51544bd45a9588e55bc4e0360c984bffb32384200502abecb9dfd99d068d0aa1"})
"""SHA-256 of the function as packages have it: initramfs-tools-core 0.142."""
_MOST_BYTES: Final = 1 << 20
_QUICK: Final = """
# goldsmith: the same for a file behind no link, without starting a program but cp
copy_file() {
	local src target above

	src="${2}"
	target="${2}"
	if [ "${3:-$2}" != "$2" ] || [ ! -f "${src}" ] || [ -d "${DESTDIR}/${target}" ]; then
		goldsmith_whole_copy_file "$@"
		return
	fi
	case "${src}" in
	*//* | */./* | */../* | */ | */. | */..)
		goldsmith_whole_copy_file "$@"
		return
		;;
	/bin/* | /lib* | /sbin/*)
		if [ ! -h /bin ] || [ -h /usr ] || [ -h /usr/bin ] || ! [ /bin -ef /usr/bin ]; then
			goldsmith_whole_copy_file "$@"
			return
		fi
		src="/usr${src}"
		target="${src}"
		;;
	/*) ;;
	*)
		goldsmith_whole_copy_file "$@"
		return
		;;
	esac
	[ -e "${DESTDIR}/${target}" ] && return 1
	above="${src}"
	while [ -n "${above}" ]; do
		if [ -h "${above}" ]; then
			goldsmith_whole_copy_file "$@"
			return
		fi
		above="${above%/*}"
	done
	[ -d "${DESTDIR}/${target%/*}" ] || mkdir -p "${DESTDIR}/${target%/*}"
	[ "${verbose}" = "y" ] && echo "Adding ${1} ${src}"
	cp -pP "${src}" "${DESTDIR}/${target}" || return $(($? + 1))
}
"""


def quickened(functions: str) -> str | None:
    """The text of hook-functions with the quicker function; None where `copy_file` is not known."""
    found = _FUNCTION.findall(functions)
    if len(found) != 1 or hashlib.sha256(found[0].encode()).hexdigest() not in _KNOWN:
        return None
    renamed = found[0].replace("copy_file()", "goldsmith_whole_copy_file()", 1)
    return functions.replace(found[0], renamed + _QUICK, 1)


@contextmanager
def lent(tree: Path) -> Iterator[bool]:
    """Put the quicker functions in place for the length of a block; says whether it could.

    Afterwards the file itself is back, and its directory has its time.
    """
    place = confined(tree, FUNCTIONS)
    text = _quickened_file(place)
    if text is None:
        yield False
        return
    mode = stat.S_IMODE(place.lstat().st_mode)
    directory = place.parent.stat()
    aside = place.with_name(place.name + _ASIDE)
    os.rename(place, aside)
    try:
        write_program(place, text.encode("utf-8", "surrogateescape"), mode)
        yield True
    finally:
        os.rename(aside, place)
        os.utime(place.parent, ns=(directory.st_atime_ns, directory.st_mtime_ns))


def _quickened_file(place: Path) -> str | None:
    try:
        status = place.lstat()
        if not stat.S_ISREG(status.st_mode) or status.st_size > _MOST_BYTES:
            return None
        return quickened(place.read_bytes().decode("utf-8", "surrogateescape"))
    except OSError:
        return None  # mkinitramfs will say what is wrong
