"""Quicker copies into an initramfs: mkinitramfs starts five programs for each of 2,600 files.

Its function `copy_file` asks realpath and readlink of every file what a shell can see by itself:
that neither the file nor a directory above it is a link. And `manual_add_modules` starts two more
for each kernel module, to copy it and to ask for its firmware, where one of each can do it for all.
So for the time in which the initramfs is made, the file of functions has one more in front of each,
which does what is as simple as that, and leaves everything else to the function itself. They are
lent only where those are known to the letter. Source: hook-functions of initramfs-tools 0.142.
"""

from __future__ import annotations

import hashlib
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from goldsmith.host.confined import confined
from goldsmith.packages.lent_file import lent_file

FUNCTIONS: Final = "/usr/share/initramfs-tools/hook-functions"
_KNOWN: Final = {
    "copy_file": frozenset({"51544bd45a9588e55bc4e0360c984bffb32384200502abecb9dfd99d068d0aa1"}),
    "manual_add_modules": frozenset(
        {"ddd59238c00c2aa60cfd712f12a8a7004641ac86508124ff7b81b22f6d43c825"}
    ),
}
"""SHA-256 of the functions as packages have them: initramfs-tools-core 0.142."""
_MOST_BYTES: Final = 1 << 20
_QUICK_COPY_FILE: Final = """
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
_QUICK_MANUAL_ADD_MODULES: Final = """
# goldsmith: the same for all modules behind no link at once; only of what this host runs
# would missing firmware be told
manual_add_modules()
{
	local prefix kmod options modules src folder above plain told name firmware

	if [ $# -eq 0 ]; then
		return
	fi
	if [ "${verbose}" = "y" ] || [ -h /usr ] || [ -h /usr/lib ] || ! [ /lib -ef /usr/lib ]; then
		goldsmith_whole_manual_add_modules "$@"
		return
	fi

	modules="$({
		/sbin/modprobe --all --set-version="${version?}" --ignore-install --quiet \
			--show-depends "$@" || :
		/sbin/modprobe --all --set-version="${version}" --quiet --show-depends "$@" || :
	} | while read -r prefix kmod options; do
		case "${prefix} ${kmod}" in
		"insmod /lib/"*) echo "/usr${kmod}" ;;
		"insmod "*) echo "${kmod}" ;;
		esac
	done | LC_ALL=C sort -u)"
	told=
	if [ -e /proc/modules ]; then
		told="
$(cat /proc/modules "${CONFDIR}/modules" 2>/dev/null || :)
"
	fi

	set --
	folder=
	plain=
	for kmod in ${modules}; do
		case "${kmod}" in
		*//* | */./* | */../*) src= ;;
		/usr/lib/*) src="${kmod}" ;;
		*) src= ;;
		esac
		if [ "${src%/*}" != "${folder}" ]; then
			folder="${src%/*}"
			plain=y
			above="${folder}"
			while [ -n "${above}" ]; do
				[ ! -h "${above}" ] || plain=
				above="${above%/*}"
			done
		fi
		if [ -z "${src}" ] || [ -z "${plain}" ] || [ -h "${src}" ] || [ ! -f "${src}" ] ||
			[ -d "${DESTDIR}/${src}" ]; then
			copy_file module "${kmod}" || continue
			src="${kmod}"
		else
			[ ! -e "${DESTDIR}/${src}" ] || continue
		fi
		set -- "$@" "${src}"
	done
	if [ $# -eq 0 ]; then
		return 0
	fi
	for src; do
		if [ ! -e "${DESTDIR}/${src}" ]; then
			echo ".${src}"
		fi
	done | (cd / && cpio --quiet --pass-through --make-directories \
		--preserve-modification-time "${DESTDIR}")

	for firmware in $(modinfo -k "${version}" -F firmware "$@" | LC_ALL=C sort -u); do
		add_firmware "${firmware}" || :
	done
	if [ -z "${told}" ]; then
		return 0
	fi
	for src; do
		name="${src##*/}"
		name="${name%%.*}"
		case "${told}" in
		*"
${name}"[!A-Za-z0-9_]*)
			for firmware in $(modinfo -k "${version}" -F firmware "${src}"); do
				add_firmware "${firmware}" || echo "W: Possible missing firmware" \
					"/lib/firmware/${firmware} for module ${name}" >&2
			done
			;;
		esac
	done
	return 0
}
"""
_QUICK: Final = {
    "copy_file": _QUICK_COPY_FILE, "manual_add_modules": _QUICK_MANUAL_ADD_MODULES,
}  # fmt: skip


def quickened(functions: str) -> str | None:
    """The text of hook-functions with the quicker functions; None where none of them is known."""
    changed = functions
    for name, known in _KNOWN.items():
        text = own_text(changed, name)
        if text is not None and hashlib.sha256(text.encode()).hexdigest() in known:
            renamed = text.replace(f"{name}()", f"goldsmith_whole_{name}()", 1)
            changed = changed.replace(text, renamed + _QUICK[name], 1)
    return changed if changed != functions else None


def own_text(functions: str, name: str) -> str | None:
    """The text of one function in hook-functions; None unless it is there exactly once."""
    found: list[str] = re.findall(
        rf"^{name}\(\)\s*\{{\n.*?^\}}\n", functions, re.MULTILINE | re.DOTALL
    )
    return found[0] if len(found) == 1 else None


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
    with lent_file(place, text.encode("utf-8", "surrogateescape")):
        yield True


def _quickened_file(place: Path) -> str | None:
    try:
        status = place.lstat()
        if not stat.S_ISREG(status.st_mode) or status.st_size > _MOST_BYTES:
            return None
        return quickened(place.read_bytes().decode("utf-8", "surrogateescape"))
    except OSError:
        return None  # mkinitramfs will say what is wrong
