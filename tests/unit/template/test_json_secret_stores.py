"""Secret stores in the variables of JSON templates."""

import pytest

from goldsmith.errors import TemplateError
from goldsmith.template.legacy_json.loader import load
from goldsmith.values.world import LiveWorld

TEMPLATE = """{
  "variables": {"v": "{{vault `secret/x` `k`}}", "c": "{{consul_key `a`}}!", "w": "{{user `v`}}2"},
  "builders": [{"type": "null", "name": "{{user `w`}}{{user `c`}}"}]
}
"""


class Stores(LiveWorld):
    """A world with a token, and an answer for each store."""

    def __init__(self, token):
        super().__init__()
        self.token = token

    def env(self, name):
        return self.token if name == "VAULT_TOKEN" else None

    def outside(self, what, ask):
        return {"vault secret/x": '{"data": {"k": "s3cr3t"}}', "consul a": "kept"}[what]


@pytest.fixture(autouse=True)
def template(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t.json").write_text(TEMPLATE)


def test_what_a_store_answers_is_a_value_and_a_secret():
    loaded = load("t.json", world=Stores("t"))
    assert loaded.builds[0].source_name == "s3cr3t2kept!"
    assert {"s3cr3t", "kept"} <= loaded.secrets


def test_a_store_that_cannot_be_asked_is_a_finding_of_its_variable():
    with pytest.raises(TemplateError, match="VAULT_TOKEN"):
        load("t.json", world=Stores(""))
