"""Functions that make or fetch secrets: password hashes, decryption, and stores in the network.

What a store answers is recorded with the template's evaluation and never asked for twice.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any, Final
from urllib.error import HTTPError, URLError
from urllib.parse import quote
from urllib.request import Request, urlopen

from goldsmith.errors import GoldsmithError
from goldsmith.host import process
from goldsmith.host.password_hash import password_hash
from goldsmith.template.hcl2.functions.signature import (
    CallContext,
    Function,
    FunctionError,
    Param,
    whole_number,
)
from goldsmith.values.marks import SENSITIVE, Impure
from goldsmith.values.types import NUMBER, STRING
from goldsmith.values.value import Value, string

SILENCE_S: Final = 30.0
"""How long a store may say nothing."""
_STANDARD: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_OF_BCRYPT: Final = b"./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
_ALPHABET: Final = bytes.maketrans(_STANDARD, _OF_BCRYPT)
_SALT_BYTES, _SALT_LETTERS = 16, 22
_COSTS: Final = (4, 31)
_USUAL_COST: Final = 10
_LONGEST_PASSWORD: Final = 72


def _bcrypt(ctx: CallContext, args: Sequence[Value]) -> Value:
    if len(args) > 2:  # (a password and a cost)
        raise FunctionError("bcrypt() takes no more than two arguments")
    cost = whole_number(args, 1) if len(args) > 1 else _USUAL_COST
    if not _COSTS[0] <= cost <= _COSTS[1]:
        raise FunctionError(f"bcrypt() takes a cost from {_COSTS[0]} to {_COSTS[1]}", 1)
    password = args[0].text.encode()
    if len(password) > _LONGEST_PASSWORD or b"\0" in password:
        detail = f"bcrypt() takes a password of up to {_LONGEST_PASSWORD} bytes, none of them NUL"
        raise FunctionError(detail, 0)
    drawn = base64.b64encode(ctx.world.random_bytes(_SALT_BYTES, ctx.range))
    salt = drawn[:_SALT_LETTERS].translate(_ALPHABET)
    try:
        hashed = password_hash(password, f"$2a${cost:02d}${salt.decode()}")
    except GoldsmithError as error:
        raise FunctionError(f"bcrypt(): {error}") from error
    if not hashed:
        raise FunctionError("bcrypt(): the C library of this host does not know bcrypt")
    return string(hashed).with_marks({Impure("chance", "bcrypt()")})


def _rsa_decrypt(_: CallContext, args: Sequence[Value]) -> Value:
    text, key = args[0].text, args[1].text
    try:
        encrypted = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise FunctionError(f'rsadecrypt(): "{text}" is not base64', 0) from error
    # The key stands in memory, never in a file that has a name.
    descriptor = os.memfd_create("key")
    try:
        os.write(descriptor, key.encode())
        argv = ["openssl", "pkeyutl", "-decrypt", "-inkey", f"/dev/fd/{descriptor}"]
        padding = ["-pkeyopt", "rsa_padding_mode:pkcs1"]
        ended = process.run(
            [*argv, *padding], input=encrypted, capture=True, check=False,
            pass_fds=[descriptor], timeout_s=SILENCE_S,
        )  # fmt: skip
    except GoldsmithError as error:
        raise FunctionError(f"rsadecrypt(): {error}") from error
    finally:
        os.close(descriptor)
    if ended.status != 0:
        detail = "rsadecrypt(): this is no private RSA key in PEM, or the text was not made for it"
        raise FunctionError(detail)
    return string(ended.text).with_marks({SENSITIVE})


def _vault(ctx: CallContext, args: Sequence[Value]) -> Value:
    path, key = args[0].text, args[1].text
    token = ctx.world.env("VAULT_TOKEN")
    if not token:
        raise FunctionError("vault() needs the environment variable VAULT_TOKEN")
    address = (ctx.world.env("VAULT_ADDR") or "https://127.0.0.1:8200").rstrip("/")
    headers = {"X-Vault-Token": token}
    if namespace := ctx.world.env("VAULT_NAMESPACE"):
        headers["X-Vault-Namespace"] = namespace
    url = f"{address}/v1/{quote(path.strip('/'))}"
    answer = _asked(ctx, f"vault {path}", lambda: _fetched("vault", url, headers))
    data = _json_object("vault", answer).get("data") or {}
    # Version 2 of the store wraps what was kept once more.
    inner = data.get("data")
    return _member("vault", inner if isinstance(inner, dict) else data, key, path)


def _consul_key(ctx: CallContext, args: Sequence[Value]) -> Value:
    key = args[0].text
    address = ctx.world.env("CONSUL_HTTP_ADDR") or "127.0.0.1:8500"
    if "://" not in address:
        secure = ctx.world.env("CONSUL_HTTP_SSL") in ("1", "true")
        address = f"{'https' if secure else 'http'}://{address}"
    token = ctx.world.env("CONSUL_HTTP_TOKEN")
    headers = {"X-Consul-Token": token} if token else {}
    url = f"{address.rstrip('/')}/v1/kv/{quote(key)}?raw"
    return string(_asked(ctx, f"consul {key}", lambda: _fetched("consul_key", url, headers)))


def _fetched(function: str, url: str, headers: Mapping[str, str]) -> str:
    if not url.startswith(("http://", "https://")):
        raise FunctionError(f"{function}(): {url} is no http:// or https:// address")
    try:
        request = Request(url, headers=dict(headers))  # noqa: S310 (looked at above)
        with urlopen(request, timeout=SILENCE_S) as answer:  # noqa: S310
            content: bytes = answer.read()
            return content.decode("utf-8", "replace")
    except HTTPError as error:
        error.close()
        raise FunctionError(f"{function}(): {url} answered {error.code} {error.reason}") from error
    except (OSError, ValueError) as error:
        reason = error.reason if isinstance(error, URLError) else error
        raise FunctionError(f"{function}(): {url} cannot be reached: {reason}") from error


def _aws_secret(name: str, ctx: CallContext) -> str:
    def ask() -> str:
        try:
            boto3 = import_module("boto3")
            botocore = import_module("botocore.exceptions")
        except ImportError as error:
            detail = "aws_secretsmanager() needs boto3: pip install 'goldsmith[aws]'"
            raise FunctionError(detail) from error
        try:
            answer = boto3.client("secretsmanager").get_secret_value(SecretId=name)
        except (botocore.BotoCoreError, botocore.ClientError) as error:
            raise FunctionError(f"aws_secretsmanager(): {error}") from error
        return str(answer.get("SecretString", ""))

    return str(_asked(ctx, f"aws secret {name}", ask))


def _aws_secretsmanager(ctx: CallContext, args: Sequence[Value]) -> Value:
    name = args[0].text
    members = _json_object("aws_secretsmanager", _aws_secret(name, ctx))
    if len(args) > 1 and not args[1].is_null and args[1].text:
        return _member("aws_secretsmanager", members, args[1].text, name)
    if len(members) != 1:
        detail = f"aws_secretsmanager(): {name} has {len(members)} keys; name one of them"
        raise FunctionError(detail, 0)
    return _member("aws_secretsmanager", members, next(iter(members)), name)


def _aws_secretsmanager_raw(ctx: CallContext, args: Sequence[Value]) -> Value:
    return string(_aws_secret(args[0].text, ctx)).with_marks({SENSITIVE})


def _asked(ctx: CallContext, what: str, ask: Callable[[], str]) -> str:
    return str(ctx.world.outside(what, ask))


def _json_object(function: str, text: str) -> dict[str, Any]:
    try:
        content = json.loads(text)
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise FunctionError(f"{function}(): the answer is no JSON object")
    return content


def _member(function: str, members: Mapping[str, Any], key: str, where: str) -> Value:
    if key not in members:
        raise FunctionError(f'{function}(): {where} has no key "{key}"', 1)
    found = members[key]
    text = found if isinstance(found, str) else json.dumps(found)
    return string(text).with_marks({SENSITIVE})


_NAME, _KEY = Param("name", STRING), Param("key", STRING)
FUNCTIONS = (
    Function("bcrypt", (Param("str", STRING),), Param("cost", NUMBER), _bcrypt, STRING),
    Function("rsadecrypt", (Param("text", STRING), _KEY), None, _rsa_decrypt, STRING),
    Function("vault", (Param("path", STRING), _KEY), None, _vault, STRING),
    Function("consul_key", (_KEY,), None, _consul_key, STRING),
    Function("aws_secretsmanager", (_NAME,), _KEY, _aws_secretsmanager, STRING),
    Function("aws_secretsmanager_raw", (_NAME,), None, _aws_secretsmanager_raw, STRING),
)
