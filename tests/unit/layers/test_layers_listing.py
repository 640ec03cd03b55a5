"""Listings: whatever names and links are made of is read back, and makes another digest."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from goldsmith.layers.listing import Entry, Listing, ListingError

names = st.binary(min_size=1, max_size=6).filter(lambda name: b"\0" not in name) | st.sampled_from(
    [b"a\tb", b"a\nb", b"a\\tb", b"\\", b"\\\\n", b"\t\n", b"\xff"]
)
entries = st.builds(
    Entry, path=names, status=st.sampled_from([b"f 644 0 0 1 5 0", b"l 777 0 0 1 5 0"]),
    first=names | st.just(b""), xattrs=st.sampled_from([b"-", b"ab"]), content=names,
    ctime_ns=st.integers(-5, 1 << 62), inode=st.integers(0, 1 << 62),
)  # fmt: skip
listings = st.builds(Listing, st.lists(entries, max_size=4).map(tuple))


@given(listings)
def test_a_listing_is_read_as_it_was_written(listing):
    again = Listing.decoded(listing.encoded())
    assert again == listing
    assert again.content == listing.content


@given(listings, listings)
def test_only_equal_trees_have_one_digest(one, other):
    def lasting(listing):
        return [entry._replace(ctime_ns=0, inode=0) for entry in listing.entries]

    assert (one.content == other.content) == (lasting(one) == lasting(other))


@given(listings, st.data())
def test_a_torn_listing_is_noticed(listing, data):
    whole = listing.encoded()
    torn = whole[: data.draw(st.integers(0, len(whole) - 1))]
    with contextlib.suppress(ListingError):
        assert Listing.decoded(torn).content != listing.content


@pytest.mark.parametrize("tail", [b"a\n", b"a\tb\tc\td\te\tx\t1\n", b"a\tb\tc\td\te\t1\n"])
def test_lines_of_another_form_are_refused(tail):
    with pytest.raises(ListingError):
        Listing.decoded(Listing(()).encoded() + tail)
