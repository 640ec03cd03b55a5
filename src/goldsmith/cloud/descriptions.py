"""The library's descriptions of services, cut down to what is called, and kept so.

Its description of EC2 has 800 operations, of which each becomes a method, and its list of endpoints
is that of 400 services: to read and to make them takes longer than all calls of a build. What is
kept lies in the state directory, by the version of the library and what was wanted of it; without
that, or when it cannot be read, it is made anew.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import secrets
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from goldsmith.host.journal import state_directory

OPERATIONS: Final = (
    "AttachVolume", "CopyImage", "CreateSnapshot", "CreateTags", "CreateVolume", "DeleteSnapshot",
    "DeleteVolume", "DeregisterImage", "DescribeImages", "DescribeInstances", "DescribeRegions",
    "DescribeSnapshots", "DescribeVolumes", "DetachVolume",
    "DisableImageDeregistrationProtection", "EnableImageDeprecation",
    "EnableImageDeregistrationProtection", "ModifyImageAttribute", "ModifySnapshotAttribute",
    "RegisterImage",
)  # fmt: skip
"""What of EC2 is called anywhere."""
SERVICES: Final = ("ebs", "ec2", "s3", "sts", "signin", "sso", "sso-oidc")
"""What clients are made for; the last three by the library, for profiles of people who sign in."""
_ENDPOINTS: Final = (*SERVICES, "portal.sso", "oidc")
"""Some services are called otherwise there."""
_FORM: Final = 2
"""Counts changes of what is kept."""


@functools.cache
def descriptions() -> Any:
    """A loader for sessions of the library."""
    from botocore import __version__
    from botocore.loaders import Loader

    class CutLoader(Loader):  # type: ignore[misc]
        """Gives the cut descriptions in place of whole ones."""

        def list_available_services(self, type_name: str) -> list[str]:
            # It would look into each of the library's 400 directories.
            return list(SERVICES)

        def load_data_with_path(self, name: str) -> Any:
            whole = functools.partial(super().load_data_with_path, name)
            if name != "endpoints":
                return whole()
            kept = _kept(f"endpoints-{__version__}", lambda: cut_endpoints(whole()[0], _ENDPOINTS))
            return kept, os.path.join(self.BUILTIN_DATA_PATH, name)

        def load_service_model(
            self, service_name: str, type_name: str, api_version: str | None = None
        ) -> Any:
            whole = functools.partial(
                super().load_service_model, service_name, type_name, api_version
            )
            if (service_name, type_name) != ("ec2", "service-2"):
                return whole()
            return _kept(f"ec2-{__version__}", lambda: cut_model(whole(), OPERATIONS))

    return CutLoader()


_read: Final[dict[str, dict[str, Any]]] = {}


def _kept(name: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What `make` makes, which is made once for this process, and mostly for all later ones."""
    if name not in _read:
        _read[name] = _from_state(name, make)
    return _read[name]


def _from_state(name: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    wanted = [_FORM, *OPERATIONS, *_ENDPOINTS]
    file = state_directory() / "aws" / f"{name}.json"
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
        kept = json.loads(file.read_bytes())
        if kept["wanted"] == wanted:
            cut: dict[str, Any] = kept["cut"]
            return cut
    cut = make()
    with contextlib.suppress(OSError):
        _write(file, json.dumps({"wanted": wanted, "cut": cut}))
    return cut


def _write(file: Path, text: str) -> None:
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    partial = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
    try:
        partial.write_text(text)
        partial.replace(file)
    except OSError:
        partial.unlink(missing_ok=True)
        raise


def cut_model(model: Mapping[str, Any], operations: Iterable[str]) -> dict[str, Any]:
    """A description of a service with these operations, what they are made of, and no texts."""
    kept = {name: _without_texts(model["operations"][name]) for name in operations}
    shapes: dict[str, Any] = {}
    waiting = [name for operation in kept.values() for name in _shapes_in(operation)]
    while waiting:
        name = waiting.pop()
        if name not in shapes:
            shapes[name] = _without_texts(model["shapes"][name])
            waiting += _shapes_in(shapes[name])
    others = {name: value for name, value in model.items()
              if name not in ("operations", "shapes", "documentation")}  # fmt: skip
    return {**others, "operations": kept, "shapes": shapes}


def cut_endpoints(endpoints: Mapping[str, Any], services: Iterable[str]) -> dict[str, Any]:
    """The library's list of endpoints with these services alone."""
    wanted = frozenset(services)
    partitions = [
        {**one, "services": {name: it for name, it in one["services"].items() if name in wanted}}
        for one in endpoints["partitions"]
    ]
    return {**endpoints, "partitions": partitions}


def _shapes_in(value: Any) -> list[str]:
    if isinstance(value, dict):
        own = [value["shape"]] if isinstance(value.get("shape"), str) else []
        return own + [name for one in value.values() for name in _shapes_in(one)]
    if isinstance(value, list):
        return [name for one in value for name in _shapes_in(one)]
    return []


def _without_texts(value: Any) -> Any:
    """A member may itself be called "documentation": then it is a table, and stays."""
    if isinstance(value, dict):
        return {name: _without_texts(one) for name, one in value.items()
                if name != "documentation" or not isinstance(one, str)}  # fmt: skip
    if isinstance(value, list):
        return [_without_texts(one) for one in value]
    return value
