from datetime import UTC, datetime

import pytest

from goldsmith.errors import Position, SourceRange
from goldsmith.gotemplate.data import LenientMap
from goldsmith.gotemplate.errors import GoTemplateError
from goldsmith.gotemplate.packer_functions import (
    PackerContext,
    clean_resource_name,
    lower,
    packer_functions,
    upper,
)
from goldsmith.gotemplate.template import Template

NOW = datetime(2024, 2, 3, 4, 5, 6, tzinfo=UTC)
START = Position(1, 1, 0)
HERE = SourceRange("t.json", START, START)


class World:
    def __init__(self):
        self.drawn = []

    def cwd(self):
        return "/home/me"

    def env(self, name):
        return {"SET": "value"}.get(name)

    def now(self):
        return NOW

    def random_bytes(self, count, at):
        self.drawn.append((count, at))
        return bytes(range(count))


def render(text, data=None, world=None, **context):
    functions = packer_functions(world or World(), PackerContext(**context))
    return Template.parse(text, functions).render(data)


def reason(text, **context):
    with pytest.raises(GoTemplateError) as caught:
        render(text, **context)
    return caught.value.reason


def test_the_clock_is_the_worlds():
    assert render("{{isotime}} {{isotime `2006`}} {{strftime `%d`}} {{timestamp}}") == (
        "2024-02-03T04:05:06Z 2024 03 1706933106"
    )


def test_isotime_takes_one_layout():
    assert reason("{{isotime `a` `b`}}").endswith("too many values, 1 needed: [a b]")


def test_a_uuid_begins_with_the_time_and_draws_where_the_template_stands():
    world = World()
    assert render("{{uuid}}", world=world, at=HERE) == "65bdbb72-0001-0203-0405-060708090a0b"
    assert world.drawn == [(12, HERE)]


@pytest.mark.parametrize(
    ("path", "directory"),
    [("t.json", "/home/me"), ("a/t.json", "/home/me/a"), ("../t.json", "/home"), ("/x/t", "/x")],
)
def test_template_dir_is_absolute(path, directory):
    assert render("{{template_dir}}", template_path=path) == directory


def test_what_is_not_known_here_says_so():
    assert reason("{{build_name}}").endswith("build_name not available")
    assert reason("{{build_type}}").endswith("build_type not available")
    assert reason("{{packer_version}}").endswith("packer_version not available")
    assert reason("{{template_dir}}").endswith("template path not available")


def test_env_is_for_variables():
    assert render("{{env `SET`}}[{{env `UNSET`}}]", in_variables=True) == "value[]"
    assert reason("{{env `SET`}}").endswith("env vars are not allowed here")


def test_user_is_empty_for_an_unknown_name_except_in_variables():
    known = {"a": "x"}
    assert render("{{user `a`}}[{{user `b`}}]", user_variables=known) == "x[]"
    assert reason("{{user `b`}}", user_variables=known, in_variables=True).endswith(
        "variable not set: b"
    )
    assert "no user variables" in reason("{{user `a`}}")


def test_build_keeps_a_placeholder_for_the_second_rendering():
    first = render("{{build `ID`}} {{build `ID` | len}}", announced={"ID", "Host"})
    assert first == "{{.ID}} 7"
    assert render(first, LenientMap({"ID": "i-1"})) == "i-1 7"
    assert render(first, LenientMap({})) == "<no value> 7"


def test_build_refuses_what_the_builder_does_not_announce():
    assert reason("{{build `X`}}", announced={"ID"}).endswith(
        "loaded data, but couldnt find X in it."
    )
    assert reason("{{build `X`}}").endswith("X will not be passed into your plugin.")


def test_secret_stores_work_in_variables_where_they_are_given():
    stores = {
        "vault": lambda path, key: f"{path}/{key}",
        "aws_secretsmanager": lambda *names: "-".join(names),
    }
    context = {"in_variables": True, "secret_stores": stores}
    assert render("{{vault `p` `k`}} {{aws_secretsmanager `n` `k`}}", **context) == "p/k n-k"
    assert "at most one key" in reason("{{aws_secretsmanager}}", **context)
    assert "consul_key cannot be asked" in reason("{{consul_key `a`}}", **context)
    assert reason("{{vault `p` `k`}}", secret_stores=stores).endswith(
        "Vault vars are only allowed in the variables section"
    )


@pytest.mark.parametrize("name", ["vault", "consul_key", "aws_secretsmanager_raw", "sed"])
def test_arity_is_checked_before_anything_is_asked(name):
    assert f"wrong number of args for {name}" in reason("{{" + name + "}}", in_variables=True)


def test_case_is_mapped_character_by_character():
    assert upper("aéßŉǆᾳ") == "AÉßŉǄᾼ"
    assert lower("AÉ\N{GREEK CAPITAL LETTER SIGMA}İ") == "aé\N{GREEK SMALL LETTER SIGMA}i"


def test_split_out_of_range():
    assert reason("{{split `a-b` `-` -1}}").endswith(
        "the substring -1 was unavailable using the separator value, -, only 2 values were found"
    )


def test_clean_resource_name_is_not_for_everyone():
    assert clean_resource_name("a b:c*é[1]()./-'@_Z") == "a b-c---[1]()./-'@_Z"
    assert 'function "clean_resource_name" not defined' in reason("{{clean_resource_name `a`}}")
