"""Why a step has to run: the difference between its inputs and the nearest table that is kept.

Values are not shown, as they may be anything that a template holds; names and lists of packages
are.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Final

from goldsmith.layers.keys import StepKey
from goldsmith.layers.records import Record

NEVER_BUILT: Final = "never built"
PARENT_MADE_AGAIN: Final = "parent made again"

_MOST_REASONS: Final = 3
_MOST_OF_OTHERS: Final = 1
_ORDER: Final = ("type", "config", "packages", "file", "env", "secret", "release")
_NOUNS: Final = {"config": "option", "file": "file", "env": "environment", "secret": "secret"}


def explain(
    key: StepKey,
    parent: str | None,
    records: Sequence[Record],
    *,
    step: str,
    label: str = "",
    build: str = "",
    now_s: float,
) -> str:
    """The reason of a miss in one line.

    `parent` is the id of the layer below, None while that has to be made first; `records` are all
    of the store. `step`, `label` and `build` tell which of them are of the same step; one of
    another build counts when it is almost the same: the build may have been renamed.
    """
    nearest = nearest_record(key, records, step=step, label=label, build=build)
    if nearest is None:
        return NEVER_BUILT
    reasons = differences(key.inputs, nearest, now_s)
    if nearest.build != build and not 0 < len(reasons) <= _MOST_OF_OTHERS:
        return NEVER_BUILT
    if not reasons:
        # With the same inputs on the same parent the kept result itself was refused or has gone.
        return PARENT_MADE_AGAIN if parent != nearest.parent else "the kept result is gone"
    more = len(reasons) - _MOST_REASONS
    text = ", ".join(reasons[:_MOST_REASONS])
    return f"{text} and {more} more" if more > 0 else text


def explain_age(age_s: float, ttl_s: float) -> str:
    """The reason of a miss where the kept result is older than the step allows."""
    return f"expired: made {_short(age_s)} ago, cache_ttl is {_short(ttl_s)}"


def nearest_record(
    key: StepKey, records: Sequence[Record], *, step: str, label: str = "", build: str = ""
) -> Record | None:
    """The kept result of the same step whose inputs differ least; of equal ones the latest.

    Those of the same build go before all others.
    """

    def distance(record: Record) -> tuple[bool, int, bool, float]:
        changed = len(_changed(key.inputs, record.inputs))
        return record.build != build, changed, record.label != label, -record.made_s

    alike = (r for r in records if r.step == step and _family(r.inputs) == _family(key.inputs))
    return min(alike, key=distance, default=None)


def _family(inputs: Mapping[str, str]) -> str:
    """The type of a step without its version: a script is no upload that has changed."""
    return inputs.get("type", "").rpartition("/")[0]


def differences(inputs: Mapping[str, str], record: Record, now_s: float) -> list[str]:
    """What of a step's inputs is not as it was for a kept result, each as a phrase."""
    changed = sorted(_changed(inputs, record.inputs), key=_rank)
    return [_phrase(name, inputs, record, now_s) for name in changed]


def _changed(inputs: Mapping[str, str], kept: Mapping[str, str]) -> list[str]:
    return [name for name in inputs.keys() | kept.keys() if inputs.get(name) != kept.get(name)]


def _rank(name: str) -> tuple[int, str]:
    kind = name.partition(":")[0]
    return (_ORDER.index(kind) if kind in _ORDER else len(_ORDER)), name


def _phrase(name: str, inputs: Mapping[str, str], record: Record, now_s: float) -> str:
    now, kept = inputs.get(name), record.inputs.get(name)
    what = "added" if kept is None else "removed" if now is None else "changed"
    kind, _, subject = name.partition(":")
    if name == "type":
        return f"step type {kept} became {now}" if now and kept else f"step type {what}"
    if name == "packages":
        return _packages(now, kept)
    if name == "config":
        return f"configuration {what}"
    if kind == "release" and what == "changed":
        since_s = record.made_s if record.releases_s is None else record.releases_s
        return f"Release of {subject} changed since {_long(now_s - since_s)} ago"
    if kind == "release":
        return f"Release of {subject} {what}"
    return f"{_NOUNS.get(kind, kind)} {subject} {what}" if subject else f"{name} {what}"


def _packages(now: str | None, kept: str | None) -> str:
    """The difference of two lists of packages, where both are lists."""
    try:
        new, old = (set(json.loads(text or "[]")) for text in (now, kept))
    except (ValueError, TypeError):
        return "package list changed"
    words = [
        f"{_count(group)} {what}"
        for group, what in ((new - old, "added"), (old - new, "removed"))
        if group
    ]
    return " and ".join(words) or "order of packages changed"


def _count(names: set[str]) -> str:
    if len(names) > _MOST_REASONS:
        return f"{len(names)} packages"
    return f"package{'s' if len(names) > 1 else ''} {', '.join(sorted(map(str, names)))}"


_UNITS: Final = (("day", 86_400), ("hour", 3600), ("minute", 60), ("second", 1))


def _long(duration_s: float) -> str:
    """A duration in its largest unit: "3 hours"."""
    for name, unit_s in _UNITS:
        if duration_s >= unit_s or unit_s == 1:
            count = max(0, int(duration_s // unit_s))
            return f"{count} {name}{'' if count == 1 else 's'}"
    raise AssertionError("every duration has a unit")


def _short(duration_s: float) -> str:
    """A duration as ages and limits are told: "26 h", "90 min", "12 s"."""
    for unit, unit_s in (("h", 3600), ("min", 60)):
        if duration_s >= 2 * unit_s:
            return f"{int(duration_s // unit_s)} {unit}"
    return f"{max(0, int(duration_s))} s"
