"""Which elements take part, in which order, and whose hooks they are."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from goldsmith.elements import expansion, hook_directory, hooks, run_parts
from goldsmith.elements.catalog import Catalog, Element, ElementError


def element(directory, name, *, deps=(), provides=(), files=None):
    place = directory / name
    place.mkdir(parents=True)
    if deps:
        (place / "element-deps").write_text("".join(f"{one}\n" for one in deps))
    if provides:
        (place / "element-provides").write_text("".join(f" {one} \n\n" for one in provides))
    for path, (text, mode) in (files or {}).items():
        target = place / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
        target.chmod(mode)
    return place


@pytest.fixture
def directory(tmp_path):
    element(tmp_path / "a", "os", provides=["operating-system"])
    return tmp_path / "a"


def names(directory, *given):
    return expansion.expand(Catalog.read([directory]), given).names


def test_what_an_element_depends_on_comes_before_it(directory):
    element(directory, "one", deps=["three"])
    element(directory, "two", deps=["one", "os"])
    element(directory, "three")
    assert names(directory, "two") == ("three", "one", "os", "two")


def test_the_order_of_the_user_decides_where_dependencies_leave_a_choice(directory):
    for name in ("b", "c", "d"):
        element(directory, name)
    assert names(directory, "d", "os", "b", "c") == ("d", "os", "b", "c")
    assert names(directory, "c", "b", "os", "c") == ("c", "b", "os")


def test_cycles_are_allowed_and_have_an_order(directory):
    element(directory, "b", deps=["c"])
    element(directory, "c", deps=["b"])
    assert names(directory, "os", "b") == ("os", "c", "b")
    assert names(directory, "os", "c") == ("os", "b", "c")


def test_who_wanted_an_element_is_remembered(directory):
    element(directory, "b", deps=["c"])
    element(directory, "c", deps=["d"])
    element(directory, "d")
    found = expansion.expand(Catalog.read([directory]), ["os", "b"])
    assert found.wanted_by == {"c": "b", "d": "c"}


def test_a_name_that_is_provided_is_left_out(directory):
    element(directory, "layout", provides=["block-device"])
    element(directory, "vm", deps=["block-device"])
    assert names(directory, "os", "vm", "layout") == ("os", "layout", "vm")


def test_a_missing_element_names_who_needs_it_and_what_was_meant(directory):
    element(directory, "growroot")
    element(directory, "b", deps=["grow-root"])
    with pytest.raises(ElementError, match=r"'grow-root', which b depends on, not found") as caught:
        names(directory, "os", "b")
    assert "did you mean growroot?" in caught.value.hint


def test_no_operating_system_names_those_there_are(directory):
    element(directory, "b")
    with pytest.raises(ElementError, match="Please include an operating system") as caught:
        names(directory, "b")
    assert caught.value.hint == "name one of: os"


def test_two_that_provide_the_same_are_both_named(directory):
    element(directory, "other", provides=["operating-system"])
    with pytest.raises(ElementError, match=r"operating-system: .*\[os\], and by other"):
        names(directory, "os", "other")


def test_a_named_element_that_another_provides_is_an_error(directory):
    element(directory, "b", provides=["c"])
    element(directory, "c")
    with pytest.raises(ElementError, match=r"c: already provided by \[b\]"):
        names(directory, "os", "c", "b")


def test_earlier_directories_hide_later_ones(directory, tmp_path):
    element(tmp_path / "z", "os")
    catalog = Catalog.read([directory, tmp_path / "z"])
    assert catalog.get("os").path == directory / "os"
    assert [str(one) for one in catalog.hidden] == [f"os: {directory}/os hides {tmp_path}/z/os"]


def test_a_linked_element_goes_by_the_name_of_its_directory(directory, tmp_path):
    place = element(tmp_path / "z", "real")
    (directory / "other").symlink_to(place)
    assert "real" in Catalog.read([directory]).elements


def test_what_is_no_directory_is_refused(tmp_path):
    with pytest.raises(ElementError, match="ELEMENTS_PATH is not a directory"):
        Catalog.read([tmp_path / "nosuch"])


@pytest.mark.parametrize(
    ("arguments", "options", "expected"),
    [
        (["x"], {}, ("base", "x")),
        (["x"], {"skip_base": True}, ("x",)),
        (["vm", "x"], {}, ("base", "vm", "x", "block-device-mbr")),
        (["vm", "x"], {"arch": "arm64"}, ("base", "vm", "x", "block-device-efi")),
        (["vm", "block-device-gpt"], {}, ("base", "vm", "block-device-gpt")),
        (["x"], {"ramdisk_element": "ramdisk"}, ("ramdisk", "base", "x")),
    ],
)
def test_arguments_get_what_upstream_adds(arguments, options, expected):
    assert expansion.asked_for(arguments, **options) == expected


GRAPHS = st.dictionaries(
    st.sampled_from("abcdefgh"), st.lists(st.sampled_from("abcdefgh"), max_size=3), min_size=1
)


class Declared(Element):
    """An element whose declarations are known without a file."""

    graph: dict = {}

    def lines(self, file):
        if file == "element-provides":
            return ("operating-system",) if self.name == "os" else ()
        return tuple(self.graph.get(self.name, ()))


@given(GRAPHS, st.randoms())
def test_the_order_follows_dependencies_and_nothing_else(graph, random):
    every = {*graph, *(one for needed in graph.values() for one in needed), "os"}
    Declared.graph = graph
    mixed = list(every)
    random.shuffle(mixed)
    given_names = ["os", *sorted(graph)]
    orders = []
    for listed in (sorted(every), mixed):
        catalog = Catalog({name: Declared(name, Path("/nosuch")) for name in listed})
        orders.append(expansion.expand(catalog, given_names).names)
    assert orders[0] == orders[1]
    assert set(orders[0]) == every
    reach = {name: _reached(graph, name) for name in every}
    for name in every:
        for needed in graph.get(name, ()):
            if name not in reach[needed]:
                assert orders[0].index(needed) < orders[0].index(name)


def _reached(graph, start):
    seen, queue = set(), [start]
    while queue:
        for one in graph.get(queue.pop(), ()):
            if one not in seen:
                seen.add(one)
                queue.append(one)
    return seen


def test_hooks_are_merged_and_know_their_element(directory, tmp_path):
    element(directory, "b", files={
        "install.d/10-b": ("#!/bin/sh\n", 0o755), "tests/x": ("", 0o644),
        "README.rst": ("b", 0o644),
    })  # fmt: skip
    element(directory, "c", files={"install.d/10-c": ("c", 0o600), "README.rst": ("c", 0o644)})
    (directory / "c/install.d/20-link").symlink_to("10-c")
    catalog = Catalog.read([directory])
    merged = hooks.merge([catalog.get("b"), catalog.get("c")])
    assert merged.element_of("install.d/10-b") == "b"
    assert merged.element_of("README.rst") == "c"
    assert "tests/x" not in merged.files
    hook_directory.write(merged, tmp_path / "merged", {}, tmp_path / "records")
    assert (tmp_path / "merged/README.rst").read_text() == "c"
    assert os.readlink(tmp_path / "merged/install.d/20-link") == "10-c"
    assert (tmp_path / "merged/install.d/10-c").stat().st_mode & 0o777 == 0o600


def test_a_duplicate_names_both_elements(directory):
    for name in ("b", "c"):
        element(directory, name, files={"install.d/10-x": ("", 0o755)})
    catalog = Catalog.read([directory])
    with pytest.raises(ElementError, match=r"/install.d/10-x \(b and c\)"):
        hooks.merge([catalog.get("b"), catalog.get("c")])


def test_a_device_among_hooks_is_never_opened(directory, tmp_path):
    place = element(directory, "b", files={"install.d/10-x": ("", 0o755)})
    os.mkfifo(place / "install.d/20-fifo")
    merged = hooks.merge([Catalog.read([directory]).get("b")])
    with pytest.raises(ElementError, match="neither a file nor a link"):
        hook_directory.write(merged, tmp_path / "merged", {}, tmp_path / "records")


def test_parts_are_those_that_can_run_in_the_order_of_their_numbers(tmp_path):
    for name in ("100-x", "5x", "10-b", "10-a", "nonum", "01_q", "9-z", "ABC", "foo.sh", "10-c~"):
        (tmp_path / name).write_text("")
        (tmp_path / name).chmod(0o755)
    (tmp_path / "plain").write_text("")
    (tmp_path / "15-link").symlink_to("5x")
    (tmp_path / "16-broken").symlink_to("nosuch")
    (tmp_path / "17-directory").mkdir()
    (tmp_path / "18-loop").symlink_to("18-loop")
    found = run_parts.scripts_of(tmp_path)
    assert found.scripts == (
        "ABC", "nonum", "01_q", "5x", "9-z", "10-a", "10-b", "15-link", "100-x"
    )  # fmt: skip
    assert found.not_executable == ("plain",)
    assert found.other_names == ("10-c~", "foo.sh")
    assert {"16-broken", "18-loop"}.isdisjoint(run_parts.snippets_of(tmp_path))


def test_a_missing_phase_has_no_parts(tmp_path):
    assert run_parts.scripts_of(tmp_path / "nosuch") == run_parts.Parts(())
    assert run_parts.snippets_of(tmp_path / "nosuch") == ()


def test_of_deeper_files_the_later_elements_stays(directory, tmp_path):
    for name in ("b", "c"):
        element(directory, name, files={"static/etc/motd": (name, 0o644)})
    catalog = Catalog.read([directory])
    merged = hooks.merge([catalog.get("b"), catalog.get("c")])
    assert merged.element_of("static/etc/motd") == "c"


def test_an_expression_that_is_none_is_told_of(tmp_path):
    with pytest.raises(ElementError, match=r"RUN_PARTS_REGEX=\( is no regular expression"):
        run_parts.scripts_of(tmp_path, "(")
