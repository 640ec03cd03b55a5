"""Which builds and post-processors `-only` and `-except` leave."""

from dataclasses import replace

import pytest

from goldsmith.core.build import Build, Component
from goldsmith.core.name_patterns import matches_any
from goldsmith.core.selection import select_builds
from goldsmith.errors import GoldsmithError, Position, SourceRange

NOWHERE = SourceRange("t", Position(1, 1, 0), Position(1, 1, 0))


def component(kind, type, name=""):
    return Component(kind=kind, type=type, name=name, config=None, range=NOWHERE)


def build(name, *chains):
    """A build; a chain is text such as "checksum sum:compress" (NAME:TYPE, or TYPE alone)."""
    source_type, _, source_name = name.partition(".")
    made = []
    for chain in chains:
        pairs = [word.rpartition(":") for word in chain.split()]
        made.append(tuple(component("post-processor", type, given) for given, _, type in pairs))
    return Build(
        name=name, build_name="", source_type=source_type, source_name=source_name,
        source=component("builder", source_type, source_name), post_processors=tuple(made),
    )  # fmt: skip


BUILDS = [build("image.debian"), build("image.web"), build("null.web")]


def names(only=(), except_=(), builds=BUILDS):
    left, warnings = select_builds(builds, only, except_)
    return [build.name for build in left], warnings


def chains(except_, *given):
    (left,), warnings = select_builds([build("image.a", *given)], [], except_)
    return [" ".join(c.name or c.type for c in chain) for chain in left.post_processors], warnings


@pytest.mark.parametrize(
    ("only", "except_", "left"),
    [
        ([], [], ["image.debian", "image.web", "null.web"]),
        (["image.web"], [], ["image.web"]),
        (["image.*"], [], ["image.debian", "image.web"]),
        (["*.web", "image.debian"], [], ["image.debian", "image.web", "null.web"]),
        (["null.we[a-d]"], [], ["null.web"]),
        ([], ["*.web"], ["image.debian"]),
        (["image.*"], ["*.web"], ["image.debian"]),
    ],
)
def test_globs_choose_builds_in_their_order(only, except_, left):
    assert names(only, except_) == (left, [])


@pytest.mark.parametrize(("only", "except_"), [(["web"], []), (["IMAGE.*"], []), ([], ["*"])])
def test_no_build_left_is_an_error_that_names_those_there_are(only, except_):
    with pytest.raises(GoldsmithError, match="no builds are left to run") as caught:
        names(only, except_)
    assert caught.value.hint == "the template has: image.debian, image.web, null.web"


def test_a_template_without_builds_says_so():
    with pytest.raises(GoldsmithError) as caught:
        names(builds=[])
    assert caught.value.hint == "the template has: none"


def test_each_pattern_that_matches_nothing_is_a_warning():
    left, warnings = names(["image.*", "ami.*"], ["vm.x"])
    known = "the builds are: image.debian, image.web, null.web"
    assert left == ["image.debian", "image.web"]
    assert warnings == [
        f'-only "ami.*" matched nothing; {known}', f'-except "vm.x" matched nothing; {known}'
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("except_", "left"),
    [
        ([], ["checksum compress boot-test", "sum"]),
        (["checksum"], ["sum"]),
        (["compress"], ["checksum", "sum"]),
        (["boot-test"], ["checksum compress", "sum"]),
        (["sum"], ["checksum compress boot-test"]),
        (["c*"], ["sum"]),
        (["boot-test", "sum"], ["checksum compress"]),
    ],
)
def test_except_cuts_a_chain_at_the_post_processor(except_, left):
    assert chains(except_, "checksum compress boot-test", "sum:checksum") == (left, [])


def test_a_named_post_processor_is_not_called_by_its_type():
    left, warnings = chains(["checksum"], "sum:checksum")
    assert (left, len(warnings)) == (["sum"], 1)


def test_only_does_not_choose_post_processors():
    (left,), _ = select_builds([build("image.a", "checksum")], ["image.a"], [])
    assert len(left.post_processors) == 1
    with pytest.raises(GoldsmithError):
        select_builds([build("image.a", "checksum")], ["checksum"], [])


def test_a_build_with_a_name_of_its_own_is_selected_by_that_alone():
    builds = [replace(build("null.p"), selected_by="p"), replace(build("null.q"), selected_by="q")]
    assert names(["q"], builds=builds) == (["null.q"], [])
    assert names(except_=["q"], builds=builds) == (["null.p"], [])
    left, (warning,) = names(["p", "*"], builds=builds)
    assert left == ["null.p"]
    assert "the builds are: p, q" in warning
    with pytest.raises(GoldsmithError):
        names(["null.p"], builds=builds)


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        ("null.{a,b}", "null.b"),
        ("null.{a", "null.a"),
        ("b}", "b}"),
        ("n*.?", "null.a"),
        ("**", "null.a"),
        ("null.[!b]", "null.a"),
        ("null.[^]", "null.^"),
        ("null.[a-c]", "null.b"),
        (r"null.\*", "null.*"),
        ("{null,x*}.{a,[bc]}", "x1.c"),
        ("a+(b)", "a+(b)"),
    ],
)
def test_patterns_are_those_of_packer(pattern, name):
    assert matches_any(name, [pattern])
    assert not matches_any(f"{name}\n", [pattern]) or pattern == "**"


@pytest.mark.parametrize(("pattern", "name"), [("null.[!b]", "null.b"), (r"null.\*", "null.a"),
                                               ("null.[ab", None), ("[z-a]", None)])  # fmt: skip
def test_what_does_not_match_or_is_malformed(pattern, name):
    if name is None:
        with pytest.raises(GoldsmithError, match="malformed"):
            matches_any("null.a", [pattern])
    else:
        assert not matches_any(name, [pattern])


def test_an_error_about_no_builds_brings_the_warnings_along():
    with pytest.raises(GoldsmithError) as caught:
        names(["web"])
    assert caught.value.__notes__ == [
        'Warning: -only "web" matched nothing; the builds are: image.debian, image.web, null.web'
    ]
