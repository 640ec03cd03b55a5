"""What can go wrong with packages."""

from __future__ import annotations

from goldsmith.errors import GoldsmithError


class PackageError(GoldsmithError):
    """Packages cannot be chosen, fetched or installed as asked; the message has APT's own words."""
