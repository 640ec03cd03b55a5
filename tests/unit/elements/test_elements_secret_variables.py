"""Which variables hold secrets, and texts without them."""

import pytest

from goldsmith.elements import secret_variables


@pytest.mark.parametrize(
    ("name", "secret"),
    [
        ("DIB_DEV_USER_PASSWORD", True), ("REG_PASSWORD", True), ("GITHUB_TOKEN", True),
        ("DIB_SECRET", True), ("API_KEY", True), ("REG_ACTIVATION_KEY", True),
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
