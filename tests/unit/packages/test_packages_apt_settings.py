"""APT's settings: what is taken over, and where passwords may stand."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from goldsmith.packages.apt_settings import (
    AptSettings,
    _netrc_files,
    netrc_passwords,
    select_options,
)
from goldsmith.packages.build_files import CA_FILE

DUMP = """\
APT "";
APT::Get::AllowUnauthenticated "1";
Acquire "";
Acquire::AllowInsecureRepositories "1";
Acquire::AllowWeakRepositories "1";
Acquire::Check-Valid-Until "false";
Acquire::Check-Date "false";
Acquire::Retries "3";
Acquire::Languages:: "none";
Acquire::IndexTargets::deb::Packages::MetaKey "$(COMPONENT)/Packages";
Acquire::http "";
Acquire::http::Proxy "http://me:p%40ss@proxy.example.invalid:3128/";
Acquire::http::Proxy::deb.example.invalid "DIRECT";
Acquire::http::Proxy-Auto-Detect "/usr/bin/auto-proxy";
Acquire::https::CaInfo "/etc/ssl/site.pem";
Acquire::https::deb.example.invalid::Verify-Peer "true";
Acquire::https::Proxy "";
DPkg::Post-Invoke:: "rm -f /x";
"""


def settings() -> AptSettings:
    return AptSettings(
        select_options(DUMP),
        netrc_paths=("/etc/apt/auth.conf", "/etc/apt/auth.conf.d/a.conf"),
        ca_bundle=b"certificate",
        secrets=frozenset({"p%40ss"}),
    )


def test_only_what_downloads_need_is_taken() -> None:
    assert set(select_options(DUMP)) == {
        "Acquire::Check-Valid-Until",
        "Acquire::Check-Date",
        "Acquire::Retries",
        "Acquire::http::Proxy",
        "Acquire::http::Proxy::deb.example.invalid",
        "Acquire::http::Proxy-Auto-Detect",
        "Acquire::https::CaInfo",
        "Acquire::https::deb.example.invalid::Verify-Peer",
    }


def test_the_bootstrap_has_everything() -> None:
    text = settings().bootstrap_text()
    assert 'Acquire::http::Proxy "http://me:p%40ss@proxy.example.invalid:3128/";\n' in text
    assert 'Dir::Etc::netrc "/etc/apt/auth.conf";\n' in text
    assert 'Dir::Etc::netrcparts "/etc/apt/auth.conf.d";\n' in text


def test_the_tree_has_no_password_and_no_file_of_the_host() -> None:
    text = settings().tree_text()
    assert "p%40ss" not in text
    assert "auto-proxy" not in text
    assert "netrc" not in text
    assert "site.pem" not in text
    assert f'Acquire::https::CaInfo "{CA_FILE}";\n' in text
    assert 'Acquire::http::Proxy::deb.example.invalid "DIRECT";\n' in text
    private = settings().private_text()
    assert private == 'Acquire::http::Proxy "http://me:p%40ss@proxy.example.invalid:3128/";\n'


def test_passwords_of_auth_conf() -> None:
    text = """# machine a login b password commented
machine deb.example.invalid login me password s3cret
machine x.invalid
  login password
  password "with blank"
"""
    assert {"s3cret", "with blank"} <= netrc_passwords(text)
    assert "commented" not in netrc_passwords(text)
    assert netrc_passwords("machine a password it's") == {"it's"}


def test_password_files_that_this_user_cannot_read_are_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "etc/apt/auth.conf.d"
    folder.mkdir(parents=True)
    for name in ("own.conf", "roots.conf"):
        (folder / name).write_text("machine m.invalid login l password p\n")
    real = os.access
    monkeypatch.setattr(
        os, "access", lambda path, mode: "roots" not in str(path) and real(path, mode)
    )
    assert _netrc_files(tmp_path) == (str(folder / "own.conf"),)
