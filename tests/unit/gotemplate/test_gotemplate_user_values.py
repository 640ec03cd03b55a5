"""Variables put into templates that are rendered only later."""

import pytest

from goldsmith.gotemplate.template import Template
from goldsmith.gotemplate.user_values import with_user_values

VALUES = {"a": "x", "q": 'say "{{hi}}" `y`'}


@pytest.mark.parametrize(
    ("text", "rendered"),
    [
        ("{{user `a`}}-{{.K}}", "x-v"),
        ('{{ if eq (user "a") "x" }}{{.K}}{{ end }}', "v"),
        ("{{user `q`}}", VALUES["q"]),
        ("[{{user `absent`}}]", "[]"),
        ("user `a` {{.K}}", "user `a` v"),
        ("{{ `user` }}", "user"),
        ("{{- user  `a` -}}  .", "x."),
    ],
)
def test_values_are_in_the_text(text, rendered):
    later = with_user_values(text, VALUES)
    assert Template.parse(later, {}).render({"K": "v"}) == rendered


@pytest.mark.parametrize("text", ["{{", "{{user `a", "{{user .K}}", "no template"])
def test_anything_else_stays(text):
    assert with_user_values(text, VALUES) == text
