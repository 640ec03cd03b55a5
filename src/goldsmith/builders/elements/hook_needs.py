"""What hooks of upstream's elements need of a host that may lack it, told of before a build.

A hook's text does not say it: only hooks that are known are here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from goldsmith.disk import attached
from goldsmith.elements.hooks import Hooks
from goldsmith.errors import MissingToolError
from goldsmith.host.process import find_tool


@dataclass(frozen=True, slots=True)
class HookNeeds:
    """Programs of the host, with their Debian packages, and what a late hook mounts."""

    tools: Mapping[str, str] = field(default_factory=dict)
    mounts: tuple[str, ...] = ()


HOOK_NEEDS: Final[Mapping[tuple[str, str], HookNeeds]] = {
    ("iso", "cleanup.d/100-build-iso"): HookNeeds(
        {"mkisofs": "genisoimage", "mkdosfs": "dosfstools"}, mounts=("vfat",)
    ),
}
"""Needs by element and place of the hook."""


def missing_tools(hooks: Hooks) -> Iterator[MissingToolError]:
    """The programs that known hooks of an image run, and this host has not."""
    for _, needs in _known(hooks):
        for tool, package in needs.tools.items():
            if find_tool(tool) is None:
                yield MissingToolError(tool, package)


def need_guest_for_hooks(hooks: Hooks) -> list[str]:
    """What known hooks of the last phases mount and this kernel cannot, with the reasons."""
    return [
        f"{place} of element {element} mounts one: {reason}"
        for (element, place), needs in _known(hooks)
        for reason in map(attached.why_not, needs.mounts)
        if reason is not None
    ]


def _known(hooks: Hooks) -> Iterator[tuple[tuple[str, str], HookNeeds]]:
    for key, needs in HOOK_NEEDS.items():
        element, place = key
        if hooks.element_of(place) == element:
            yield key, needs
