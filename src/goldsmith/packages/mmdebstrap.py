"""A tree made by mmdebstrap.

Written for mmdebstrap 1.3.5 (Debian 12). It mounts /proc, /sys and parts of /dev in the tree while
it works and takes them away again; when it is killed they stay, and so may a daemon of a package.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from goldsmith.host.confined import confined, remove_confined
from goldsmith.host.namespaces import RunTool
from goldsmith.host.process import LineSink, tool_environment
from goldsmith.packages.apt_request import AptRequest
from goldsmith.packages.apt_sources import render_sources
from goldsmith.packages.bootstrap_hooks import fetched_archives, write_hooks
from goldsmith.packages.build_files import DPKG_OPTIONS
from goldsmith.packages.package_store import PackageStore
from goldsmith.packages.repositories import render_pins

_SOURCES_NAME: Final = "goldsmith-build.sources"


def run_mmdebstrap(
    target: Path, request: AptRequest, work: Path, *, run_tool: RunTool, on_line: LineSink
) -> bool:
    """Make the tree; False when mmdebstrap failed, its lines then say why.

    `work` is a private directory: files with passwords stand in it meanwhile.
    """
    argv = _command(target, request, work)
    environment = tool_environment(HOME="/root", TMPDIR=os.path.abspath(work))
    # Python's byte code would be written with hashes instead of times under this variable.
    environment.pop("SOURCE_DATE_EPOCH", None)
    done = run_tool(argv, env=environment, check=False, on_line=on_line)
    if request.store is not None:
        archives = confined(target, "/var/cache/apt/archives", follow_last=True)
        PackageStore(request.store).take_all(fetched_archives(work), archives)
    if done.status == 0:
        for path in (
            f"/etc/apt/sources.list.d/0000{_SOURCES_NAME}",
            "/etc/apt/apt.conf.d/99mmdebstrap",
            "/etc/dpkg/dpkg.cfg.d/99mmdebstrap",
        ):
            remove_confined(target, path)
    return done.status == 0


def _command(target: Path, request: AptRequest, work: Path) -> list[str]:
    """The command line, with every file that it names written to `work`."""
    (work / _SOURCES_NAME).write_text(render_sources(request.fetched_sources()))
    settings = request.settings.bootstrap_text()
    if request.pins:
        (work / "preferences").write_text(render_pins(request.pins))
        settings += f'Dir::Etc::preferences "{work}/preferences";\n'
    (work / "apt.conf").write_text(settings)
    (work / "dpkg.cfg").write_text(DPKG_OPTIONS)
    packages = request.all_packages()
    store = PackageStore(request.store) if request.store is not None else None
    # The lists serve the next steps; what else it would clean by APT is done faster afterwards.
    # The store takes the essential packages, which it would remove as soon as they are installed.
    skipped = "cleanup/apt" if store is None else "cleanup/apt,essential/unlink"
    return [
        "mmdebstrap",
        # What APT and dpkg print as they go, which else is shown only when they fail.
        "--verbose",
        "--mode=root",
        "--format=directory",
        f"--variant={request.variant}",
        f"--aptopt={work / 'apt.conf'}",
        f"--dpkgopt={work / 'dpkg.cfg'}",
        f"--skip={skipped}",
        *([f"--architectures={request.architecture}"] if request.architecture else []),
        *([f"--include={','.join(packages)}"] if packages else []),
        *write_hooks(work, request.wanted(), store),
        # No suite: with one, essential packages are taken from it even where its updates or its
        # security suite have newer ones.
        "",
        os.path.abspath(target),
        str(work / _SOURCES_NAME),
    ]
