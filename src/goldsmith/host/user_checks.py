"""What `goldsmith doctor` looks at for builds of ordinary users: their user namespace."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from goldsmith.host import user_namespace
from goldsmith.host.checks import Check, Verdict
from goldsmith.host.user_namespace import Obstacle

AS_ROOT: Final = "as root: "


def user_checks() -> list[Check]:
    """One check: root is told what keeps others from it, an ordinary user what keeps him."""
    return [Check(name="user namespace", look=_look_at_user_namespace)]


def _look_at_user_namespace() -> Verdict:
    if os.geteuid() == 0:
        return verdict_for_root(Path("/"))
    uid = os.getuid()
    found = verdict_for_user(Path("/"), uid, user_namespace.user_name(uid))
    if found.outcome == "ok":
        user_namespace.require()
    return found


def verdict_for_root(root: Path) -> Verdict:
    """Whether the host whose files are below `root` lets ordinary users build images."""
    found = user_namespace.host_obstacles(root)
    if not found:
        return Verdict("ok", "users who have subordinate ids can build images")
    return Verdict("warning", f"only root can build images: {_findings(found)}", _remedies(found),
                   _packages(found))  # fmt: skip


def verdict_for_user(root: Path, uid: int, name: str) -> Verdict:
    """Whether this user has all that a user namespace takes; none is made."""
    found = [
        *user_namespace.host_obstacles(root), *user_namespace.user_obstacles(uid, name, root)
    ]  # fmt: skip
    if not found:
        return Verdict("ok", f"{name} can be root of one, with subordinate ids")
    return Verdict("missing", f"images cannot be built: {_findings(found)}",
                   AS_ROOT + _remedies(found), _packages(found))  # fmt: skip


def _findings(found: list[Obstacle]) -> str:
    return "; ".join(obstacle.finding for obstacle in found)


def _remedies(found: list[Obstacle]) -> str:
    return "; ".join(dict.fromkeys(obstacle.remedy for obstacle in found))


def _packages(found: list[Obstacle]) -> tuple[str, ...]:
    return tuple(package for obstacle in found for package in obstacle.packages)
