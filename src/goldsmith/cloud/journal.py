"""What a build makes at AWS is written down before it is asked for, and found again by a tag.

An id is known only from the answer, which a killed build never hears. So whatever is made carries
the tag `goldsmith:run` with a mark of its own, and the journal holds the mark.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from goldsmith.cloud.access_options import AccessOptions, AssumeRole
from goldsmith.cloud.calls import Service
from goldsmith.cloud.image_options import RUN_TAG
from goldsmith.cloud.polling import ATTACHMENT, Waiting
from goldsmith.cloud.refusals import AwsError
from goldsmith.cloud.session import Account
from goldsmith.errors import GoldsmithError
from goldsmith.host.cancellation import pause
from goldsmith.host.journal import RunDirectory
from goldsmith.host.signals import check_interrupted
from goldsmith.redact import Redactor

KIND: Final = "aws"
_ACCESS: Final = (
    "profile", "shared_credentials_file", "custom_endpoint_ec2", "insecure_skip_tls_verify",
)  # fmt: skip
_RESUMES: Final = "resumes_until_s"
_SEEN_WITHIN_S: Final = 120.0
"""What was asked for so long ago is found by its tag if it was made."""
_PAUSE_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Claim:
    """One journalled resource that is about to be made; `mark` is the value of its tag."""

    mark: str
    region: str
    entry: str
    run: RunDirectory
    fields: Mapping[str, Any]
    """What is written down of it."""
    resumes_within_s: float = 0.0

    def prolong(self) -> None:
        """It is being worked on: the time in which another run can go on with it begins anew."""
        self._go_on_until(time.time() + self.resumes_within_s)

    def conclude(self) -> None:
        """It is complete, so that no other run goes on with it: it is not left alone any more."""
        self._go_on_until(0.0)

    def _go_on_until(self, until_s: float) -> None:
        if self.resumes_within_s:
            self.run.renew(self.entry, KIND, **{**self.fields, _RESUMES: until_s})

    def tags(self, *kinds: str, own: Mapping[str, str] | None = None) -> list[dict[str, Any]]:
        """TagSpecifications for a call that makes these kinds of resources."""
        tags = {**(own or {}), RUN_TAG: self.mark}
        listed = [{"Key": key, "Value": value} for key, value in tags.items()]
        return [{"ResourceType": kind, "Tags": listed} for kind in kinds]

    def filters(self) -> list[dict[str, Any]]:
        """What finds the resource again."""
        return marked(self.mark)

    @contextmanager
    def settled_if_refused(self) -> Iterator[None]:
        """Around the call that makes it: a no to every try means that there is nothing.

        A throttle is one too.
        """
        try:
            yield
        except AwsError as e:
            if not e.maybe_made and (e.is_throttle or not e.is_passing):
                self.settle()
            raise

    def settle(self) -> None:
        """It is gone, or is now what the user asked for."""
        self.run.forget(self.entry)


@dataclass(slots=True)
class Ledger:
    """The claims of one build."""

    run: RunDirectory
    account: Account
    build: str
    owner: str = ""
    """The id of the account as soon as it is known: who cleans up must ask as the same one."""
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def claim(self, resource: str, region: str, *, resumes_within_s: float = 0.0) -> Claim:
        """Write down that a "volume", "snapshot" or "image" is about to be made.

        What the same build can go on with, should this one be killed, is left alone for so long.
        """
        mark = f"{self.run.id}/{self.build}/{next(self._numbers)}"[:255]
        options = self.account.options
        access = {name: value for name in _ACCESS if (value := getattr(options, name))}
        role = options.assume_role
        if role is not None:
            access["role"] = {"role_arn": role.role_arn, "external_id": role.external_id}
        fields: dict[str, Any] = {
            "resource": resource, "region": region, "mark": mark, "access": access,
            "owner": self.owner, "at_s": time.time(), _RESUMES: time.time() + resumes_within_s,
        }  # fmt: skip
        entry = self.run.record(KIND, **fields)
        return Claim(mark, region, entry, self.run, fields, resumes_within_s)


def marked(mark: str) -> list[dict[str, Any]]:
    """The filter that finds what carries a mark."""
    return [{"Name": f"tag:{RUN_TAG}", "Values": [mark]}]


def undo_resource(
    fields: Mapping[str, Any], tell: Callable[[str], None] = lambda text: None
) -> None:
    """Remove what carries the mark of an entry, if anything does.

    Keys that stood in a template are not in the journal: then those of the environment are used.
    That nothing is found is believed only of the account that has asked for it, and only when it
    was asked for long enough ago: `tell` hears of the wait. Raises GoldsmithError for another
    account.
    """
    access = dict(fields.get("access", {}))
    role = access.pop("role", None)
    options = AccessOptions(
        **access, region=fields["region"], assume_role=None if role is None else AssumeRole(**role)
    )
    account = Account(options, Redactor(), tell)
    ec2, filters = account.ec2(), marked(fields["mark"])
    ends_s = time.monotonic() + min(
        _SEEN_WITHIN_S, fields.get("at_s", 0.0) + _SEEN_WITHIN_S - time.time()
    )
    if _removed(fields["resource"], ec2, filters):
        return
    _require_owner(account, fields.get("owner", ""), fields["resource"])
    left_s = ends_s - time.monotonic()
    if left_s > 0:
        tell(f"no {fields['resource']} of {fields['mark']} is there; it was asked for just now and "
             f"may only be late: looking for {left_s:.0f} s more")  # fmt: skip
    while time.monotonic() < ends_s:
        check_interrupted()
        pause(_PAUSE_S)
        if _removed(fields["resource"], ec2, filters):
            return


def _removed(resource: str, ec2: Service, filters: list[dict[str, Any]]) -> bool:
    """Remove what passes the filters; returns whether there was anything."""
    match resource:
        case "volume":
            volumes = ec2.call("describe_volumes", Filters=filters)["Volumes"]
            for volume in volumes:
                if volume["Attachments"]:
                    detach(ec2, Waiting(), volume["VolumeId"])
                gone(ec2, "delete_volume", VolumeId=volume["VolumeId"])
            return bool(volumes)
        case "image":
            images = ec2.call("describe_images", Owners=["self"], Filters=filters)["Images"]
            for image in images:
                deregister(ec2, image["ImageId"])
            return delete_snapshots(ec2, filters) or bool(images)
        case _:
            return delete_snapshots(ec2, filters)


def _require_owner(account: Account, owner: str, resource: str) -> None:
    """Raise GoldsmithError when the credentials are not those of the account of an entry."""
    if owner and (caller := account.caller()) != owner:
        raise GoldsmithError(
            f"a {resource} was asked for in the account {owner}, and these credentials are of "
            f"{caller}",
            hint="run `goldsmith clean` with credentials of the account that has built",
        )


def deregister(ec2: Service, image_id: str) -> None:
    """Deregister an image of ours, although it may be protected already."""
    try:
        gone(ec2, "deregister_image", ImageId=image_id)
    except AwsError as e:
        if e.code != "OperationNotPermitted":
            raise
        ec2.call("disable_image_deregistration_protection", ImageId=image_id)
        gone(ec2, "deregister_image", ImageId=image_id)


def delete_snapshots(ec2: Service, filters: list[dict[str, Any]]) -> bool:
    """Delete the account's snapshots that pass the filters; returns whether there were any."""
    found = ec2.call("describe_snapshots", OwnerIds=["self"], Filters=filters)["Snapshots"]
    for snapshot in found:
        gone(ec2, "delete_snapshot", SnapshotId=snapshot["SnapshotId"])
    return bool(found)


def gone(ec2: Service, operation: str, **given: Any) -> None:
    """Remove something; that it is not there any more is well."""
    try:
        ec2.call(operation, **given)
    except AwsError as e:
        if not e.is_absence and e.code != "InvalidAMIID.Unavailable":
            raise


def detach(ec2: Service, waiting: Waiting, volume_id: str) -> None:
    """Detach a volume from whatever it is attached to, and wait until it is."""

    def look() -> tuple[str, bool]:
        volume = ec2.one("describe_volumes", VolumeIds=[volume_id])
        states = [attachment["State"] for attachment in volume["Attachments"]]
        return ", ".join(states), not states or set(states) == {"detached"}

    try:
        ec2.call("detach_volume", VolumeId=volume_id)
    except AwsError as e:
        # It was not attached, or is being detached already: the look tells.
        if e.code != "IncorrectState":
            raise
    waiting.until(ATTACHMENT, f"the attachment of {volume_id}", look)
