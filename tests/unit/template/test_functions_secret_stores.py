"""Password hashes, decryption, and stores whose answers a test gives."""

import base64

import pytest

from goldsmith.errors import TemplateError
from goldsmith.host.password_hash import password_hash
from goldsmith.host.process import Completed
from goldsmith.template.hcl2.evaluator import evaluate_text
from goldsmith.template.hcl2.functions import secret_stores
from goldsmith.template.hcl2.scope import Scope
from goldsmith.values.marks import SENSITIVE
from goldsmith.values.value import all_marks
from goldsmith.values.world import LiveWorld


class Stores(LiveWorld):
    """A world with an environment and one answer of its own."""

    def __init__(self, answer="", **environment):
        super().__init__()
        self.answer, self.environment, self.asked = answer, environment, []

    def env(self, name):
        return self.environment.get(name)

    def outside(self, what, ask):
        self.asked.append(what)
        return self.answer


def value(expression, world=None):
    return evaluate_text(expression, Scope(world or Stores()))


def test_a_hash_of_a_password_is_one_of_it():
    hashed = value('bcrypt("pässword", 4)').text
    assert hashed.startswith("$2a$04$")
    assert password_hash("pässword".encode(), hashed) == hashed
    assert password_hash(b"other", hashed) != hashed
    assert value('bcrypt("x", 4)').text != value('bcrypt("x", 4)').text


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ('bcrypt("x", 3)', "cost from 4 to 31"),
        ('bcrypt("x", 32)', "cost from 4 to 31"),
        ('bcrypt("x", 4.5)', "whole number"),
        (f'bcrypt("{"x" * 73}", 4)', "72 bytes"),
        ('bcrypt("x", 4, 5)', "no more than two"),
        ('rsadecrypt("!", "k")', "not base64"),
        ('vault("a", "b")', "VAULT_TOKEN"),
    ],
)
def test_what_cannot_be_done_is_told(expression, said):
    with pytest.raises(TemplateError, match=said):
        value(expression)


def test_decryption_is_openssls_with_the_key_in_memory(monkeypatch):
    seen = {}

    def run(argv, *, input, pass_fds, **how):
        path = argv[argv.index("-inkey") + 1]
        with open(path.replace("/dev/fd/", "/proc/self/fd/")) as key:
            seen["key"] = key.read()
        seen["input"] = input
        return Completed(tuple(argv), 0, b"plain", (), 0.0)

    monkeypatch.setattr(secret_stores.process, "run", run)
    encrypted = base64.b64encode(b"cipher").decode()
    made = value(f'rsadecrypt("{encrypted}", "PEM")')
    assert (made.text, SENSITIVE in all_marks(made)) == ("plain", True)
    assert seen == {"key": "PEM", "input": b"cipher"}


@pytest.mark.parametrize(
    "answer", ['{"data": {"k": "v", "n": 5}}', '{"data": {"data": {"k": "v", "n": 5}}}']
)
def test_both_versions_of_vaults_store(answer):
    world = Stores(answer, VAULT_TOKEN="t")
    made = value('vault("/secret/x", "k")', world)
    assert (made.text, world.asked) == ("v", ["vault /secret/x"])
    assert SENSITIVE in all_marks(made)
    assert value('vault("/secret/x", "n")', world).text == "5"
    with pytest.raises(TemplateError, match='no key "z"'):
        value('vault("/secret/x", "z")', world)


def test_consul_and_aws():
    assert value('consul_key("a/b")', Stores("v")).text == "v"
    assert value('aws_secretsmanager("n")', Stores('{"only": "v"}')).text == "v"
    assert value('aws_secretsmanager("n", "b")', Stores('{"a": "v", "b": "w"}')).text == "w"
    assert value('aws_secretsmanager_raw("n")', Stores("raw text")).text == "raw text"
    for answer, said in (('{"a": 1, "b": 2}', "2 keys"), ("text", "no JSON object")):
        with pytest.raises(TemplateError, match=said):
            value('aws_secretsmanager("n")', Stores(answer))


@pytest.mark.parametrize("address", ["http://127.0.0.1:1", "127.0.0.1:1"])
def test_a_store_that_does_not_answer(address):
    class Live(Stores):
        def outside(self, what, ask):
            return ask()

    with pytest.raises(TemplateError, match="cannot be reached"):
        value('consul_key("k")', Live(CONSUL_HTTP_ADDR=address))
    with pytest.raises(TemplateError, match="no http:// or https:// address"):
        value('vault("p", "k")', Live(VAULT_ADDR="file:///etc", VAULT_TOKEN="t"))
