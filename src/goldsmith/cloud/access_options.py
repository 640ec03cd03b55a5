"""What templates say about how AWS is reached, the same for every source that does."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import Field

from goldsmith.core.options import Finding, Options


class AssumeRole(Options):
    """A role to be taken on with the credentials that were found."""

    role_arn: str = Field("", description="The role.")
    duration_seconds: int | None = Field(None, ge=900, le=43200, description="How long it lasts.")
    external_id: str = Field("", description="The id that the role's owner asks for.")
    policy: str = Field("", description="A policy (JSON) that narrows what the role may do.")
    policy_arns: tuple[str, ...] = Field((), description="Policies that narrow it further.")
    session_name: str = Field("", description="The name of the session in the logs of AWS.")
    tags: dict[str, str] = Field({}, description="Tags of the session.")
    transitive_tag_keys: tuple[str, ...] = Field(
        (), description="Which of these tags further sessions inherit."
    )


class Polling(Options):
    """How long is waited for volumes, snapshots and images."""

    delay_seconds: int = Field(
        0, ge=0, description="The longest pause between two looks; the first ones are shorter."
    )
    max_attempts: int = Field(
        0, ge=0, description="How many such pauses are waited altogether before giving up."
    )


class VaultEngine(Options):
    """Credentials that Vault makes; VAULT_ADDR and VAULT_TOKEN say where, and for whom."""

    name: str = Field("", description="The role of the secrets engine.")
    role_arn: str = Field("", description="The role to be taken on, where it has several.")
    ttl: str = Field("", description="How long the credentials last.")
    engine_name: str = Field("aws", description="Where the engine is mounted.")


class AccessOptions(Options):
    """Options about credentials, the region, endpoints, retries and polling."""

    access_key: str = Field("", description="The access key id; needs `secret_key`.")
    secret_key: str = Field("", description="The secret access key; needs `access_key`.")
    token: str = Field("", description="The session token that belongs to the keys.")
    profile: str = Field("", description="The profile of the credentials and configuration files.")
    region: str = Field(
        "",
        description="Where the image is made; by default AWS_REGION, the profile's region, or that "
        "of the instance.",
    )
    shared_credentials_file: str = Field(
        "", description="A file of credentials in place of ~/.aws/credentials."
    )
    mfa_code: str = Field("", description="The one-time code for a profile with `mfa_serial`.")
    custom_endpoint_ec2: str = Field("", description="The URL of EC2 for every call to it.")
    max_retries: int = Field(
        0, ge=0, description="How often a call is repeated that may succeed later; 0 means 10."
    )
    decode_authorization_messages: bool = Field(
        False, description="Ask STS what the encoded message of a refusal says."
    )
    insecure_skip_tls_verify: bool = Field(
        False, description="Believe any certificate of an endpoint."
    )
    skip_metadata_api_check: bool = Field(
        False, description="Has no effect: this source has to ask the metadata service."
    )
    skip_credential_validation: bool = Field(
        False, description="Has no effect: credentials are only used, never tried beforehand."
    )
    assume_role: AssumeRole | None = None
    vault_aws_engine: VaultEngine | None = None
    aws_polling: Polling | None = None

    def access_findings(self) -> Iterator[Finding]:
        """What of it does not fit together."""
        if bool(self.access_key) != bool(self.secret_key):
            given, missing = ("access_key", "secret_key")
            if self.secret_key:
                given, missing = missing, given
            yield Finding(f"{given} is given without {missing}", (given,), f"give {missing} too")
        if self.vault_aws_engine is not None:
            if not self.vault_aws_engine.name:
                yield Finding("vault_aws_engine needs the `name` of a role", ("vault_aws_engine",))
            if self.access_key or self.secret_key or self.token:
                yield Finding(
                    "vault_aws_engine and access_key, secret_key or token exclude each other",
                    ("vault_aws_engine",),
                )
        if self.assume_role is not None and not self.assume_role.role_arn:
            yield Finding("assume_role needs a `role_arn`", ("assume_role",))
        yield from endpoint_findings("custom_endpoint_ec2", self.custom_endpoint_ec2)


def endpoint_findings(name: str, url: str) -> Iterator[Finding]:
    """An address that is none."""
    if url and not url.startswith(("http://", "https://")):
        yield Finding(f'{name} is no URL: "{url}"', (name,), "it begins with https://")
