"""Sizes and durations: the only place that knows what "4GiB" and "1m30s" mean."""

from __future__ import annotations

import re
from decimal import Decimal

from goldsmith.errors import GoldsmithError

KIB, MIB, GIB, TIB = 1 << 10, 1 << 20, 1 << 30, 1 << 40
LONGEST_WAIT_S = ((1 << 31) - 1) // 1000
"""24 days: poll(2) and epoll_wait(2) take an int of milliseconds."""
LARGEST_FILE_BYTES = (1 << 63) - 1
"""off_t ends here."""

# Numbers of thousands of digits are slow, and Python refuses to print them.
_LARGEST_SIZE_BYTES = 1 << 80
_LONGEST_DURATION_S = Decimal((1 << 63) - 1) / 10**9

_SIZE_UNITS_BYTES = {
    "": 1, "b": 1,
    "k": KIB, "kib": KIB, "kb": 1000,
    "m": MIB, "mib": MIB, "mb": 1000**2,
    "g": GIB, "gib": GIB, "gb": 1000**3,
    "t": TIB, "tib": TIB, "tb": 1000**4,
}  # fmt: skip
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([A-Za-z]*)", re.ASCII)

_DURATION_UNITS_S = {
    "ns": Decimal("1e-9"), "us": Decimal("1e-6"), "µs": Decimal("1e-6"), "μs": Decimal("1e-6"),
    "ms": Decimal("1e-3"), "s": Decimal(1), "m": Decimal(60), "h": Decimal(3600),
}  # fmt: skip
_DURATION_TERM = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h)", re.ASCII)


class UnitError(GoldsmithError):
    """A text is not a size or a duration."""


def parse_size_bytes(text: str) -> int:
    """Read "4GiB", "512M" (binary), "2GB" (decimal) or plain bytes.

    Raises UnitError for anything else, where a fraction does not come out as whole bytes, and
    above any size that computers have.
    """
    match = _SIZE.fullmatch(text.strip())
    unit = _SIZE_UNITS_BYTES.get(match.group(2).lower()) if match else None
    if match is None or unit is None:
        raise UnitError(f"{text!r} is not a size", hint='write for example "512MiB" or "4GiB"')
    size_bytes = Decimal(match.group(1)) * unit
    if size_bytes > _LARGEST_SIZE_BYTES:
        raise UnitError("this is more than any disk holds")
    if size_bytes != size_bytes.to_integral_value():
        raise UnitError(f"{text!r} is not a whole number of bytes")
    return int(size_bytes)


def parse_file_size_bytes(text: str) -> int:
    """Read a size that a file can have: at most LARGEST_FILE_BYTES; raises UnitError."""
    size_bytes = parse_size_bytes(text)
    if size_bytes > LARGEST_FILE_BYTES:
        raise UnitError("files are smaller than 8 EiB", hint='write for example "4GiB"')
    return size_bytes


def format_size(size_bytes: int) -> str:
    """Render bytes for people, with the largest binary unit that leaves a number of at least 1."""
    for unit_bytes, name in ((TIB, "TiB"), (GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB")):
        if size_bytes >= unit_bytes:
            value = size_bytes / unit_bytes
            return f"{value:.0f} {name}" if value >= 100 else f"{value:.3g} {name}"
    return f"{size_bytes} B"


def parse_duration_s(text: str) -> float:
    """Read a duration as Go writes it: "300ms", "1.5h", "2h45m", "0".

    Raises UnitError for anything else; a sign is allowed as in Go, 292 years are the limit.
    """
    body = text.strip()
    sign = -1 if body.startswith("-") else 1
    body = body[1:] if body[:1] in ("+", "-") else body
    if body == "0":
        return 0.0
    total, position = Decimal(0), 0
    while position < len(body):
        match = _DURATION_TERM.match(body, position)
        if match is None:
            break
        total += Decimal(match.group(1)) * _DURATION_UNITS_S[match.group(2)]
        position = match.end()
    if not body or position != len(body):
        raise UnitError(f"{text!r} is not a duration", hint='write for example "90s" or "1h30m"')
    if total > _LONGEST_DURATION_S:
        raise UnitError("a duration must be less than 292 years")
    return float(sign * total)


def parse_wait_s(text: str) -> float:
    """Read a duration that something waits for: not negative, and not above LONGEST_WAIT_S.

    Raises UnitError.
    """
    duration_s = parse_duration_s(text)
    if duration_s < 0:
        raise UnitError(f"{text!r} is negative: nothing can wait so long")
    if duration_s > LONGEST_WAIT_S:
        raise UnitError("nothing waits longer than 24 days", hint='write for example "1h30m"')
    return duration_s


def format_duration(duration_s: float) -> str:
    """Render a duration as Packer does: its two largest units, "1 minute 5 seconds"."""
    rest_ms = max(0, round(duration_s * 1000))
    parts: list[str] = []
    for name, unit_ms in (
        ("week", 604_800_000), ("day", 86_400_000), ("hour", 3_600_000),
        ("minute", 60_000), ("second", 1000), ("millisecond", 1),
    ):  # fmt: skip
        count, rest_ms = divmod(rest_ms, unit_ms)
        if count:
            parts.append(f"{count} {name}{'s' if count != 1 else ''}")
    return " ".join(parts[:2]) or "0 milliseconds"


def format_age(age_s: float) -> str:
    """Render how long ago something was: "40 s", "5 min", "26 h", "3 days"."""
    for unit_s, least, name in ((86400, 2, "days"), (3600, 1, "h"), (60, 1, "min")):
        if age_s >= least * unit_s:
            return f"{age_s / unit_s:.0f} {name}"
    return f"{max(age_s, 0):.0f} s"
