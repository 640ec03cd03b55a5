"""Credentials, regions and endpoints, as users of AWS's own tools expect them."""

from __future__ import annotations

import io
import os
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from botocore.exceptions import ConnectTimeoutError

from aws_rig import Rig
from goldsmith.cloud import calls, session
from goldsmith.cloud.access_options import AccessOptions, AssumeRole, VaultEngine
from goldsmith.cloud.calls import Service
from goldsmith.cloud.metadata import instance_document
from goldsmith.cloud.refusals import AwsError
from goldsmith.cloud.session import Account, given_environment
from goldsmith.errors import GoldsmithError
from goldsmith.redact import Redactor


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with Rig(tmp_path_factory.mktemp("rig"), loops=False) as running:
        yield running


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, rig: Rig) -> None:
    """Nothing of whoever runs the tests."""
    for name in os.environ:
        if name.startswith(("AWS_", "VAULT_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", rig.url)
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", rig.url)


def account(rig: Rig, **given: object) -> tuple[Account, Redactor]:
    redactor = Redactor()
    options = AccessOptions.model_validate({"custom_endpoint_ec2": rig.url, **given})
    return Account(options, redactor), redactor


def key_of(one: Account) -> str:
    """The access key that calls are signed with."""
    assert one.ec2().call("describe_regions")["Regions"]
    found: str = one._authorized().get_credentials().access_key
    return found


def test_the_template_counts_before_all(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAENV")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "environment-secret")
    one, redactor = account(
        rig, access_key="AKIATEMPLATE", secret_key="template-secret", token="template-token",
        region="us-east-1",
    )  # fmt: skip
    assert key_of(one) == "AKIATEMPLATE"
    assert redactor.redact("template-secret template-token") == "<sensitive> <sensitive>"


def test_the_environment_counts_before_a_profile(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "keys"
    file.write_text("[ci]\naws_access_key_id = AKIAFILE\naws_secret_access_key = file-secret\n")
    given = {"profile": "ci", "shared_credentials_file": str(file), "region": "us-east-1"}
    one, redactor = account(rig, **given)
    assert key_of(one) == "AKIAFILE"
    assert "file-secret" not in redactor.redact("file-secret")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAENV")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "environment-secret")
    assert key_of(account(rig, **given)[0]) == "AKIAENV"


def test_the_instance_has_a_role_by_the_second_version_of_metadata(rig: Rig) -> None:
    one, redactor = account(rig, region="us-east-1")
    assert key_of(one) == "ASIARIG"
    assert redactor.redact("role-token") == "<sensitive>"
    assert instance_document()["instanceId"] == rig.instance_id


def test_a_role_is_taken_on(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    role = AssumeRole(role_arn="arn:aws:iam::123456789012:role/builder", session_name="ci-run")
    one, _ = account(
        rig, region="us-east-1", access_key="AKIATEMPLATE", secret_key="s", assume_role=role
    )
    assert key_of(one).startswith("ASIA")


def test_a_role_is_taken_on_anew_before_its_session_expires(rig: Rig) -> None:
    role = AssumeRole(role_arn="arn:aws:iam::123456789012:role/builder", duration_seconds=900)
    one, redactor = account(
        rig, region="us-east-1", access_key="AKIATEMPLATE", secret_key="s", assume_role=role
    )
    first = key_of(one)
    assert key_of(one) == first
    held = one._authorized().get_credentials()
    held._expiry_time = datetime.now(UTC) + timedelta(seconds=200)
    frozen = held.get_frozen_credentials()
    assert frozen.access_key != first and key_of(one) == frozen.access_key
    assert redactor.redact(frozen.secret_key) == "<sensitive>"


def test_no_credentials(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(GoldsmithError, match="no credentials for AWS were found") as caught:
        account(rig, region="us-east-1")[0].ec2()
    assert "AWS_ACCESS_KEY_ID" in (caught.value.hint or "")


def test_a_profile_that_is_not_there(rig: Rig) -> None:
    with pytest.raises(GoldsmithError, match="profile nobody"):
        account(rig, region="us-east-1", profile="nobody")[0].ec2()


def test_where_the_region_comes_from(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert account(rig)[0].region == "us-east-1", "that of the instance"
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws/config").write_text("[profile ci]\nregion = eu-west-1\n")
    assert account(rig, profile="ci")[0].region == "eu-west-1"
    monkeypatch.setenv("AWS_REGION", "us-west-2")
    assert account(rig, profile="ci")[0].region == "us-west-2"
    assert account(rig, region="ap-south-1")[0].region == "ap-south-1"


def test_an_instance_that_does_not_tell_its_region(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "instance_document", lambda: {"instanceId": "i-1"})
    with pytest.raises(GoldsmithError, match="no region is known"):
        assert account(rig)[0].region


def test_who_is_asked_in_vain_does_not_hold_up_a_build(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    class Silent:
        def get_caller_identity(self) -> None:
            asked.append("who")
            raise ConnectTimeoutError(endpoint_url="sts")

    monkeypatch.setattr(calls, "pause", lambda _: None)
    one, _ = account(rig, region="us-east-1")
    one._services["sts", "us-east-1"] = Service(Silent(), "us-east-1", name="sts")
    with pytest.raises(AwsError, match="no answer"):
        one.caller()
    assert len(asked) == 3


def test_elsewhere_than_on_an_instance(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://127.0.0.1:1")
    with pytest.raises(GoldsmithError, match="this is no EC2 instance"):
        instance_document()
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(GoldsmithError, match="AWS_EC2_METADATA_DISABLED"):
        instance_document()


def test_variables_are_given_for_a_block_only() -> None:
    with given_environment({"AWS_X": "1"}):
        assert os.environ["AWS_X"] == "1"
    assert "AWS_X" not in os.environ


def test_a_profile_that_wants_a_code_asks_nobody(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws/config").write_text(
        "[profile ci]\nrole_arn = arn:aws:iam::123456789012:role/builder\nregion = us-east-1\n"
        "mfa_serial = arn:aws:iam::123456789012:mfa/ci\nsource_profile = keys\n"
        "[profile keys]\naws_access_key_id = AKIAFILE\naws_secret_access_key = file-secret\n"
    )
    with pytest.raises(GoldsmithError, match="ci has an mfa_serial, and needs mfa_code"):
        account(rig, profile="ci")[0].ec2()
    assert key_of(account(rig, profile="ci", mfa_code="123456")[0]).startswith("ASIA")


def test_a_role_is_taken_on_with_a_profile_of_another_file(rig: Rig, tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text("[ci]\naws_access_key_id = AKIAFILE\naws_secret_access_key = file-secret\n")
    role = AssumeRole(role_arn="arn:aws:iam::123456789012:role/builder")
    one, _ = account(
        rig, region="us-east-1", profile="ci", shared_credentials_file=str(file), assume_role=role
    )
    assert key_of(one).startswith("ASIA")


@pytest.mark.parametrize("name", ["role", "a role/of mine"])
def test_an_address_of_vault_that_cannot_be_asked(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("VAULT_ADDR", "http://127.0.0.1:port")
    monkeypatch.setenv("VAULT_TOKEN", "vault-token")
    one, redactor = account(rig, region="us-east-1", vault_aws_engine={"name": name})
    with pytest.raises(GoldsmithError, match="Vault gave no credentials at aws/creds/"):
        one.ec2()
    assert redactor.redact("vault-token") == "<sensitive>"


def test_vault_is_asked_in_its_namespace(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[urllib.request.Request] = []

    def open_url(request: urllib.request.Request, timeout: float) -> io.BytesIO:
        asked.append(request)
        return io.BytesIO(b'{"data": {"access_key": "AKIAVAULT", "secret_key": "of-vault"}}')

    monkeypatch.setattr(urllib.request, "urlopen", open_url)
    monkeypatch.setenv("VAULT_ADDR", "https://vault.example:8200/")
    monkeypatch.setenv("VAULT_TOKEN", "vault-token")
    monkeypatch.setenv("VAULT_NAMESPACE", "team")
    options = AccessOptions(
        region="r", vault_aws_engine=VaultEngine(name="a b/c", engine_name="x/aws")
    )
    key = Account(options, Redactor())._authorized().get_credentials().access_key
    assert key == "AKIAVAULT"
    assert asked[0].full_url == "https://vault.example:8200/v1/x/aws/creds/a%20b%2Fc?"
    assert asked[0].get_header("X-vault-namespace") == "team"


def test_a_metadata_endpoint_that_cannot_be_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://127.0.0.1:port")
    with pytest.raises(GoldsmithError, match="this is no EC2 instance"):
        instance_document()
