"""Identifiers from a seed."""

from goldsmith.disk.identity import DiskIdentity


def everything(identity):
    return [
        identity.disk_uuid, identity.partition_uuid("root"), identity.partition_uuid("esp"),
        identity.filesystem_uuid("root", "ext4"), identity.filesystem_uuid("esp", "vfat"),
        identity.hash_seed("root"),
    ]  # fmt: skip


def test_a_seed_gives_the_same_identifiers_and_no_two_are_equal():
    once, again, other = (everything(DiskIdentity(seed)) for seed in ("a", "a", "b"))
    assert once == again
    assert len({*once, *other}) == 12


def test_the_identifiers_never_change_between_versions():
    assert DiskIdentity("golden").disk_uuid == "4abe60d0-fdb9-5b76-94ed-4e011d2b1700"


def test_seed_and_name_cannot_be_confused():
    assert DiskIdentity("a:partition:b").partition_uuid("c") != DiskIdentity("a").partition_uuid(
        "b:partition:c"
    )


def test_a_vfat_serial_is_written_as_blkid_does():
    identity = DiskIdentity("x")
    text = identity.filesystem_uuid("esp", "vfat")
    assert int(text.replace("-", ""), 16) == identity.vfat_serial("esp")
    assert (len(text), text[4], text.upper()) == (9, "-", text)
