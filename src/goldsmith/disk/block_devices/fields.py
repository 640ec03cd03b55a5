"""The keys of one entry: each is asked for once, by the type that it has to have."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from goldsmith.disk.block_devices.model import Extent
from goldsmith.disk.block_devices.sizes import parse_bytes, parse_extent
from goldsmith.disk.block_devices.yaml_text import Item
from goldsmith.disk.findings import unknown
from goldsmith.errors import Diagnostics, SourceRange
from goldsmith.units import UnitError


@dataclass(slots=True)
class Fields:
    """A map of an entry, and which of its keys somebody has asked for."""

    what: str
    item: Item
    findings: Diagnostics
    _asked: set[str] = field(default_factory=set)

    @property
    def place(self) -> SourceRange:
        """Where the entry stands."""
        return self.item.place

    def has(self, key: str) -> bool:
        """Whether the key is there."""
        return key in self.item.entries

    def ignore(self, key: str) -> None:
        """Take a key that means nothing here."""
        self._asked.add(key)

    def wrong(self, key: str, text: str, hint: str | None = None) -> None:
        """A finding at the value of a key."""
        place = self.item.entries[key].place if self.has(key) else self.place
        self.findings.error(f"{self.what}: {text}", hint or "", place)

    def text(self, key: str, default: str = "") -> str:
        """A text; a number is taken as it is written (`type: 0x83`)."""
        found = self._get(key)
        if found is None or found.value is None:
            return default
        if isinstance(found.value, str | int | float) and not isinstance(found.value, bool):
            return found.written
        self.wrong(key, f"{key} is {found.kind}, not a text")
        return default

    def required(self, key: str) -> str:
        """A text that cannot be left out."""
        value = self.text(key)
        if not value and (not self.has(key) or self.item.entries[key].value in (None, "")):
            self.wrong(key, f"it needs {key}")
        return value

    def require_base(self, base: str) -> None:
        """Say so where an entry lies on nothing."""
        if not base:
            self.wrong("", "it needs base, the name of what it lies on")

    def choice(self, key: str, words: Collection[str]) -> str:
        """One of some words."""
        value = self.required(key)
        if value and value not in words:
            self.wrong(key, f'"{value}" is not a {key}', unknown(value, sorted(words)))
        return value

    def number(self, key: str, default: int) -> int:
        """A whole number that is not negative."""
        found = self._get(key)
        if found is None or found.value is None:
            return default
        value = found.value
        if isinstance(value, str) and value.isdecimal():
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            self.wrong(key, f"{key} is not a whole number")
            return default
        return value

    def size_bytes(self, key: str) -> int | None:
        """An absolute size."""
        text = self.text(key)
        try:
            return parse_bytes(text) if text else None
        except UnitError as e:
            self.wrong(key, str(e), e.hint)
            return None

    def extent(self, key: str) -> Extent:
        """An absolute size or a share."""
        text = self.required(key)
        try:
            return parse_extent(text) if text else Extent(size_bytes=0)
        except UnitError as e:
            self.wrong(key, str(e), e.hint)
            return Extent(size_bytes=0)

    def texts(self, key: str, *, required: bool = False) -> list[str]:
        """A list of texts; one text alone is a list of it."""
        found = self._get(key)
        if found is None or found.value is None:
            if required:
                self.wrong(key, f"it needs {key}")
            return []
        values = found.value if isinstance(found.value, list) else [found]
        good = [one.value for one in values if isinstance(one.value, str)]
        if len(good) != len(values):
            self.wrong(key, f"{key} is not a list of texts")
        return good

    def maps(self, key: str) -> list[Item]:
        """A list of maps that cannot be left out."""
        found = self._get(key)
        if found is None or not isinstance(found.value, list):
            self.wrong(key, f"it needs {key}, a list")
            return []
        for one in found.value:
            if not isinstance(one.value, dict):
                self.findings.error(f"{self.what}: {key} is a list of maps", "", one.place)
        return [one for one in found.value if isinstance(one.value, dict)]

    def nested(self, key: str) -> Item | None:
        """The entry of another plugin inside this one."""
        return self._get(key)

    def refuse_others(self, plugins: Collection[str]) -> None:
        """A finding for every key that nobody has asked for."""
        for key in self.item.entries:
            if key not in self._asked:
                known = [*self._asked, *plugins]
                self.wrong(key, f'there is no key "{key}"', unknown(key, sorted(known)))

    def _get(self, key: str) -> Item | None:
        self._asked.add(key)
        return self.item.entries.get(key)
