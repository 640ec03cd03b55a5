"""dpkg's database for packages that are laid, as dpkg itself writes it after unpacking them.

Source: deb-triggers(5), deb-conffiles(5), the layout of /var/lib/dpkg of dpkg 1.21.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from goldsmith.packages.unpacked.content_store import UnpackedPackage
from goldsmith.packages.unpacked.links import Links, give

DATABASE: Final = "var/lib/dpkg"
_INTERESTS: Final[Mapping[str, str]] = {
    "interest": "", "interest-await": "", "interest-noawait": "/noawait",
}  # fmt: skip


def write_database(
    tree: Path,
    packages: Iterable[UnpackedPackage],
    *,
    diversions: Mapping[str, str],
    architecture: str,
    links: Links | None = None,
) -> None:
    """Write the state `unpacked` of every package; `diversions` are local ones, by path.

    `links` is as for `lay_tree`.
    """
    database = tree / DATABASE
    for name in ("info", "updates", "triggers", "alternatives"):
        (database / name).mkdir(parents=True, exist_ok=True)
    (database / "info/format").write_text("1\n")
    lines = [line for path, place in diversions.items() for line in (path, place, ":")]
    (database / "diversions").write_text("".join(f"{line}\n" for line in lines))
    (database / "arch").write_text(f"{architecture}\n")
    ordered = sorted(packages, key=lambda one: (one.name, one.architecture))
    status = []
    triggers: dict[str, list[str]] = {}
    for package in ordered:
        status.append(_paragraph(package))
        _write_info(database / "info", package, links)
        for name, line in interests(package):
            triggers.setdefault(name, []).append(line)
    (database / "status").write_bytes(b"\n".join(status))
    (database / "triggers/Unincorp").write_text("")
    (database / "triggers/Lock").touch(mode=0o600)
    for name, found in triggers.items():
        (database / "triggers" / name).write_text("".join(f"{line}\n" for line in found))
    (database / "lock").touch(mode=0o640)
    (database / "lock-frontend").touch(mode=0o640)


def _paragraph(package: UnpackedPackage) -> bytes:
    """The control fields as they are, with the state; dpkg orders them when it writes them."""
    control = (package.control("control") or b"").strip(b"\n")
    text = control + b"\nStatus: install ok unpacked\n"
    if package.conffiles:
        listed = "".join(f" {path} newconffile\n" for path in package.conffiles)
        text += b"Conffiles:\n" + listed.encode("utf-8", "surrogateescape")
    return text


def _write_info(info: Path, package: UnpackedPackage, links: Links | None) -> None:
    own = package.info_name
    # dpkg 1.21 leaves links to the end, wherever they stand in the archive.
    members = sorted(package.members, key=lambda member: member.kind == "l")
    paths = ["/.", *(f"/{member.path}" for member in members if member.path)]
    text = "".join(f"{path}\n" for path in paths)
    (info / f"{own}.list").write_bytes(text.encode("utf-8", "surrogateescape"))
    control = f"{package.directory}/control"
    for name, _, sha256 in package.controls:
        if name not in ("control", "list"):
            give(f"{control}/{name}", f"{info}/{own}.{name}", sha256, links)


def interests(package: UnpackedPackage) -> Iterable[tuple[str, str]]:
    """The file of each trigger that a package waits for, with its line there."""
    text = (package.control("triggers") or b"").decode("utf-8", "replace")
    for line in text.splitlines():
        words = line.partition("#")[0].split()
        if len(words) == 2 and words[0] in _INTERESTS:
            ending = _INTERESTS[words[0]]
            if words[1].startswith("/"):
                yield "File", f"{words[1]} {package.info_name}{ending}"
            else:
                yield words[1], f"{package.info_name}{ending}"


def write_automatic(tree: Path, packages: Iterable[UnpackedPackage]) -> None:
    """Tell APT which packages nobody has asked for; apt-mark(8) reads and changes it."""
    ordered = sorted(packages, key=lambda one: (one.name, one.architecture))
    text = "".join(
        f"Package: {one.name}\nArchitecture: {_native(one, ordered)}\nAuto-Installed: 1\n\n"
        for one in ordered
    )
    place = tree / "var/lib/apt/extended_states"
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(text)


def _native(package: UnpackedPackage, others: Iterable[UnpackedPackage]) -> str:
    """APT counts packages for all architectures as those of the system's own."""
    if package.architecture != "all":
        return package.architecture
    return next((one.architecture for one in others if one.architecture != "all"), "all")
