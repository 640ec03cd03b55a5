"""Who asks AWS: credentials as AWS's own tools find them, and clients made with them."""

from __future__ import annotations

import http.client
import json
import os
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Final

from goldsmith.cloud.access_options import AccessOptions, VaultEngine
from goldsmith.cloud.calls import RETRIES, Service, no_credentials
from goldsmith.cloud.library import new_session
from goldsmith.cloud.metadata import instance_document
from goldsmith.cloud.refusals import AwsError
from goldsmith.errors import GoldsmithError
from goldsmith.redact import Redactor

_CONNECT_S: Final = 10.0
_READ_S: Final = 60.0
_RETRIES_OF_CALLER: Final = 2
_RENEWED_BEFORE_S: Final = 300
"""So long before its session expires a role is taken on anew."""
# A call of half a MiB that hangs is given up early: another try is cheap.
_BLOCK_CONNECT_S: Final = 5.0
_BLOCK_READ_S: Final = 20.0
_CONNECTIONS: Final = 64
_USUAL_CONNECTIONS: Final = 10
_ENCODED: Final = "Encoded authorization failure message: "
_MOST_OF_VAULT: Final = 1 << 20
_REGION_OF_BUCKETS: Final = "us-east-1"


@contextmanager
def given_environment(environment: Mapping[str, str]) -> Iterator[None]:
    """Variables that the library reads, for the length of a block; for a worker's own process."""
    before = dict(os.environ)
    os.environ.update(environment)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@dataclass(slots=True)
class Account:
    """The account of a build: one client for each service and region, made when first asked for."""

    options: AccessOptions
    redactor: Redactor
    tell: Callable[[str], None] = lambda text: None
    """Tells the user of long waits."""
    _session: Any = None
    _services: dict[tuple[str, str], Service] = field(default_factory=dict)
    _region: str = ""

    @property
    def region(self) -> str:
        """The template's region, else AWS_REGION, the profile's, the instance's; raises."""
        if not self._region:
            self._region = self._region_by_settings() or self._region_of_instance()
        return self._region

    def _region_by_settings(self) -> str:
        environment = os.environ
        return (
            self.options.region or environment.get("AWS_REGION", "")
            or environment.get("AWS_DEFAULT_REGION", "")
            or self._bare_session().get_config_variable("region") or ""
        )  # fmt: skip

    def _region_of_instance(self) -> str:
        try:
            return instance_document()["region"]
        except (GoldsmithError, KeyError) as e:
            raise GoldsmithError(
                "no region is known: neither the template, AWS_REGION, the profile nor an "
                "instance's metadata say one",
                hint='write region = "…" in the source',
            ) from e

    def ec2(self, region: str = "") -> Service:
        """EC2 of a region, the build's own by default."""
        return self._service("ec2", region or self.region)

    def s3(self) -> Service:
        """S3; where no settings name a region, the one from which buckets of all are found."""
        return self._service("s3", self._region_by_settings() or _REGION_OF_BUCKETS)

    def ebs(self, region: str = "") -> Service:
        """EBS direct of a region, for many calls at once."""
        return self._service("ebs", region or self.region)

    def caller(self) -> str:
        """The id of the account whose credentials these are; raises AwsError.

        Asked a few times only: a build can do without the answer.
        """
        sts = replace(self._service("sts", self.region), retries=_RETRIES_OF_CALLER)
        return str(sts.call("get_caller_identity")["Account"])

    def _service(self, name: str, region: str) -> Service:
        found = self._services.get((name, region))
        if found is None:
            # Not every source has one for every service.
            endpoint = getattr(self.options, f"custom_endpoint_{name}", "")
            client = self._client(self._authorized(), name, region, endpoint)
            retries = self.options.max_retries or RETRIES
            found = Service(client, region, retries, self._explained, name, self.tell)
            self._services[name, region] = found
        return found

    def _client(self, session: Any, name: str, region: str, endpoint: str) -> Any:
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError

        config = Config(
            retries={"total_max_attempts": 1}, tcp_keepalive=True,
            connect_timeout=_BLOCK_CONNECT_S if name == "ebs" else _CONNECT_S,
            read_timeout=_BLOCK_READ_S if name == "ebs" else _READ_S,
            max_pool_connections=_CONNECTIONS if name == "ebs" else _USUAL_CONNECTIONS,
        )  # fmt: skip
        try:
            return session.create_client(
                name, region_name=region, endpoint_url=endpoint or None, config=config,
                verify=False if self.options.insecure_skip_tls_verify else None,
            )  # fmt: skip
        except (BotoCoreError, ValueError) as e:
            raise GoldsmithError(f"AWS cannot be reached: {e}") from e

    def _bare_session(self) -> Any:
        """A session that knows the files of the user, but no credentials yet."""
        try:
            from botocore.exceptions import BotoCoreError
        except ImportError as e:
            raise GoldsmithError(
                "the library for AWS is not installed", hint="pip install 'goldsmith[aws]'"
            ) from e
        options = self.options
        session = new_session(options.profile)
        if options.shared_credentials_file:
            path = os.path.expanduser(options.shared_credentials_file)
            session.set_config_variable("credentials_file", path)
        try:
            session.get_scoped_config()
        except BotoCoreError as e:
            raise GoldsmithError(f"profile {options.profile}: {e}") from e
        return session

    def _authorized(self) -> Any:
        """The session with its credentials; their secrets are masked from now on."""
        if self._session is None:
            session = self._bare_session()
            self._give_credentials(session)
            if self.options.assume_role is not None:
                session = self._in_role(session)
            self._session = session
        return self._session

    def _give_credentials(self, session: Any) -> None:
        options, environment = self.options, os.environ
        if options.vault_aws_engine is not None:
            self._set(session, *_from_vault(options.vault_aws_engine, self.redactor))
        elif options.access_key:
            self._set(session, options.access_key, options.secret_key, options.token)
        elif environment.get("AWS_ACCESS_KEY_ID") and environment.get("AWS_SECRET_ACCESS_KEY"):
            # Before a profile too, as amazon-chroot's users know it.
            self._set(
                session, environment["AWS_ACCESS_KEY_ID"], environment["AWS_SECRET_ACCESS_KEY"],
                environment.get("AWS_SESSION_TOKEN", ""),
            )  # fmt: skip
        else:
            resolver = session.get_component("credential_provider")
            resolver.get_provider("assume-role")._prompter = self._mfa_code
            self._require(session)

    def _mfa_code(self, prompt: str) -> str:
        """What the library would ask a user for, whom a build has none of."""
        if not self.options.mfa_code:
            raise GoldsmithError(
                f"the profile {self.options.profile or 'default'} has an mfa_serial, and needs "
                "mfa_code",
                hint="write mfa_code = var.mfa_code in the source, and give it with -var",
            )
        return self.options.mfa_code

    def _set(self, session: Any, key: str, secret: str, token: str) -> None:
        self.redactor.add([secret, token])
        session.set_credentials(key, secret, token or None)

    def _require(self, session: Any) -> None:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            credentials = session.get_credentials()
            frozen = credentials and credentials.get_frozen_credentials()
        except (BotoCoreError, ClientError) as e:
            error = no_credentials()
            raise GoldsmithError(f"{error}: {e}", hint=error.hint) from e
        if not frozen:
            raise no_credentials()
        self.redactor.add([frozen.secret_key or "", frozen.token or ""])

    def _in_role(self, session: Any) -> Any:
        """A session of the role that the template wants; it is taken on anew before it expires."""
        from botocore.credentials import RefreshableCredentials

        role = self.options.assume_role
        assert role is not None
        client = self._client(session, "sts", self.region, "")
        sts = Service(client, self.region, name="sts", tell=self.tell)

        def take_on() -> dict[str, Any]:
            answer = sts.call(
                "assume_role", RoleArn=role.role_arn,
                RoleSessionName=role.session_name or "goldsmith",
                DurationSeconds=role.duration_seconds, ExternalId=role.external_id or None,
                Policy=role.policy or None,
                PolicyArns=[{"arn": arn} for arn in role.policy_arns] or None,
                Tags=[{"Key": key, "Value": value} for key, value in role.tags.items()] or None,
                TransitiveTagKeys=list(role.transitive_tag_keys) or None,
            )["Credentials"]  # fmt: skip
            secret, token = answer["SecretAccessKey"], answer["SessionToken"]
            self.redactor.add([secret, token])
            return {"access_key": answer["AccessKeyId"], "secret_key": secret, "token": token,
                    "expiry_time": answer["Expiration"].isoformat()}  # fmt: skip

        # The profile has told all it can; the library knows no other file of credentials here.
        inner = new_session()
        inner._credentials = RefreshableCredentials.create_from_metadata(
            take_on(), take_on, "assume-role", advisory_timeout=_RENEWED_BEFORE_S,
            # An optional renewal would hide its errors.
            mandatory_timeout=_RENEWED_BEFORE_S,
        )  # fmt: skip
        return inner

    def _explained(self, error: AwsError) -> AwsError:
        """The error with what STS says of an encoded refusal, where the user wants to know."""
        text, _, encoded = error.text.partition(_ENCODED)
        if not encoded or not self.options.decode_authorization_messages:
            return error
        try:
            sts = self._service("sts", self.region)
            answer = sts.call("decode_authorization_message", EncodedMessage=encoded.strip())
        except GoldsmithError as e:
            return AwsError(error.action, error.code, f"{text}(not decoded: {e})")
        return AwsError(error.action, error.code, f"{text}{answer['DecodedMessage']}")


