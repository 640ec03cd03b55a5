"""The texts that cloud-init reads at the target's first start, in one or another form.

They say what fuel-agent's templates say, as data instead of pasted text, so no value can end a
line or a quotation. A template of somebody's own is rendered with Jinja, in its sandbox, with the
names of fuel-agent: `common`, `puppet`, `mcollective`, `user_accounts`.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import shlex
import uuid
from collections.abc import Callable, Mapping
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText
from pathlib import Path
from typing import Any, Final

import yaml

from goldsmith.deploy.scheme import ConfigDriveData, UserAccount
from goldsmith.errors import GoldsmithError, explain_os_error
from goldsmith.host.password_hash import password_hash

LARGEST_TEMPLATE_BYTES: Final = 1 << 20
_HASH_BEGINS: Final = ("$1$", "$2a$", "$2b$", "$2y$", "$5$", "$6$", "$y$", "$7$")
_SALT_LETTERS: Final = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def hashed(password: str) -> str:
    """A password as /etc/shadow holds it (SHA-512); one that is a hash already is left so."""
    if password.startswith(_HASH_BEGINS):
        return password
    salt = "".join(secrets.choice(_SALT_LETTERS) for _ in range(16))
    return password_hash(password.encode(), f"$6${salt}$")


def instance_id(data: ConfigDriveData) -> str:
    """The machine's name for cloud-init: another one makes it configure everything again."""
    return str(uuid.uuid5(uuid.NAMESPACE_DNS, data.fqdn or data.hostname or "localhost"))


def meta_data_json(data: ConfigDriveData) -> str:
    """openstack/latest/meta_data.json of a config drive."""
    own = _own_template(data, "meta_data", "meta_data_json")
    if own is not None:
        return own
    keys = {f"key-{number}": key for number, key in enumerate(data.ssh_auth_keys)}
    document = {"uuid": instance_id(data), "hostname": data.fqdn or data.hostname,
                "name": data.hostname, "public_keys": keys}  # fmt: skip
    return json.dumps(document, indent=2, sort_keys=True) + "\n"


def meta_data_yaml(data: ConfigDriveData) -> str:
    """meta-data of a NoCloud seed."""
    own = _own_template(data, "meta_data", "meta_data_json")
    if own is not None:
        return own
    return _yaml({"instance-id": instance_id(data), "local-hostname": data.fqdn or data.hostname})


def user_data(data: ConfigDriveData) -> str:
    """The boot hook and the cloud-config in one message of several parts."""
    texts = (("boothook", "cloud-boothook", boothook(data)),
             ("cloud_config", "cloud-config", cloud_config(data)))  # fmt: skip
    digest = hashlib.sha256("".join(text for _, _, text in texts).encode()).hexdigest()
    message = MIMEMultipart(boundary=f"=={digest}==")
    for name, kind, text in texts:
        part = MIMEText(text, kind, "us-ascii" if text.isascii() else "utf-8")
        part.add_header("Content-Disposition", "attachment", filename=name)
        message.attach(part)
    return message.as_string()


def cloud_config(data: ConfigDriveData) -> str:
    """The cloud-config: access, names, users and files; nothing is grown any more."""
    own = _own_template(data, "cloud_config")
    if own is not None:
        return own
    groups = dict(data.values)
    document: dict[str, Any] = {
        "resize_rootfs": False, "growpart": {"mode": "off"}, "disable_ec2_metadata": True,
        "disable_root": False, "ssh_pwauth": False, "preserve_hostname": False,
        "hostname": data.hostname, "fqdn": data.fqdn or data.hostname,
    }  # fmt: skip
    if data.ssh_auth_keys:
        document["ssh_authorized_keys"] = list(data.ssh_auth_keys)
    if data.timezone:
        document["timezone"] = data.timezone
    if data.users:
        document["users"] = [_user(user) for user in data.users]
    if data.master_url:
        config = _yaml({"url": data.master_url})
        document["write_files"] = [
            {"path": "/etc/nailgun-agent/config.yaml", "content": config},
            {"path": "/etc/nailgun_systemtype", "content": "target\n"},
        ]
    document |= _services(groups)
    return "#cloud-config\n" + _yaml(document)


def _user(user: UserAccount) -> dict[str, Any]:
    entry: dict[str, Any] = {"name": user.name, "shell": user.shell}
    if user.home:
        entry["homedir"] = user.home
    if user.sudo:
        entry["sudo"] = list(user.sudo)
    if user.ssh_keys:
        entry["ssh_authorized_keys"] = list(user.ssh_keys)
    if user.password:
        entry |= {"lock_passwd": False, "passwd": hashed(user.password)}
    return entry


