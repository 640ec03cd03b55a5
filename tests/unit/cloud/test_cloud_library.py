"""Sessions of the library that share its handlers, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("botocore")

from botocore.session import Session

from goldsmith.cloud.library import new_session

EVENT = "an-event.of-nobody-else"


def client(session: Any) -> Any:
    session.set_credentials("nobody", "nothing")
    return session.create_client("ec2", region_name="us-east-1")


def handlers(session: Any, event: str) -> list[Any]:
    """Those that an event would call, in their order."""
    found: list[Any] = session._events._emitter._handlers.prefix_search(event)
    return list(found)


@pytest.mark.parametrize(
    "event",
    ["before-call.ec2.DescribeImages", "creating-client-class.s3", "before-sign.s3",
     "needs-retry.ec2.CopyImage", "choose-signer.sts.AssumeRole",
     "before-parameter-build.ec2.RunInstances"],
)  # fmt: skip
def test_they_have_the_librarys_own_handlers(event: str) -> None:
    found = handlers(new_session(), event)
    assert found == handlers(Session(), event)


def test_a_handler_of_one_is_not_called_for_another() -> None:
    called = []
    one, other = new_session(), new_session()
    one.register(EVENT, lambda **_: called.append("one"))
    other.emit(EVENT)
    new_session().emit(EVENT)
    assert called == []
    one.emit(EVENT)
    assert called == ["one"]


def test_a_handler_of_a_client_is_its_own() -> None:
    called = []
    session = new_session()
    one, other = client(session), client(session)
    one.meta.events.register(EVENT, lambda **_: called.append("one"))
    other.meta.events.emit(EVENT)
    client(new_session()).meta.events.emit(EVENT)
    assert called == []
    one.meta.events.emit(EVENT)
    assert called == ["one"]


def test_one_has_the_profile_that_it_is_given(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    (tmp_path / "config").write_text("[profile of-two]\nregion = eu-west-3\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    assert new_session("of-two").get_config_variable("region") == "eu-west-3"
    assert new_session().get_config_variable("region") is None
