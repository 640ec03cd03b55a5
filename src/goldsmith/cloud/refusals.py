"""What AWS says when it says no, as errors with remedies."""

from __future__ import annotations

from typing import Any, Final

from goldsmith.errors import GoldsmithError

THROTTLES: Final = frozenset({
    "RequestLimitExceeded", "Throttling", "ThrottlingException", "ThrottledException",
    "RequestThrottled", "RequestThrottledException", "TooManyRequestsException",
    "BandwidthLimitExceeded", "EC2ThrottledException", "ProvisionedThroughputExceededException",
    "SnapshotCreationPerVolumeRateExceeded",
})  # fmt: skip
"""The call was not looked at, and may be repeated whatever it does."""

PASSING: Final = frozenset({
    "InternalError", "InternalFailure", "InternalServerException", "ServiceUnavailable",
    "ServiceUnavailableException", "Unavailable", "RequestTimeout", "RequestTimeoutException",
})  # fmt: skip
"""Something went wrong on the other side; the call may have had its effect."""

_HINTS: Final = {
    "UnauthorizedOperation": "allow {action} in the IAM policy of whoever builds",
    "AccessDenied": "allow {action} in the IAM policy of whoever builds",
    "AccessDeniedException": "allow {action} in the IAM policy of whoever builds",
    "AuthFailure": "are the credentials those of this region's partition, and the clock right?",
    "InvalidClientTokenId": "the access key is not known: is it one of this account, and active?",
    "SignatureDoesNotMatch": "the secret key does not belong to the access key",
    "ExpiredToken": "the session has expired: get new credentials and build again",
    "ExpiredTokenException": "the session has expired: get new credentials and build again",
    "RequestExpired": "the session has expired, or this host's clock is wrong",
    "OptInRequired": "the account has not subscribed to this service, or to the source's product",
    "VolumeLimitExceeded": "remove volumes, or ask AWS for a higher quota",
    "SnapshotLimitExceeded": "remove snapshots, or ask AWS for a higher quota",
    "ResourceLimitExceeded": "remove what is not needed, or ask AWS for a higher quota",
    "ConcurrentLimitExceededException": "wait until other uploads are complete, or ask AWS for a "
    "higher quota",
    "SSLError": "does this host know who has signed the certificate? AWS_CA_BUNDLE names a file",
    "InvalidAMIName.Duplicate": "choose another ami_name, or set force_deregister",
}


class AwsError(GoldsmithError):
    """A call was refused; `code` is AWS's own word for why."""

    def __init__(
        self, action: str, code: str, text: str, *, status: int = 0, service: str = "ec2",
        reason: str = "",
    ) -> None:  # fmt: skip
        hint = _HINTS.get(code, "").format(action=f"{service}:{action}")
        super().__init__(f"{action}: {text} ({code})", hint=hint or None)
        self.action, self.code, self.status = action, code, status
        self.text = text
        self.reason = reason
        """What EBS direct says besides its code."""
        self.maybe_made = False
        """Whether an earlier try of the call, whose answer was lost, may have had its effect."""

    @property
    def is_throttle(self) -> bool:
        """Whether it says no more than: not so fast."""
        return self.code in THROTTLES

    @property
    def is_passing(self) -> bool:
        """Whether the same call may succeed later."""
        return self.is_throttle or self.status >= 500 or self.code in PASSING

    @property
    def is_absence(self) -> bool:
        """Whether what was asked for is not there."""
        return ".NotFound" in self.code or self.code == "ResourceNotFoundException"

    @property
    def is_stale_token(self) -> bool:
        """Whether a token of EBS direct has expired: a new listing gives new ones."""
        return self.reason in ("INVALID_BLOCK_TOKEN", "INVALID_PAGE_TOKEN")


class Unreachable(AwsError):
    """No answer came; the call may have had its effect."""

    def __init__(self, action: str, text: str) -> None:
        super().__init__(action, "no answer", text)
        self.hint = "are the network, the proxy variables and the endpoint right?"

    @property
    def is_passing(self) -> bool:
        """A later one may come through."""
        return True


def refusal(action: str, response: Any, service: str = "ec2") -> AwsError:
    """The error that an answer of the library's ClientError stands for."""
    error = response.get("Error", {})
    status = int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    code, text = str(error.get("Code", "unknown")), str(error.get("Message", "refused"))
    reason = str(response.get("Reason") or "")
    return AwsError(action, code, text, status=status, service=service, reason=reason)