def _from_vault(engine: VaultEngine, redactor: Redactor) -> tuple[str, str, str]:
    """Key, secret and token that Vault makes; its own token is masked. Raises GoldsmithError."""
    address, token = os.environ.get("VAULT_ADDR", ""), os.environ.get("VAULT_TOKEN", "").strip()
    if not address.startswith(("http://", "https://")) or not token:
        raise GoldsmithError("vault_aws_engine needs VAULT_ADDR and VAULT_TOKEN in the environment")
    redactor.add([token])
    wanted = {"role_arn": engine.role_arn, "ttl": engine.ttl}
    query = urllib.parse.urlencode({name: value for name, value in wanted.items() if value})
    kind = "sts" if engine.role_arn else "creds"
    place = f"{urllib.parse.quote(engine.engine_name)}/{kind}/{urllib.parse.quote(engine.name, '')}"
    url = f"{address.rstrip('/')}/v1/{place}?{query}"
    headers = {"X-Vault-Token": token}
    if namespace := os.environ.get("VAULT_NAMESPACE"):
        headers["X-Vault-Namespace"] = namespace
    try:
        request = urllib.request.Request(url, headers=headers)  # noqa: S310
        with urllib.request.urlopen(request, timeout=_READ_S) as answer:  # noqa: S310
            data = json.loads(answer.read(_MOST_OF_VAULT))["data"]
        return data["access_key"], data["secret_key"], data.get("security_token") or ""
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError) as e:
        raise GoldsmithError(
            f"Vault gave no credentials at {place}: {e}",
            hint="are VAULT_ADDR, VAULT_TOKEN and the role of the engine right?",
        ) from e
