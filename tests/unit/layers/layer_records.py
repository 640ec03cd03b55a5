"""Records for tests that need no store."""

from __future__ import annotations

import hashlib
from typing import Any

from goldsmith.layers.keys import StepKey
from goldsmith.layers.records import MadeStep, Record


def digest_of(text: str) -> str:
    """Some digest that is another one for another text."""
    return hashlib.sha256(text.encode()).hexdigest()


def make_record(inputs: dict[str, str], parent: str = "", **changes: Any) -> Record:
    """A record that holds together."""
    key = StepKey(inputs)
    made = MadeStep(key=key, parent=parent, step="shell", label="setup", duration_s=1.5)
    content = digest_of("content")
    fields: dict[str, Any] = {
        "key": key.on(parent), "own": key.digest, "inputs": inputs, "parent": parent,
        "id": made.id_of(content), "content": content, "layer": "0123456789ab",
        "kind": "overlay", "step": "shell", "label": "setup", "made_s": 1000.0,
        "duration_s": 1.5, "size_bytes": 4096, "network": "none", "releases_s": None,
        "goldsmith": "1.0",
    }  # fmt: skip
    return Record(**{**fields, **changes})
