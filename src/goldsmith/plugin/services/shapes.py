"""What calls carry: every field may be missing, and then has the zero value of its type."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from goldsmith.plugin.wire.errors import RemoteError, WireError
from goldsmith.plugin.wire.rpc import Service


def record(content: Any) -> Mapping[str, Any]:
    """Named fields; nil has none. Raises WireError."""
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise WireError(f"a map is expected, not {_kind(content)}")
    return content


def number(content: Any) -> int:
    """A whole number. Raises WireError."""
    if content is None:
        return 0
    if not isinstance(content, int):
        raise WireError(f"a whole number is expected, not {_kind(content)}")
    return content


def text(content: Any) -> str:
    """A text. Raises WireError."""
    if content is None:
        return ""
    if isinstance(content, bytes):
        return content.decode("utf-8", "surrogateescape")
    if not isinstance(content, str):
        raise WireError(f"a text is expected, not {_kind(content)}")
    return content


def data(content: Any) -> bytes:
    """Bytes. Raises WireError."""
    if not isinstance(content, bytes):
        raise WireError(f"bytes are expected, not {_kind(content)}")
    return content


def texts(content: Any) -> list[str]:
    """A list of texts; nil is an empty one. Raises WireError."""
    if content is None:
        return []
    if not isinstance(content, list):
        raise WireError(f"a list is expected, not {_kind(content)}")
    return [text(item) for item in content]


def _kind(content: Any) -> str:
    return f"a {type(content).__name__}"


def list_or_nil(items: Sequence[str]) -> list[str] | None:
    """A list as Go sends it: an empty one is nil."""
    return list(items) or None


def as_error(error: BaseException) -> dict[str, str]:
    """An error as a field of a reply."""
    return {"Message": str(error) or type(error).__name__}


def raise_error(reply: Any, field: str) -> None:
    """Raise RemoteError when a field of a reply holds an error."""
    error = record(reply).get(field)
    if error is not None:
        raise RemoteError(text(record(error).get("Message")) or "it failed and did not say why")


Services = dict[str, Service]
"""The services of a stream by name."""
