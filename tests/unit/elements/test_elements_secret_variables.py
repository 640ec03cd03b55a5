"""Which variables hold secrets, and texts without them."""

import pytest

from goldsmith.elements import secret_variables


@pytest.mark.parametrize(
    ("name", "secret"),
    [
        ("DIB_DEV_USER_PASSWORD", True), ("REG_PASSWORD", True), ("GITHUB_TOKEN", True),
        ("DIB_SECRET", True), ("API_KEY", True), ("REG_ACTIVATION_KEY", True), ("DB_PWD", True),
        ("DB_PASS", True), ("RPM_SIGNING_KEY", True), ("OLDPWD", False), ("X_PASSING", False),
        ("DIB_DEV_USER_AUTHORIZED_KEYS", False), ("DIB_ADD_APT_KEYS", False),
        ("DIB_APT_KEYRING", False), ("DIB_DEV_USER_PWDLESS_SUDO", False),
    ],
)  # fmt: skip
def test_names_say_what_is_secret(name, secret):
    assert secret_variables.is_secret(name) is secret


def test_values_and_passwords_in_addresses_are_secret_and_short_ones_are_not():
    given = {
        "A_PASSWORD": "abcdef", "B_PASSWORD": "abc", "C_TOKEN": "true",
        "http_proxy": "http://user:p%40ssword@proxy.example:3128",
    }  # fmt: skip
    found = secret_variables.secret_values(given)
    assert found == {"abcdef", "p%40ssword", "p@ssword"}


def test_nothing_secret_is_left_in_what_is_stored():
    given = {"X_PASSWORD": "hunter2", "Y": "x-hunter2-x", "Z": "http://u:pass@h/", "W": "plain"}
    assert secret_variables.without_secrets(given) == {"Z": "http://u@h/", "W": "plain"}
    assert secret_variables.without_secret_words("-o hunter2", given) == "-o ***"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("https://ghp_x@host/a", "https://host/a"),
        ("https://glpat-0a1b:x-oauth@host/a", "https://host/a"),
        ("https://0123456789abcdef0123@host/", "https://host/"),
        ("ssh://git@host/a", "ssh://git@host/a"), ("http://me@host/", "http://me@host/"),
    ],
)  # fmt: skip
def test_a_token_may_be_the_user_of_an_address(value, shown):
    assert secret_variables.without_secrets({"DIB_REPO": value}) == {"DIB_REPO": shown}
    assert secret_variables.without_secret_words(value, {}) == shown
    hidden = secret_variables.secret_values({"DIB_REPO": value})
    assert (hidden == frozenset()) is (value == shown)
    assert not any(secret in shown for secret in hidden)


@pytest.mark.parametrize("kind", ["OPENSSH PRIVATE KEY", "PRIVATE KEY", "PGP PRIVATE KEY BLOCK"])
def test_a_private_key_is_a_secret_whatever_its_name(kind):
    given = {"DIB_X": f"-----BEGIN {kind}-----\nabc\n", "DIB_Y": "PRIVATE KEY"}
    assert secret_variables.secret_values(given) == {given["DIB_X"]}
    assert secret_variables.without_secrets(given) == {"DIB_Y": "PRIVATE KEY"}


def test_variables_are_named_that_cannot_be_stored_as_they_are():
    given = {"B_TOKEN": "x", "A": "http://me:hidden@h/", "C": "has hidden in it", "D": "plain"}
    assert secret_variables.secret_names(given) == ["A", "B_TOKEN", "C"]
