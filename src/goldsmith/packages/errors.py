"""What can go wrong with packages."""

from __future__ import annotations

from goldsmith.errors import GoldsmithError


class PackageError(GoldsmithError):
    """Packages cannot be chosen, fetched or installed as asked; the message has APT's own words."""


class StoreRefused(PackageError):
    """A set of packages that only dpkg itself can unpack, from the first one on."""
