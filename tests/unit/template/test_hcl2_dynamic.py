"""`dynamic` blocks: what they become, where they may stand, and how they may be wrong."""

import pytest

from goldsmith.errors import TemplateError
from goldsmith.template.hcl2.dynamic import MOST_BLOCKS
from goldsmith.template.hcl2.loader import load, load_overview
from goldsmith.values.value import to_python
from goldsmith.values.world import LiveWorld

SOURCE = 'source "null" "a" {\n  communicator = "none"\n}\n'


@pytest.fixture(autouse=True)
def work(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def loaded(text):
    with open("t.pkr.hcl", "w") as file:
        file.write(text)
    return load("t.pkr.hcl", world=LiveWorld())


def plain(body):
    """A body with its blocks as a list of (type, labels, body)."""
    blocks = [(one.type, one.labels, plain(one.body)) for one in body.blocks]
    values = {name: to_python(value) for name, value in body.attributes.items()}
    return values | ({"blocks": blocks} if blocks else {})


def first_finding(text):
    with pytest.raises(TemplateError) as caught:
        loaded(text)
    one = caught.value.diagnostics[0]
    return one.range.start.line, one.summary


def in_build(text):
    return SOURCE + 'build {\n  sources = ["null.a"]\n' + text + "}\n"


def dynamic(for_each, more="", content="      x = [provisioner.key, provisioner.value]\n"):
    return in_build(
        '  provisioner "first" {}\n  dynamic "provisioner" {\n'
        f'    for_each = {for_each}\n    labels   = ["p"]\n{more}'
        f'    content {{\n{content}    }}\n  }}\n  provisioner "last" {{}}\n'
    )


@pytest.mark.parametrize(
    ("for_each", "given"),
    [
        ('["u", "v"]', [[0, "u"], [1, "v"]]),
        ("{ b = 1, a = 2 }", [["a", 2], ["b", 1]]),
        ('convert(["y", "x"], set(string))', [["x", "x"], ["y", "y"]]),
        ("[]", []),
    ],
)
def test_one_block_for_each_element_in_its_place(for_each, given):
    (build,) = loaded(dynamic(for_each)).builds
    kinds = [one.type for one in build.provisioners]
    assert kinds == ["first", *["p"] * len(given), "last"]
    made = [plain(one.config.resolve(None)) for one in build.provisioners[1:-1]]
    assert made == [{"x": pair} for pair in given]


def test_a_name_of_its_own_for_the_element_and_labels_made_of_it():
    text = in_build(
        '  dynamic "provisioner" {\n    for_each = ["a", "b"]\n    iterator = it\n'
        '    labels = ["p-${it.value}"]\n    content {\n      name = "n${it.key}"\n'
        '      only = ["null.${it.value}"]\n    }\n  }\n'
    )
    (build,) = loaded(text).builds
    assert [(one.type, one.name) for one in build.provisioners] == [("p-a", "n0")]


def test_blocks_in_the_body_of_a_component_and_in_one_another():
    text = (
        'source "null" "a" {\n  dynamic "disk" {\n    for_each = ["x", "y"]\n    content {\n'
        '      name = disk.value\n      dynamic "part" {\n        for_each = [disk.value, "z"]\n'
        "        labels = [part.value]\n        content {\n"
        '          both = "${disk.key}${part.key}"\n        }\n      }\n    }\n  }\n}\n'
        'build {\n  sources = ["null.a"]\n}\n'
    )
    (build,) = loaded(text).builds
    made = plain(build.source.config.resolve(None))["blocks"]
    assert made[0] == ("disk", (), {"name": "x", "blocks": [
        ("part", ("x",), {"both": "00"}), ("part", ("z",), {"both": "01"}),
    ]})  # fmt: skip
    assert [labels for _, labels, _ in made[1][2]["blocks"]] == [("y",), ("z",)]


def test_chains_and_post_processors():
    text = in_build(
        '  dynamic "post-processors" {\n    for_each = ["a"]\n    content {\n'
        '      dynamic "post-processor" {\n        for_each = ["b", "c"]\n'
        "        labels = [post-processor.value]\n        content {\n"
        '          t = "${post-processors.value}${post-processor.value}"\n        }\n      }\n'
        "    }\n  }\n"
    )
    (build,) = loaded(text).builds
    ((one, two),) = build.post_processors
    assert (one.type, two.type) == ("b", "c")
    assert plain(two.config.resolve(None)) == {"t": "ac"}
    assert load_overview("t.pkr.hcl", world=LiveWorld()).builds[0].chains == (("b", "c"),)


def test_sources_and_builds_outside_of_all_blocks():
    text = (
        'locals {\n  all = ["a", "b"]\n}\ndynamic "source" {\n  for_each = local.all\n'
        '  labels = ["null", source.value]\n  content {\n    n = source.key\n  }\n}\n'
        'dynamic "build" {\n  for_each = local.all\n  content {\n    name = build.value\n'
        '    sources = ["null.${build.value}"]\n  }\n}\n'
    )
    builds = loaded(text).builds
    assert [one.name for one in builds] == ["a.null.a", "b.null.b"]
    assert plain(builds[1].source.config.resolve(None)) == {"n": 1}


def test_what_is_not_known_yet_is_one_block():
    text = 'data "null" "n" {\n  input = "v"\n}\n' + dynamic('split(",", data.null.n.output)')
    with open("t.pkr.hcl", "w") as file:
        file.write(text)
    (build,) = load("t.pkr.hcl", world=LiveWorld(), read_data=False).builds
    (made,) = build.provisioners[1:-1]
    assert not made.config.resolve(None).attributes["x"].is_wholly_known


@pytest.mark.parametrize(
    ("text", "line", "summary"),
    [
        (dynamic("5"), 8, "Invalid dynamic for_each value"),
        (dynamic("null"), 8, "Invalid dynamic for_each value"),
        (dynamic("var.nope"), 8, "Unsupported attribute"),
        (dynamic("[1]", "    iterator = 1 + 1\n"), 10, "Invalid iterator name"),
        (dynamic("[1]", "    bogus = 1\n"), 10, "Unsupported argument"),
        (dynamic("[1]", "    content {}\n"), 11, "Duplicate content block"),
        (dynamic("[1]", content="      x = provisioner.nope\n"), 11, "Unsupported attribute"),
        (dynamic("setproduct(range(101), range(101))"), 8, "Too many dynamic blocks"),
        (in_build('  dynamic "bogus" {\n    for_each = [1]\n    content {}\n  }\n'), 6,
         "Unsupported block type"),
        (in_build('  dynamic {\n    for_each = [1]\n    content {}\n  }\n'), 6,
         "Wrong labels of a dynamic block"),
        (in_build('  dynamic "provisioner" {\n    for_each = [1]\n    labels = 5\n'
                  "    content {}\n  }\n"), 8, "Invalid dynamic labels"),
        (in_build('  dynamic "provisioner" {\n    for_each = [1]\n    content {}\n  }\n'), 6,
         "Missing type for provisioner"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_at_its_place(text, line, summary):
    assert MOST_BLOCKS < 101 * 101
    assert first_finding(text) == (line, summary)
