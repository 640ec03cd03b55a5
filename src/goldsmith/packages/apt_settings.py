"""The host's APT configuration that downloads depend on: proxies, certificates, dates, retries.

What it says is given to the bootstrap, which runs the host's APT, and to later steps, which run the
tree's. Settings that weaken the check of signatures are never taken over. Source: apt.conf(5),
apt-transport-http(1), apt_auth.conf(5).
"""

from __future__ import annotations

import itertools
import os
import re
import shlex
import urllib.parse
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from goldsmith.host.process import run, tool_environment
from goldsmith.packages.apt_sources import uri_password
from goldsmith.packages.build_files import CA_FILE

_ACQUIRE: Final = re.compile(
    r"Acquire::(?:Check-Valid-Until|Check-Date|Max-FutureTime|M(?:ax|in)-ValidTime|Retries"
    r"|Queue-Mode|By-Hash|ForceIPv[46]|PDiffs|Send-URI-Encoded)(?:::.*)?",
    re.IGNORECASE,
)
_TRANSPORT: Final = re.compile(
    r"Acquire::(?:http|https|ftp|tor|socks5h|tls)::(?:[^:]+::)*"
    r"(?:Proxy(?:-Auto-Detect)?|Timeout|ConnectionAttemptDelayMsec|Verify-Peer|Verify-Host"
    r"|Verify-Host-Name|CaInfo|CaPath|CrlFile|IssuerCert|SslCert|SslKey|SslForceVersion"
    r"|User-Agent|Dl-Limit|Pipeline-Depth|No-Cache|No-Store|Max-Age|AllowRedirect"
    r"|SendAccept|Proxy::.+)",
    re.IGNORECASE,
)
_HOST_FILE: Final = re.compile(
    r"::(?:Proxy-Auto-Detect|CaInfo|CaPath|CrlFile|IssuerCert|SslCert|SslKey)$", re.IGNORECASE
)
_CA_INFO: Final = re.compile(r"::CaInfo$", re.IGNORECASE)
_PROXY_VARIABLES: Final = ("http_proxy", "https_proxy", "ftp_proxy", "all_proxy")


@dataclass(frozen=True, slots=True)
class AptSettings:
    """Settings by their full name (`Acquire::Retries`), and what goes with them.

    `netrc_paths` are the host's files of passwords, `ca_bundle` the certificates that the host's
    APT trusts for https when they are not the system's. `secrets` are to be redacted.
    """

    options: Mapping[str, str] = field(default_factory=dict)
    netrc_paths: tuple[str, ...] = ()
    ca_bundle: bytes = b""
    secrets: frozenset[str] = frozenset()

    def bootstrap_text(self) -> str:
        """The apt.conf for APT on the host; names files of the host and may hold passwords."""
        return _render(self.options) + _render(dict(_netrc_options(self.netrc_paths)))

    def tree_text(self) -> str:
        """The apt.conf for APT in the tree: nothing that only the host has, and no password."""
        kept = {
            name: value
            for name, value in self.options.items()
            if not _HOST_FILE.search(name) and not uri_password(value)
        }
        if self.ca_bundle:
            kept["Acquire::https::CaInfo"] = CA_FILE
        return _render(kept)

    def private_netrc(self) -> bytes:
        """The host's passwords by machine, for a file that is bound over a step's tree."""
        return b"".join(Path(path).read_bytes().rstrip() + b"\n" for path in self.netrc_paths)

    def private_text(self) -> str:
        """The apt.conf of settings with passwords, for a file that is bound over a step's tree."""
        return _render({name: value for name, value in self.options.items() if uri_password(value)})


