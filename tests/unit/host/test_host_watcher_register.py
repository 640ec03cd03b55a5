"""The register that the watcher keeps."""

from goldsmith.host.watcher import update_register


def test_groups_are_registered_and_unregistered():
    groups: dict[int, int] = {}
    assert update_register(groups, [b"+10 111", b"+20 222", b"-10", b"-30"])
    assert groups == {20: 222}


def test_a_number_registered_again_is_the_new_group():
    groups = {10: 111}
    assert update_register(groups, [b"+10 999"])
    assert groups == {10: 999}


def test_stop_ends_the_reading():
    groups: dict[int, int] = {}
    assert not update_register(groups, [b"+10 111", b".", b"-10"])
    assert groups == {10: 111}
