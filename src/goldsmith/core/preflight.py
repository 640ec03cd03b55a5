"""What is refused before the first build starts, rather than when minutes of work are done."""

from __future__ import annotations

from pathlib import Path

from goldsmith.core.prepare import PreparedBuild


def preflight(prepared: PreparedBuild, directory: Path, *, force: bool) -> None:
    """Raise an error for what this host cannot build or post-process, or a foreign file in the way.

    Each post-processor hears what the one before it hands on. One that can only be made with values
    of the running build is passed over: what it needs is looked at when it is made.
    """
    build = prepared.build
    name = f"{build.source_type}.{build.source_name}"
    prepared.builder.preflight(directory, force=force)
    for chain in prepared.chains:
        expected = prepared.builder.expected
        for call in chain:
            if call.post_processor is not None and call.component.applies_to(name):
                expected = call.post_processor.preflight(expected)
