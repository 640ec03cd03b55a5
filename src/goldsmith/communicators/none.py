"""The communicator "none": there is no machine and no tree, so nothing can be done there.

Templates that would need one are refused before they run; this is what says so otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from goldsmith.errors import GoldsmithError

if TYPE_CHECKING:
    from goldsmith.host.process import LineSink


@dataclass(frozen=True, slots=True)
class NoCommunicator:
    """Refuses everything (see `core.communicator.Communicator`)."""

    def start(
        self,
        command: str,
        *,
        on_line: LineSink,
        env: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
    ) -> int:
        """Raise GoldsmithError."""
        _refuse("Start")

    def is_directory(self, path: str) -> bool:
        """Raise GoldsmithError."""
        _refuse("Upload")

    def upload(self, content: bytes | Path, destination: str, *, mode: int | None = None) -> None:
        """Raise GoldsmithError."""
        _refuse("Upload")

    def upload_directory(self, source: Path, destination: str) -> None:
        """Raise GoldsmithError."""
        _refuse("UploadDir")

    def download(self, source: str, destination: Path) -> None:
        """Raise GoldsmithError."""
        _refuse("Download")

    def download_directory(self, source: str, destination: Path) -> None:
        """Raise GoldsmithError."""
        _refuse("DownloadDir")

    def remove(self, path: str) -> None:
        """Raise GoldsmithError."""
        _refuse("Start")


def _refuse(what: str) -> NoReturn:
    raise GoldsmithError(
        f"{what} is not implemented when communicator = 'none'",
        hint="only provisioners that work on this host, such as shell-local, can run here",
    )
