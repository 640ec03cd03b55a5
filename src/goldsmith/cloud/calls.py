"""One way to ask AWS, with the only layer that repeats calls.

The library's own retries are off. Pauses have full jitter: `random * min(longest, first * 2^n)`.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from goldsmith.cloud.refusals import AwsError, Unreachable, refusal
from goldsmith.host.cancellation import pause
from goldsmith.host.signals import check_interrupted

RETRIES: Final = 10
_FIRST_PAUSE_S: Final = 0.1
_FIRST_THROTTLED_PAUSE_S: Final = 0.5
_LONGEST_PAUSE_S: Final = 20.0
_SILENT_S: Final = 5.0
"""What is waited longer than this for one call, the user reads of."""
_NOT_BELIEVED: Final = "CERTIFICATE_VERIFY_FAILED"
"""What OpenSSL says of a certificate: the next try would see the same one."""

MadeBefore = Callable[[], Mapping[str, Any] | None]
"""Looks whether a call whose answer was lost has had its effect: then the answer it would have."""


@dataclass(frozen=True, slots=True)
class Service:
    """A client of one service in one region."""

    client: Any
    region: str
    retries: int = RETRIES
    explain: Callable[[AwsError], AwsError] = lambda error: error
    """Makes more of an error before it is told."""
    name: str = "ec2"
    """How policies call the service."""
    tell: Callable[[str], None] = lambda text: None
    """Tells the user why nothing seems to happen."""

    def call(self, operation: str, *, made_before: MadeBefore | None = None, **given: Any) -> Any:
        """Call an operation by its name in the library (`describe_images`); raises AwsError.

        Parameters that are None are left out. What makes something and has no token of its own is
        called with `made_before`, so that a lost answer does not make it twice.
        """
        params = {name: value for name, value in given.items() if value is not None}
        maybe_made, waited_s = False, 0.0
        for number in range(self.retries + 1):
            check_interrupted()
            try:
                return self.once(operation, **params)
            except AwsError as e:
                if not e.is_passing or number == self.retries:
                    error = self.explain(e)
                    error.maybe_made = maybe_made
                    raise error from e.__cause__
                first_s = _FIRST_THROTTLED_PAUSE_S if e.is_throttle else _FIRST_PAUSE_S
                pause_s = _jittered(first_s, number)
                waited_s += pause_s
                if waited_s > _SILENT_S:
                    self.tell(f"{e}: asked again in {pause_s:.0f} s, {self.retries - number} "
                              "tries are left")  # fmt: skip
                pause(pause_s)
                if e.is_throttle:
                    continue
                maybe_made = True
                if made_before is not None and (made := _looked(made_before)) is not None:
                    return made
        raise AssertionError("the last try returns or raises")

    def one(self, operation: str, **given: Any) -> Any:
        """The one thing that a `describe_…` finds by its id; an empty answer is its absence too."""
        kind = operation.removeprefix("describe_").title()
        found = self.call(operation, **given)[kind]
        if not found:
            text = f"{', '.join(f'{name} {value}' for name, value in given.items())} is not known"
            raise AwsError(f"Describe{kind}", f"{kind}.NotFound", text)
        return found[0]

    def once(self, operation: str, **params: Any) -> Any:
        """Call it without repeating anything; raises AwsError."""
        # Late: validate and plan need no library.
        from botocore import exceptions
        from botocore.parsers import ResponseParserError

        action = operation.title().replace("_", "")
        try:
            return getattr(self.client, operation)(**params)
        except exceptions.ClientError as e:
            raise refusal(action, e.response, self.name) from e
        except exceptions.NoCredentialsError as e:
            raise no_credentials() from e
        except exceptions.SSLError as e:
            if _NOT_BELIEVED in str(e):
                raise AwsError(action, "SSLError", str(e)) from e
            raise Unreachable(action, str(e)) from e
        except (exceptions.ConnectionError, exceptions.HTTPClientError, ResponseParserError) as e:
            raise Unreachable(action, str(e)) from e
        except exceptions.BotoCoreError as e:
            raise AwsError(action, type(e).__name__, str(e)) from e


def _looked(made_before: MadeBefore) -> Mapping[str, Any] | None:
    try:
        return made_before()
    except AwsError as e:
        e.maybe_made = True
        raise


def _jittered(first_s: float, number: int) -> float:
    return random.random() * min(_LONGEST_PAUSE_S, first_s * float(2**number))  # noqa: S311


def no_credentials() -> AwsError:
    """The error of a host on which nobody has said who builds."""
    error = AwsError("credentials", "NoCredentials", "no credentials for AWS were found")
    error.hint = (
        "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, name a profile, or give the instance a "
        "role"
    )
    return error
