"""One retry layer: what is repeated, how often, and what is never made twice."""

from __future__ import annotations

import ssl
from typing import Any

import pytest
from botocore.exceptions import (
    ClientError,
    ConnectionClosedError,
    ConnectTimeoutError,
    EndpointConnectionError,
    ProxyConnectionError,
    SSLError,
)

from goldsmith.cloud import calls, refusals
from goldsmith.cloud.calls import Service
from goldsmith.cloud.refusals import AwsError


def refused(code: str, status: int = 400) -> ClientError:
    answer = {"Error": {"Code": code, "Message": "no"},
              "ResponseMetadata": {"HTTPStatusCode": status}}  # fmt: skip
    return ClientError(answer, "X")


class Client:
    """A client that fails so many times."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.asked: list[dict[str, Any]] = []

    def create_snapshot(self, **given: Any) -> dict[str, str]:
        self.asked.append(given)
        if self.errors:
            raise self.errors.pop(0)
        return {"SnapshotId": "snap-9"}


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    waited: list[float] = []
    monkeypatch.setattr(calls, "pause", waited.append)
    return waited


@pytest.mark.parametrize(
    "error",
    [refused("RequestLimitExceeded", 503), refused("ThrottlingException"), refused("X", 500),
     refused("SnapshotCreationPerVolumeRateExceeded"), ConnectionClosedError(endpoint_url="x"),
     EndpointConnectionError(endpoint_url="x"), ConnectTimeoutError(endpoint_url="x"),
     ProxyConnectionError(proxy_url="x"), SSLError(endpoint_url="x", error="EOF occurred")],
)  # fmt: skip
def test_what_may_pass_is_repeated(error: Exception, pauses: list[float]) -> None:
    client = Client(error, error, error)
    assert Service(client, "r").call("create_snapshot", VolumeId="v", Tags=None) == {
        "SnapshotId": "snap-9"
    }
    assert client.asked == [{"VolumeId": "v"}] * 4
    assert len(pauses) == 3 and all(0 <= one <= 20 for one in pauses)


def test_a_plain_no_is_final_and_says_what_to_do() -> None:
    client = Client(refused("UnauthorizedOperation", 403))
    with pytest.raises(AwsError, match="CreateSnapshot: no") as caught:
        Service(client, "r").call("create_snapshot")
    assert len(client.asked) == 1
    assert caught.value.hint == "allow ec2:CreateSnapshot in the IAM policy of whoever builds"


def test_a_certificate_that_is_not_believed_is_final() -> None:
    wrong = ssl.SSLCertVerificationError(1, "[SSL: CERTIFICATE_VERIFY_FAILED] self-signed")
    client = Client(SSLError(endpoint_url="x", error=wrong))
    with pytest.raises(AwsError, match="self-signed") as caught:
        Service(client, "r").call("create_snapshot")
    assert len(client.asked) == 1 and "AWS_CA_BUNDLE" in (caught.value.hint or "")


def test_it_gives_up_at_last() -> None:
    client = Client(*[refused("Throttling")] * 9)
    with pytest.raises(AwsError, match="Throttling"):
        Service(client, "r", retries=3).call("create_snapshot")
    assert len(client.asked) == 4


def test_a_lost_answer_does_not_make_it_twice() -> None:
    client = Client(refused("InternalError", 500))
    made = Service(client, "r").call(
        "create_snapshot", made_before=lambda: {"SnapshotId": "snap-1"}
    )
    assert made == {"SnapshotId": "snap-1"} and len(client.asked) == 1


def test_after_a_throttle_nobody_looks_for_what_was_never_made() -> None:
    client = Client(refused("RequestLimitExceeded", 503))

    def look() -> dict[str, str]:
        raise AssertionError("a throttled call has no effect")

    made = Service(client, "r").call("create_snapshot", made_before=look)
    assert made == {"SnapshotId": "snap-9"}


def test_a_no_after_a_lost_answer_says_that_it_may_be_there() -> None:
    client = Client(refused("InternalError", 500), refused("UnauthorizedOperation", 403))
    with pytest.raises(AwsError, match="UnauthorizedOperation") as caught:
        Service(client, "r").call("create_snapshot")
    assert caught.value.maybe_made
    client = Client(refused("Throttling"), refused("UnauthorizedOperation", 403))
    with pytest.raises(AwsError) as caught:
        Service(client, "r").call("create_snapshot")
    assert not caught.value.maybe_made


def test_a_look_that_is_refused_says_so_too() -> None:
    def look() -> dict[str, str]:
        raise AwsError("DescribeSnapshots", "UnauthorizedOperation", "no")

    with pytest.raises(AwsError) as caught:
        Service(Client(refused("InternalError", 500)), "r").call(
            "create_snapshot", made_before=look
        )
    assert caught.value.maybe_made


def test_the_hint_names_the_service() -> None:
    client = Client(refused("AccessDenied", 403))
    with pytest.raises(AwsError) as caught:
        Service(client, "r", name="sts").call("create_snapshot")
    assert "allow sts:CreateSnapshot" in (caught.value.hint or "")


def test_kinds_of_refusals() -> None:
    absent = refusals.refusal("X", refused("InvalidAMIID.NotFound").response)
    assert absent.is_absence and not absent.is_passing
    assert refusals.Unreachable("X", "gone").is_passing


def test_long_waits_are_told(monkeypatch: pytest.MonkeyPatch, pauses: list[float]) -> None:
    monkeypatch.setattr("random.random", lambda: 1.0)
    said: list[str] = []
    service = Service(Client(*[refused("InternalError", 500)] * 9), "r", tell=said.append)
    service.call("create_snapshot")
    # 0.1 + 0.2 + … + 3.2 s is more than 5 s; then every wait has its line.
    assert len(pauses) == 9 and len(said) == 4
    assert said[0] == "CreateSnapshot: no (InternalError): asked again in 3 s, 5 tries are left"


def test_a_short_wait_has_no_line(pauses: list[float]) -> None:
    said: list[str] = []
    service = Service(Client(*[refused("InternalError", 500)] * 3), "r", tell=said.append)
    service.call("create_snapshot")
    assert said == []
