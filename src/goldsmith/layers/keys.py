"""What identifies the result of a step: a sorted table of named inputs, and its digest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StepKey:
    """The inputs of a step by name ("type", "config", "file:motd"), each with its digest or text.

    The id of the layer below is added by the store, which alone knows it.
    """

    inputs: Mapping[str, str]

    @property
    def digest(self) -> str:
        """SHA-256 over the table in the order of its names."""
        table = json.dumps(sorted(self.inputs.items()), ensure_ascii=True, separators=(",", ":"))
        return hashlib.sha256(table.encode()).hexdigest()


def canonical(value: object) -> str:
    """A text that is the same for equal configurations, whatever the order of their keys."""
    return json.dumps(value, sort_keys=True, ensure_ascii=True, separators=(",", ":"), default=str)
