"""Which build an event belongs to: post-processors speak as `BUILD (TYPE)`."""

from __future__ import annotations

from collections.abc import Container


def build_of(speaker: str, builds: Container[str]) -> str:
    """The name of the build that a speaker belongs to; its own where none is known."""
    if speaker in builds:
        return speaker
    owner, blank, _ = speaker.rpartition(" (")
    return owner if blank and owner in builds else speaker
