"""Input of fuel-agent's programs, JSON or YAML, as plain data."""

from __future__ import annotations

from typing import Any, Final

from goldsmith.errors import Diagnostics, GoldsmithError

LARGEST_INPUT_BYTES: Final = 16 << 20


def read_input(text: str, origin: str) -> Any:
    """The input as plain data, JSON or YAML; raises TemplateError with the place of a mistake."""
    from goldsmith.disk.block_devices.yaml_text import Item, read_yaml

    if len(text) > LARGEST_INPUT_BYTES:
        raise GoldsmithError(f"{origin}: the input is larger than 16 MiB")
    findings = Diagnostics()
    root = read_yaml(text, origin, findings)
    findings.raise_if_errors()

    def plain(item: Item) -> Any:
        if isinstance(item.value, dict):
            return {name: plain(one) for name, one in item.value.items()}
        return [plain(one) for one in item.value] if isinstance(item.value, list) else item.value

    return None if root is None else plain(root)
