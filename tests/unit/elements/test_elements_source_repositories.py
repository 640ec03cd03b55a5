"""What `source-repository-NAME` files ask for; those with variables are in the system tests."""

import hashlib

import pytest
from making_elements import OPERATING_SYSTEM, described, make

from goldsmith.elements import source_repositories
from goldsmith.elements.source_repositories import Repository


@pytest.fixture
def look(tmp_path):
    def find(text, **environment):
        make(tmp_path, {"my-os": {**OPERATING_SYSTEM, "source-repository-x": text}})
        _, setup = described(tmp_path, "my-os")
        return source_repositories.repositories(setup, environment)

    return find


def test_lines_are_read_as_upstream_reads_them(look):
    text = (
        "# a comment\n\nnova git /opt/nova https://git.example/nova\n"
        "keys  file  /etc/keys http://files.example/keys\n"
        "t tar /opt/t http://files.example/t.tar.gz .\nold cvs /opt/old url\nno type\n"
    )
    assert look(text) == [
        Repository("nova", "git", "/opt/nova", "https://git.example/nova", "master"),
        Repository("keys", "file", "/etc/keys", "http://files.example/keys", "*"),
        Repository("t", "tar", "/opt/t", "http://files.example/t.tar.gz", "."),
    ]


def test_the_environment_overrides(look):
    line = "my-repo git /opt/r https://git.example/~me/team/r main\n"
    one = look(line, DIB_REPOREF_my_repo="v2", DIB_REPOLOCATION_my_repo="/srv/r")
    assert one == [Repository("my-repo", "git", "/opt/r", "/srv/r", "v2")]
    base = look(line, DIB_GITREPOBASE="https://other.example")
    assert base[0].location == "https://other.example/team/r"
    assert look(line, DIB_REPOTYPE_my_repo="tar")[0].type == "tar"
    assert look(line, NO_SOURCE_REPOSITORIES="1") == []


def test_files_of_this_host_count_by_their_content(tmp_path):
    archive = tmp_path / "a.tar.gz"
    archive.write_bytes(b"content")
    line = f"a tar /opt/a file://{archive} .\n"
    make(tmp_path, {"my-os": {**OPERATING_SYSTEM, "source-repository-x": line}})
    _, setup = described(tmp_path, "my-os")
    (state,) = source_repositories.states(setup, {}).values()
    assert state.endswith(hashlib.sha256(b"content").hexdigest())


def test_nothing_is_asked_of_the_network_when_offline_or_for_a_commit(tmp_path):
    text = f"a git /a https://git.invalid/a main\nb git /b https://git.invalid/b {'1' * 40}\n"
    make(tmp_path, {"my-os": {**OPERATING_SYSTEM, "source-repository-x": text}})
    _, setup = described(tmp_path, "my-os")
    assert source_repositories.states(setup, {}, offline=True) == {
        "file:source repository a": "git /a https://git.invalid/a main",
        "file:source repository b": f"git /b https://git.invalid/b {'1' * 40}",
    }
