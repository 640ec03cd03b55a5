"""APT's sources: the model, its two written forms, and the host's entries.

Which of them a suite takes is in `mirrors`. Source: sources.list(5).
"""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from goldsmith.packages.deb822 import paragraphs
from goldsmith.packages.errors import PackageError

LOCAL_SCHEMES: Final = frozenset({"file", "copy", "cdrom"})
"""Sources that only this host can reach."""

_ONE_LINE_NAMES: Final = {"arch": "architectures", "lang": "languages", "target": "targets"}
_UNSAFE_OPTIONS: Final = frozenset({"trusted", "allow-insecure", "allow-weak",
                                    "allow-downgrade-to-insecure"})  # fmt: skip
_YES: Final = frozenset({"yes", "true", "with", "on", "enable", "1"})
_NO: Final = frozenset({"no", "false", "without", "off", "disable", "0"})


@dataclass(frozen=True, slots=True)
class AptSource:
    """One paragraph of a `.sources` file.

    `signed_by` is a path (or paths and fingerprints), or the armoured key itself. `options` holds
    the other fields by their lower-case deb822 name.
    """

    types: tuple[str, ...]
    uris: tuple[str, ...]
    suites: tuple[str, ...]
    components: tuple[str, ...] = ()
    signed_by: str = ""
    architectures: tuple[str, ...] = ()
    options: Mapping[str, str] = field(default_factory=dict)

    @property
    def inline_key(self) -> bool:
        """Whether `signed_by` is the key itself."""
        return "BEGIN PGP" in self.signed_by

    @property
    def is_local(self) -> bool:
        """Whether only this host can reach it."""
        return any(uri.partition(":")[0] in LOCAL_SCHEMES for uri in self.uris)

    @property
    def is_unverified(self) -> bool:
        """Whether it says that its signatures need not be right."""
        return any(self.options.get(name, "").lower() in _YES for name in _UNSAFE_OPTIONS)

    def verified(self) -> AptSource:
        """The same source with every option that weakens the check of signatures taken out."""
        kept = {name: text for name, text in self.options.items() if name not in _UNSAFE_OPTIONS}
        return replace(self, options=kept)

    def passwords(self) -> frozenset[str]:
        """The passwords in its URIs, as written and decoded."""
        found = {uri_password(uri) for uri in self.uris} - {""}
        return frozenset(found | {urllib.parse.unquote(text) for text in found})

    def without_passwords(self) -> AptSource:
        """The same source with user names and passwords taken out of its URIs."""
        return replace(self, uris=tuple(_USER_INFO.sub(r"\1", uri) for uri in self.uris))

    def render(self) -> str:
        """Its paragraph of a `.sources` file, with a newline at the end."""
        fields = {
            "Types": " ".join(self.types),
            "URIs": " ".join(self.uris),
            "Suites": " ".join(self.suites),
            "Components": " ".join(self.components),
            "Architectures": " ".join(self.architectures),
            **{name.title(): text for name, text in sorted(self.options.items())},
            "Signed-By": _folded(self.signed_by),
        }
        return "".join(f"{name}: {text}\n" for name, text in fields.items() if text)


_USER_INFO = re.compile(r"^([a-z][a-z0-9+.-]*://)[^/@]*@", re.IGNORECASE)


def uri_password(uri: str) -> str:
    """The password in a URI as it is written there, or ""."""
    match = _USER_INFO.match(uri)
    user_info = match.group(0)[len(match.group(1)) : -1] if match else ""
    return user_info.partition(":")[2]


def _folded(text: str) -> str:
    """A value of several lines as deb822 writes it: an empty line is a dot."""
    if "\n" not in text:
        return text
    return "\n" + "\n".join(f" {line or '.'}" for line in text.strip("\n").split("\n"))


def render_sources(sources: Iterable[AptSource]) -> str:
    """The text of a `.sources` file."""
    return "\n".join(source.render() for source in sources)


def parse_sources(text: str, origin: str) -> list[AptSource]:
    """Read a `.sources` file; `origin` names it in messages.

    Paragraphs that are not enabled are left out. Raises PackageError.
    """
    found = []
    try:
        for fields in paragraphs(text):
            if fields.pop("enabled", "yes").lower() in _NO:
                continue
            missing = [name for name in ("types", "uris", "suites") if not fields.get(name)]
            if missing:
                raise ValueError(f"a paragraph has no {missing[0].title()}")
            found.append(
                AptSource(
                    types=tuple(fields.pop("types").split()),
                    uris=tuple(fields.pop("uris").split()),
                    suites=tuple(fields.pop("suites").split()),
                    components=tuple(fields.pop("components", "").split()),
                    signed_by=fields.pop("signed-by", "").strip("\n"),
                    architectures=_words(fields.pop("architectures", "")),
                    options=fields,
                )
            )
    except ValueError as e:
        raise PackageError(f"{origin}: {e}") from e
    return found


def parse_source_lines(text: str, origin: str) -> list[AptSource]:
    """Read a `.list` file: `deb [option=value ...] URI SUITE [COMPONENT ...]` lines.

    Raises PackageError with the line's number.
    """
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        body = line.partition("#")[0].strip()
        if not body:
            continue
        match = _ONE_LINE.fullmatch(body)
        if match is None:
            raise PackageError(f"{origin}:{number}: not a source: {body}")
        kind, option_text, uri, suite, components = match.groups()
        options: dict[str, str] = {}
        for word in (option_text or "").split():
            name, equals, value = word.partition("=")
            if not equals:
                raise PackageError(f"{origin}:{number}: not an option: {word}")
            name = name.rstrip("+-").lower()
            options[_ONE_LINE_NAMES.get(name, name)] = value.replace(",", " ")
        found.append(
            AptSource(
                types=(kind,),
                uris=(uri,),
                suites=(suite,),
                components=tuple((components or "").split()),
                signed_by=options.pop("signed-by", ""),
                architectures=_words(options.pop("architectures", "")),
                options=options,
            )
        )
    return found


_ONE_LINE = re.compile(
    r"(deb|deb-src)\s+(?:\[([^]]*)\]\s+)?"
    r"((?:cdrom:\[[^]]*\]\S*)|\S+)\s+(\S+)(?:\s+(\S.*))?"
)


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.replace(",", " ").split())


def read_host_sources(host_root: Path) -> list[AptSource]:
    """Every enabled source under `host_root`/etc/apt, in APT's order.

    Files of unknown endings are left out, as APT does. Raises PackageError for one that is wrong.
    """
    folder = host_root / "etc/apt"
    parts = sorted((folder / "sources.list.d").glob("*")) if folder.is_dir() else []
    found: list[AptSource] = []
    for path in [folder / "sources.list", *parts]:
        if path.suffix not in (".list", ".sources") or not path.is_file():
            continue
        read = parse_sources if path.suffix == ".sources" else parse_source_lines
        found += read(path.read_text(errors="replace"), str(path))
    return found
