"""A tree from the store of unpacked packages in one go, as the other bootstrappers make it."""

from __future__ import annotations

from pathlib import Path

from goldsmith.host.namespaces import RunTool
from goldsmith.host.process import LineSink
from goldsmith.packages.apt_request import AptRequest
from goldsmith.packages.package_store import PackageStore
from goldsmith.packages.unpacked.configuring import configure
from goldsmith.packages.unpacked.unpacking import unpack


def run_store(
    target: Path, request: AptRequest, work: Path, *, run_tool: RunTool, on_line: LineSink
) -> bool:
    """Make the tree; False when a program failed, its lines then say why.

    `work` is a private directory: files with passwords stand in it meanwhile. Raises PackageError
    for a set of packages that only dpkg itself can unpack.
    """
    downloads = PackageStore(request.store) if request.store is not None else None
    return unpack(target, request, work, on_line=on_line) and configure(
        target, downloads, run_tool=run_tool, on_line=on_line
    )