def read_apt_settings(host_root: Path = Path("/")) -> AptSettings:
    """Read the settings of this host by `apt-config`, and the passwords beside them.

    With another root than `/`, the configuration under it is read (for tests); the environment's
    proxies, which APT follows too, add their passwords to the secrets.
    """
    # The file in APT_CONFIG is read first, so its Dir decides which other files are. It lies in
    # memory: nothing of it is left wherever we are killed.
    with os.fdopen(os.memfd_create("apt.conf"), "w") as root_setting:
        root_setting.write(f'Dir "{host_root}";\n')
        root_setting.flush()
        fd = root_setting.fileno()
        environment = tool_environment(APT_CONFIG=f"/proc/self/fd/{fd}")
        dump = run(["apt-config", "dump"], capture=True, env=environment, pass_fds=[fd]).text
    options = select_options(dump)
    netrc = _netrc_files(host_root)
    texts = [Path(path).read_text(errors="replace") for path in netrc]
    environment_proxies = [
        os.environ.get(spelling, "")
        for name in _PROXY_VARIABLES
        for spelling in (name, name.upper())
    ]
    found = {uri_password(value) for value in [*options.values(), *environment_proxies]}
    found |= {word for text in texts for word in netrc_passwords(text)}
    found |= {urllib.parse.unquote(text) for text in found}
    return AptSettings(options, netrc, _ca_bundle(options), frozenset(found - {""}))


def with_proxies(
    settings: AptSettings, proxies: Mapping[str, str], direct_hosts: Iterable[str]
) -> AptSettings:
    """The settings with proxies by scheme in place of the host's; some hosts go without them.

    Other hosts' settings of their own stay, as do the proxies of schemes that are not named.
    """
    options = dict(settings.options)
    for scheme, uri in proxies.items():
        for name in list(options):
            if re.fullmatch(rf"Acquire::{scheme}::Proxy(-Auto-Detect)?", name, re.IGNORECASE):
                del options[name]
        options[f"Acquire::{scheme}::Proxy"] = uri
    for host in direct_hosts:
        options |= {f"Acquire::{scheme}::Proxy::{host}": "DIRECT" for scheme in ("http", "https")}
    found = {uri_password(uri) for uri in proxies.values()} - {""}
    found |= {urllib.parse.unquote(text) for text in found}
    return replace(settings, options=options, secrets=settings.secrets | found)


def select_options(dump: str) -> dict[str, str]:
    """The settings that downloads depend on, from the output of `apt-config dump`."""
    found: dict[str, str] = {}
    for line in dump.splitlines():
        name, blank, value = line.partition(" ")
        if not blank or not value.startswith('"') or not value.endswith('";'):
            continue
        value = value[1:-2]
        if value and (_ACQUIRE.fullmatch(name) or _TRANSPORT.fullmatch(name)):
            found[name] = value
    return found


def netrc_passwords(text: str) -> set[str]:
    """The passwords in a file of auth.conf's form: `machine M login L password P`."""
    try:
        words = shlex.split(text, comments=True)
    except ValueError:
        words = text.split()
    return {after for word, after in itertools.pairwise(words) if word == "password"}


def _netrc_files(host_root: Path) -> tuple[str, ...]:
    folder = host_root / "etc/apt"
    parts = sorted((folder / "auth.conf.d").glob("*.conf"))
    # APT, run by the same user, can read no more than we can: such files are often root's alone.
    return tuple(
        str(path) for path in [folder / "auth.conf", *parts]
        if path.is_file() and os.access(path, os.R_OK)
    )  # fmt: skip


def _netrc_options(paths: Iterable[str]) -> Iterable[tuple[str, str]]:
    """The places of the host's password files, for an APT whose own root is the tree."""
    for path in paths:
        if os.path.basename(os.path.dirname(path)) == "auth.conf.d":
            yield "Dir::Etc::netrcparts", os.path.dirname(path)
        else:
            yield "Dir::Etc::netrc", path


def _ca_bundle(options: Mapping[str, str]) -> bytes:
    """The certificates of every CaInfo, as one bundle."""
    paths = sorted({value for name, value in options.items() if _CA_INFO.search(name)})
    return b"".join(Path(path).read_bytes() for path in paths if os.path.isfile(path))


def _render(options: Mapping[str, str]) -> str:
    return "".join(f'{name} "{value}";\n' for name, value in sorted(options.items()))
