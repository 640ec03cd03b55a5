"""Keys and ids: equal for equal inputs in any order, different for any other."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from goldsmith.layers.keys import StepKey, canonical, encode_table, layer_id, plain_id

# File names that are no UTF-8 are texts with surrogates.
texts = st.text(st.characters(codec=None, exclude_categories=()), max_size=8)
tables = st.dictionaries(texts, texts, max_size=5)


@given(tables, st.randoms())
def test_the_order_of_inputs_does_not_matter(table, chance):
    items = list(table.items())
    chance.shuffle(items)
    assert StepKey(dict(items)).digest == StepKey(table).digest
    assert StepKey(dict(items)).on("p") == StepKey(table).on("p")


@given(tables, tables)
def test_two_tables_never_have_the_same_bytes(one, other):
    assert (encode_table(one) == encode_table(other)) == (one == other)


@given(st.lists(texts, min_size=3, max_size=3), texts)
def test_nothing_moves_between_names_and_values(parts, joint):
    first, second, third = parts
    one = {first + joint: second, "x" + third: ""}
    other = {first: joint + second, "x" + third: ""}
    assert (encode_table(one) == encode_table(other)) == (one == other)


def test_a_pair_of_surrogates_is_not_the_character_that_it_would_make():
    assert encode_table({"a": "\ud83d\ude00"}) != encode_table({"a": "\U0001f600"})


@pytest.mark.parametrize("change", [{"type": "shell/2"}, {"env:A": "1"}, {"file:a": "0:1"}])
def test_every_input_and_the_parent_are_in_the_key(change):
    base = StepKey({"type": "shell/1", "file:a": "0:0"})
    changed = StepKey({**base.inputs, **change})
    keys = {base.on("p"), changed.on("p"), base.on("q"), changed.on("q"), base.digest}
    assert len(keys) == 5


def test_an_id_depends_on_what_lies_below_only_for_a_difference():
    assert layer_id("a", "c") != layer_id("b", "c")
    assert len({layer_id("", "c"), plain_id("c"), plain_id("d"), layer_id("", "d")}) == 4


def test_keys_stay_what_they_are_from_version_to_version():
    key = StepKey({"type": "shell/1", "env:A": "ö"})
    assert encode_table(key.inputs) == b"5:env:A2:\xc3\xb64:type7:shell/1"
    assert key.digest == "e207af0dcd14336ce13a878e4b3acdd32e3c904ca9a5ab7edf60eeccb97ae9b4"


def test_canonical_text_ignores_the_order_of_keys():
    assert canonical({"b": 1, "a": [1, 2]}) == canonical({"a": [1, 2], "b": 1})
    assert canonical([1, 2]) != canonical([2, 1])