def _services(groups: Mapping[str, object]) -> dict[str, Any]:
    """Puppet and MCollective, where the data enables them."""
    document: dict[str, Any] = {}
    puppet, mcollective = groups.get("puppet"), groups.get("mcollective")
    if isinstance(puppet, Mapping) and _is_on(puppet.get("enable")):
        document["puppet"] = {"conf": {"agent": {"server": puppet.get("master")}}}
    if isinstance(mcollective, Mapping) and _is_on(mcollective.get("enable")):
        m = mcollective
        connector = str(m.get("connector") or "rabbitmq")
        pool = f"plugin.{connector}.pool.1"
        conf = {
            "main_collective": "mcollective", "collectives": "mcollective",
            "identity": m.get("identity"), "securityprovider": "psk", "plugin.psk": m.get("pskey"),
            "connector": connector, f"plugin.{connector}.vhost": m.get("vhost"),
            f"plugin.{connector}.pool.size": "1", f"{pool}.host": m.get("host"),
            f"{pool}.user": m.get("user"), f"{pool}.password": m.get("password"),
        }  # fmt: skip
        document["mcollective"] = {"conf": {k: v for k, v in conf.items() if v is not None}}
    return document


def _is_on(value: object) -> bool:
    return value in (True, 1, "1", "true", "True")


def boothook(data: ConfigDriveData) -> str:
    """What runs early at each start: the name, the name servers and the way out."""
    own = _own_template(data, "boothook")
    if own is not None:
        return own
    lines = ["#cloud-boothook", "#!/bin/sh", "# Made when the machine was deployed."]
    if data.hostname:
        quoted = shlex.quote(data.hostname)
        lines += [f"hostname {quoted}", f"printf '%s\\n' {quoted} >/etc/hostname"]
    resolver = [f"search {data.search_domain}"] if data.search_domain else []
    resolver += [f"nameserver {server}" for server in data.name_servers]
    if resolver:
        words = " ".join(shlex.quote(line) for line in resolver)
        lines.append(f"[ -L /etc/resolv.conf ] || printf '%s\\n' {words} >/etc/resolv.conf")
    if data.gateway:
        lines.append(f"ip route replace default via {shlex.quote(data.gateway)} || true")
    return "\n".join([*lines, ""])


def _yaml(document: Mapping[str, Any]) -> str:
    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True)


def _own_template(data: ConfigDriveData, *names: str) -> str | None:
    """What a template of the deployment's own gives, None where it has none of these names."""
    given = dict(data.templates)
    place = next((given[name] for name in names if given.get(name)), None)
    if place is None:
        return None
    try:
        with open(place, encoding="utf-8") as file:
            text = file.read(LARGEST_TEMPLATE_BYTES + 1)
    except OSError as e:
        raise explain_os_error(e) from e
    if len(text) > LARGEST_TEMPLATE_BYTES:
        raise GoldsmithError(f"the template {place} is larger than 1 MiB")
    return _render(Path(place), text, template_values(data))


def _render(place: Path, text: str, values: Mapping[str, object]) -> str:
    if "{{" not in text and "{%" not in text and "{#" not in text:
        return text
    try:
        from jinja2 import StrictUndefined, TemplateError
        from jinja2.sandbox import ImmutableSandboxedEnvironment
    except ImportError as e:
        raise GoldsmithError(
            f"{place} is a Jinja template, and Jinja is not installed",
            hint="install the Python package Jinja2, or give a plain file",
        ) from e
    environment = ImmutableSandboxedEnvironment(
        undefined=StrictUndefined, keep_trailing_newline=True
    )
    try:
        rendered: str = environment.from_string(text).render(**values)
    except TemplateError as e:
        line = getattr(e, "lineno", None)
        at = f"{place}:{line}" if line else str(place)
        raise GoldsmithError(f"{at}: the template cannot be rendered: {e}") from e
    return rendered


def template_values(data: ConfigDriveData) -> dict[str, object]:
    """The variables of a template, by the names of fuel-agent's own ones."""
    admin = data.admin
    common = {
        "ssh_auth_keys": list(data.ssh_auth_keys), "hostname": data.hostname, "fqdn": data.fqdn,
        "name_servers": ",".join(data.name_servers), "search_domain": data.search_domain,
        "master_ip": data.master_ip, "master_url": data.master_url, "udevrules": data.udev_rules,
        "admin_mac": admin.mac if admin else "", "admin_ip": admin.address if admin else "",
        "admin_mask": admin.netmask if admin else "",
        "admin_iface_name": admin.name if admin else "", "timezone": data.timezone,
        "ks_repos": [dict(repo) for repo in data.repos], "gw": data.gateway,
    }  # fmt: skip
    users = [{"name": u.name, "password": u.password, "homedir": u.home, "shell": u.shell,
              "sudo": list(u.sudo), "ssh_keys": list(u.ssh_keys),
              "hashed_password": hashed(u.password) if u.password else ""}
             for u in data.users]  # fmt: skip
    groups: dict[str, object] = {"puppet": {}, "mcollective": {}, **dict(data.values)}
    return {**groups, "common": common, "user_accounts": users}


Texts = Callable[[ConfigDriveData], str]
CONFIG_DRIVE_FILES: Final[Mapping[str, Texts]] = {
    "openstack/latest/meta_data.json": meta_data_json, "openstack/latest/user_data": user_data,
}  # fmt: skip
SEED_FILES: Final[Mapping[str, Texts]] = {"meta-data": meta_data_yaml, "user-data": user_data}
