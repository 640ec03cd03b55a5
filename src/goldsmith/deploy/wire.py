"""A deployment as plain JSON data, in which it reaches the worker that carries it out."""

from __future__ import annotations

from functools import cache
from typing import Any

from pydantic import TypeAdapter

from goldsmith.deploy.copying.images import CopyLimits
from goldsmith.deploy.scheme import Deployment


@cache
def _deployments() -> TypeAdapter[Deployment]:
    return TypeAdapter(Deployment)


@cache
def _limits() -> TypeAdapter[CopyLimits]:
    return TypeAdapter(CopyLimits)


def deployment_to_wire(deployment: Deployment) -> Any:
    """The deployment as JSON values; secrets are among them."""
    return _deployments().dump_python(deployment, mode="json")


def deployment_from_wire(wire: Any) -> Deployment:
    """Make it again."""
    return _deployments().validate_python(wire)


def limits_to_wire(limits: CopyLimits) -> Any:
    """The limits as JSON values."""
    return _limits().dump_python(limits, mode="json")


def limits_from_wire(wire: Any) -> CopyLimits:
    """Make them again."""
    return _limits().validate_python(wire)
