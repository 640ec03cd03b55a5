"""Builds of one command that would write over each other."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from goldsmith.core.prepare import PreparedBuild
from goldsmith.errors import Diagnostic, TemplateError


def refuse_conflicts(
    builds: Sequence[PreparedBuild], directory: Path, sources: dict[str, str]
) -> None:
    """Raise TemplateError when two builds have one name, or write the same file."""
    names: dict[str, PreparedBuild] = {}
    claimed: dict[str, PreparedBuild] = {}
    found = []
    for prepared in builds:
        build = prepared.build
        if build.name in names:
            detail = (
                f'Two builds are called "{build.name}". Give one of the build blocks a name, or '
                "the source a name of its own in the build block."
            )
            found.append(Diagnostic("Duplicate build", detail, build.source.range))
            continue
        names[build.name] = prepared
        for path in prepared.builder.claims(directory):
            other = claimed.setdefault(os.path.realpath(path), prepared)
            if other is not prepared:
                detail = (
                    f'The builds "{other.build.name}" and "{build.name}" both write {path}. Give '
                    "one of them another output_directory or image_name."
                )
                found.append(Diagnostic("Conflicting outputs", detail, build.source.range))
                break
    if found:
        raise TemplateError(found, sources)
