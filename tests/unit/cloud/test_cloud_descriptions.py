"""The library's descriptions, cut down: they hold what is called; a broken file is no matter."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import pytest
from botocore import credentials, tokens
from botocore.loaders import Loader
from botocore.session import Session

import goldsmith
from goldsmith.cloud import descriptions
from goldsmith.cloud.descriptions import OPERATIONS, SERVICES, cut_model
from goldsmith.cloud.rehearsal import rehearse

CALLED = re.compile(r'"((?:describe|create|delete|attach|detach|modify|register|deregister|enable|'
                    r'disable|copy)_[a-z_]+)"')  # fmt: skip


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GOLDSMITH_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(descriptions, "_read", {})
    return tmp_path


def client(service: str = "ec2", region: str = "eu-west-1", *, cut: bool = True) -> Any:
    session = Session()
    if cut:
        session.register_component("data_loader", descriptions.descriptions())
    session.set_credentials("a", "b")
    return session.create_client(service, region_name=region)


def test_all_that_is_called_is_there() -> None:
    top = Path(goldsmith.__file__).parent
    files = [file for room in ("cloud", "builders/amazon", "builders/amazon_chroot",
                               "builders/amazon_ebsdirect",
                               "post_processors/amazon_ebsdirect", "deploy")
             for file in (top / room).rglob("*.py")]  # fmt: skip
    written = {name.replace("_", "") for file in files for name in CALLED.findall(file.read_text())}
    known = {
        name.casefold() for name in Loader().load_service_model("ec2", "service-2")["operations"]
    }
    called = written & known
    assert called == {name.casefold() for name in OPERATIONS}


def test_a_cut_model_is_whole_in_itself() -> None:
    model = cut_model(Loader().load_service_model("ec2", "service-2"), ["DescribeImages"])
    assert list(model["operations"]) == ["DescribeImages"]
    assert 20 < len(model["shapes"]) < 200 and "documentation" not in str(model["operations"])


def test_clients_are_made_of_what_was_kept(state: Path) -> None:
    made = client()
    assert made.meta.endpoint_url == "https://ec2.eu-west-1.amazonaws.com"
    kept = sorted((state / "aws").iterdir())
    assert len(kept) == 2 and sum(file.stat().st_size for file in kept) < 1 << 20
    before = [file.stat().st_mtime_ns for file in kept]
    descriptions._read.clear()
    assert hasattr(client(), "describe_images")
    assert [file.stat().st_mtime_ns for file in kept] == before


@pytest.mark.parametrize("content", ["", "[]", "{", '{"wanted": [], "cut": {}}'])
def test_what_cannot_be_used_is_made_anew(state: Path, content: str) -> None:
    client()
    for file in (state / "aws").iterdir():
        file.write_text(content)
    descriptions._read.clear()
    assert hasattr(client(), "register_image")


def test_a_state_that_cannot_be_written_to_is_no_matter(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (state / "aws").write_text("a file")
    assert hasattr(client(), "copy_image")


@pytest.mark.parametrize("region", ["us-east-1", "cn-north-1", "us-gov-west-1", "mx-central-9"])
@pytest.mark.parametrize("service", [name for name in SERVICES if name != "ec2"])
def test_endpoints_are_those_of_the_whole_list(service: str, region: str) -> None:
    cut, whole = client(service, region), client(service, region, cut=False)
    assert cut.meta.endpoint_url == whole.meta.endpoint_url
    assert cut.meta.partition == whole.meta.partition


def test_a_rehearsal_keeps_what_clients_are_made_of(state: Path) -> None:
    rehearse()
    kept = {file.name: file.stat().st_mtime_ns for file in (state / "aws").iterdir()}
    assert hasattr(client(), "describe_images")
    assert {file.name: file.stat().st_mtime_ns for file in (state / "aws").iterdir()} == kept


def test_a_rehearsal_leaves_errors_to_the_build(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_PROFILE", "nobody-has-this")
    rehearse()


def test_the_library_itself_has_the_services_that_it_asks_for_credentials() -> None:
    """Profiles of people who sign in (sso_session, login_session) need clients of its own."""
    called = re.compile(r"""client(?:_creator)?\((?:self\._session, )?['"]([a-z0-9-]+)['"]""")
    own = {name for module in (credentials, tokens)
           for name in called.findall(inspect.getsource(module))}  # fmt: skip
    assert {"sts", "sso", "sso-oidc"} <= own and own <= set(SERVICES)
