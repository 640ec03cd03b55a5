"""Templates as a whole: builds, their components, and all errors at once with their places."""

import os

import pytest

from goldsmith.errors import GoldsmithError, TemplateError
from goldsmith.template import load as by_name
from goldsmith.template.hcl2 import locals_graph
from goldsmith.template.hcl2.loader import check_syntax, load, load_scope
from goldsmith.template.hcl2.required_version import MalformedConstraint, satisfies
from goldsmith.values.value import number, string, to_python
from goldsmith.values.world import LiveWorld

SOURCE = 'source "null" "a" {\n  communicator = "none"\n}\n'


@pytest.fixture(autouse=True)
def work(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def loaded(text, **options):
    with open("t.pkr.hcl", "w") as file:
        file.write(text)
    return load("t.pkr.hcl", world=LiveWorld(), **options)


def findings(text):
    with pytest.raises(TemplateError) as caught:
        loaded(text)
    assert all(one.range is not None for one in caught.value.diagnostics)
    assert "t.pkr.hcl" in caught.value.sources
    return [
        (one.range.start.line, one.range.start.column, one.summary)
        for one in caught.value.diagnostics
    ]


def inside_build(text):
    return SOURCE + f'build {{\n  sources = ["null.a"]\n{text}\n}}\n'


def resolved(component, run_values=None):
    body = component.config.resolve(run_values)
    return {name: to_python(value) for name, value in body.attributes.items()}


def test_builds_of_sources_and_their_names():
    template = loaded(
        SOURCE
        + 'source "null" "b" {\n}\n'
        + 'build {\n  sources = ["source.null.a", "null.b"]\n'
        + '  source "null.a" {\n    name = "c"\n  }\n}\n'
        + 'build {\n  name = "n"\n  sources = ["null.b"]\n}\n'
    )
    assert [build.name for build in template.builds] == ["null.a", "null.b", "null.c", "n.null.b"]
    third = template.builds[2]
    assert (third.build_name, third.source_type, third.source_name) == ("", "null", "c")
    assert resolved(third.source) == {"communicator": "none"}
    assert (third.source.kind, third.source.type, third.source.name) == ("builder", "null", "c")


def test_files_of_a_directory_are_one_template(work):
    (work / "d").mkdir()
    (work / "d" / "a.pkr.hcl").write_text(SOURCE)
    (work / "d" / "b.pkr.hcl").write_text('build {\n  sources = ["null.a"]\n}\n')
    (work / "d" / "c.hcl").write_text("nonsense {")
    template = load("d", world=LiveWorld())
    assert [build.name for build in template.builds] == ["null.a"]
    assert list(template.sources) == ["d/a.pkr.hcl", "d/b.pkr.hcl"]


def test_a_body_is_evaluated_with_places_and_nested_blocks():
    (build,) = loaded(
        'variable "size" {\n  default = "4GiB"\n}\nlocals {\n  label = upper(var.size)\n}\n'
        'source "image" "x" {\n  text = "${source.type}.${source.name}"\n'
        '  disk {\n    partition "esp" {\n      label = local.label\n    }\n  }\n}\n'
        'build {\n  sources = ["image.x"]\n}\n'
    ).builds
    body = build.source.config.resolve(None)
    assert to_python(body.attributes["text"]) == "image.x"
    assert (body.names["text"].start.line, body.attributes["text"].range.start.column) == (8, 10)
    (disk,) = body.blocks
    (partition,) = disk.body.blocks
    assert (disk.type, partition.type, partition.labels) == ("disk", "partition", ("esp",))
    assert to_python(partition.body.attributes["label"]) == "4GIB"


def test_common_keys_of_provisioners_and_post_processors():
    (build,) = loaded(
        inside_build(
            '  provisioner "shell" {\n    name = "first"\n    pause_before = "1m30s"\n'
            '    timeout = "5s"\n    max_retries = "2"\n    only = ["null.a"]\n'
            '    inline = ["true"]\n  }\n'
            '  post-processors {\n    post-processor "checksum" {\n'
            "      keep_input_artifact = true\n    }\n"
            '    post-processor "manifest" {\n      except = ["null.b"]\n    }\n  }\n'
            '  post-processor "compress" {\n    name = "small"\n  }'
        )
    ).builds
    (shell,) = build.provisioners
    assert (shell.kind, shell.type, shell.name) == ("provisioner", "shell", "first")
    assert (shell.pause_before_s, shell.timeout_s, shell.max_retries) == (90.0, 5.0, 2)
    assert shell.only == ("null.a",)
    assert resolved(shell) == {"inline": ["true"]}
    assert [[one.type for one in chain] for chain in build.post_processors] == [
        ["checksum", "manifest"],
        ["compress"],
    ]
    checksum, manifest = build.post_processors[0]
    assert (checksum.keep_input_artifact, manifest.keep_input_artifact) == (True, None)
    assert manifest.except_ == ("null.b",)
    assert build.post_processors[1][0].name == "small"


def test_only_and_except_leave_components_out():
    first, second = loaded(
        SOURCE
        + 'source "null" "b" {\n}\nbuild {\n  sources = ["null.a", "null.b"]\n'
        + '  provisioner "one" {\n    only = ["null.b"]\n  }\n'
        + '  post-processor "two" {\n    except = ["null.b"]\n  }\n}\n'
    ).builds
    assert (len(first.provisioners), len(first.post_processors)) == (0, 1)
    assert (len(second.provisioners), len(second.post_processors)) == (1, 0)


def test_override_replaces_arguments_for_one_source():
    template = loaded(
        inside_build(
            '  provisioner "shell" {\n    inline = ["base"]\n    override = {\n'
            '      a = {\n        inline = ["mine"]\n        env = { A = 1 }\n      }\n'
            '      b = {\n        inline = ["other"]\n      }\n    }\n  }'
        )
    )
    (shell,) = template.builds[0].provisioners
    assert resolved(shell) == {"inline": ["mine"], "env": {"A": 1}}
    assert shell.config.resolve(None).names["inline"].start.line == 10


def test_build_values_are_unknown_until_something_runs():
    template = loaded(
        inside_build(
            '  provisioner "shell" {\n    text = "${build.name}/${build.ID}/${build.Host}"\n'
            "    known = source.name\n  }"
        )
    )
    (shell,) = template.builds[0].provisioners
    preparing = shell.config.resolve(None)
    assert not preparing.attributes["text"].is_known
    assert to_python(preparing.attributes["known"]) == "a"
    running = {"ID": string("i-1"), "Extra": number(1)}
    assert resolved(shell, running)["text"] == "/i-1/<unknown>"


def test_what_a_builder_announces_may_be_used():
    text = inside_build('  provisioner "shell" {\n    image = build.SourceAMI\n  }')
    assert findings(text) == [(7, 19, "Unsupported attribute")]
    template = loaded(text, announced=lambda kind: ["SourceAMI"] if kind == "null" else [])
    (shell,) = template.builds[0].provisioners
    assert not shell.config.resolve(None).attributes["image"].is_known
    assert resolved(shell, {"SourceAMI": string("ami-1")}) == {"image": "ami-1"}


def test_a_build_can_only_add_to_a_source():
    text = SOURCE + 'build {\n  source "null.a" {\n    more = 1\n  }\n}\n'
    assert resolved(loaded(text).builds[0].source) == {"communicator": "none", "more": 1}
    text = SOURCE + 'build {\n  source "null.a" {\n    communicator = "ssh"\n  }\n}\n'
    with pytest.raises(TemplateError) as caught:
        loaded(text)
    (one,) = caught.value.diagnostics
    assert (one.summary, one.range.start.line) == ("Duplicate argument", 6)
    assert "already set at t.pkr.hcl:2:3" in one.detail


def test_paths_and_version():
    text = "locals {\n  a = [path.root, path.cwd, packer.version]\n}\n"
    with open("t.pkr.hcl", "w") as file:
        file.write(text)
    world = LiveWorld()
    value = load_scope("t.pkr.hcl", world=world).lookup("local").attributes["a"]
    assert to_python(value) == [".", world.cwd(), "1.16.0"]


def test_every_mistake_of_a_template_is_one_finding():
    text = """packer {
  required_plugins {
    x = { source = "a" }
  }
}
variable "region" {
  typ     = string
  default = "eu"
}
variable "count" {
  type    = number
  default = "many"
}
variable "unset" {
  type = string
}
varable "typo" {
}
locals {
  a = local.b
  b = "${local.a}x"
  c = local.a
  d = var.regoin
  e = [local.d, var.typo, data.x.y.z]
}
source "image" "debian" {
  hostname = uper(var.region)
  size     = var.count + 1
  other    = [local.nope, var.unset]
  disk {
    label = build.ID
    dynamic "partition" {
      for_each = []
    }
  }
}
build {
  sources = ["source.image.debain", "image.debian"]
  source2 = 1
  provisioner "shell" {
    inline  = ["echo ${build.ID} ${source.name}", var.unknown]
    timeout = "5"
    only    = ["a"]
    except  = ["b"]
  }
  provisoner "file" {
    source = local.missing
  }
  error-cleanup-provisioner "shell" {}
  error-cleanup-provisioner "file" {}
}
data "x" "y" {}
"""
    assert findings(text) == [
        (3, 5, 'Invalid requirement "x"'),
        (7, 3, "Unsupported argument"),
        (12, 13, "Invalid default value for variable"),
        (14, 1, 'Unset variable "unset"'),
        (17, 1, "Unsupported block type"),
        (17, 1, 'Unset variable "typo"'),
        (20, 3, "Cycle in local values"),
        (23, 11, "Unsupported attribute"),
        (27, 14, "Call to unknown function"),
        (29, 21, "Unsupported attribute"),
        (31, 19, "Unsupported attribute"),
        (32, 5, "Missing content block"),
        (38, 14, "Unknown source source.image.debain"),
        (39, 3, "Unsupported argument"),
        (41, 55, "Unsupported attribute"),
        (42, 15, "Incorrect attribute value"),
        (44, 5, "Conflicting arguments"),
        (46, 3, "Unsupported block type"),
        (47, 20, "Unsupported attribute"),
        (50, 3, "Duplicate error-cleanup-provisioner"),
        (52, 6, 'there is no data source "x".'),
    ]


def test_misspelled_things_are_recognised():
    text = SOURCE + 'build {\n  sources = ["null.aa"]\n  provisoner "x" {\n  }\n}\n'
    with pytest.raises(TemplateError) as caught:
        loaded(text)
    unknown_source, unknown_block = caught.value.diagnostics
    assert 'Did you mean "null.a"?' in unknown_source.detail
    assert 'Did you mean "provisioner"?' in unknown_block.detail
    assert unknown_block.subject == "build"


def test_a_finding_in_a_shared_provisioner_is_reported_once():
    text = (
        SOURCE
        + 'source "null" "b" {\n}\nbuild {\n  sources = ["null.a", "null.b"]\n'
        + '  provisioner "shell" {\n    inline = [var.x]\n  }\n}\n'
    )
    assert findings(text) == [(9, 19, "Unsupported attribute")]


@pytest.mark.parametrize(
    ("text", "line", "column", "summary"),
    [
        ("a = 1\n", 1, 1, "Unsupported argument"),
        ("nonsense {\n}\n", 1, 1, "Unsupported block type"),
        ('source "null" {\n}\n', 1, 1, "Missing name for source"),
        ('source "null" "a" "b" {\n}\n', 1, 19, "Extraneous label for source"),
        (SOURCE + SOURCE, 4, 1, "Duplicate source"),
        (SOURCE + "build {\n}\n", 4, 1, "Missing build source"),
        (SOURCE + "build {\n  sources = []\n}\n", 4, 1, "Missing build source"),
        (SOURCE + "build {\n  sources = [source.null.a]\n}\n", 5, 14, "Invalid source reference"),
        (SOURCE + 'build {\n  sources = ["null"]\n}\n', 5, 14, "Invalid source reference"),
        (SOURCE + "build {\n  sources = 1\n}\n", 5, 13, "Incorrect attribute value"),
        (SOURCE + 'build "x" {\n  sources = ["null.a"]\n}\n', 4, 7, "Extraneous label for build"),
        (inside_build("  bogus {\n  }"), 6, 3, "Unsupported block type"),
        (inside_build("  provisioner {\n  }"), 6, 3, "Missing type for provisioner"),
        (inside_build('  provisioner "x" {\n    max_retries = "x"\n  }'), 7, 19,
         "Incorrect attribute value"),
        (inside_build('  provisioner "x" {\n    override = 1\n  }'), 7, 16, "Invalid override"),
        (inside_build('  provisioner "x" {\n    continue_on_error = "perhaps"\n  }'), 7, 25,
         "Incorrect attribute value"),
        (inside_build('  post-processors {\n    provisioner "x" {\n    }\n  }'), 7, 5,
         "Unsupported block type"),
        (inside_build('  dynamic "provisioner" {\n    for_each = []\n  }'), 6, 3,
         "Missing content block"),
        ("locals {\n  a = 1\n}\nlocals {\n  a = 2\n}\n", 5, 3, "Duplicate local definition"),
        ('local "a" {\n}\nlocals {\n  b = local.a\n}\n', 1, 1, "Missing required argument"),
        ("locals {\n  a = local.a\n}\n", 2, 3, "Cycle in local values"),
        ('packer {\n  required_version = ">= 99"\n}\nnonsense {\n}\n', 2, 22,
         "Unsupported Packer Core version"),
        ("packer {\n  required_version = 1\n}\n", 2, 22, "Invalid version constraint"),
        ('packer {\n  required_version = "x.y"\n}\n', 2, 22, "Invalid version constraint"),
        ("packer {\n  bogus = 1\n}\n", 2, 3, "Unsupported argument"),
    ],
)  # fmt: skip
def test_one_mistake_is_one_finding(text, line, column, summary):
    assert findings(text) == [(line, column, summary)]


def test_a_cycle_names_its_members_and_spares_the_others():
    with pytest.raises(TemplateError) as caught:
        loaded("locals {\n  a = local.c\n  b = local.a\n  c = local.b\n  d = local.a\n}\n")
    (one,) = caught.value.diagnostics
    assert "local.a -> local.c -> local.b -> local.a" in one.detail


def test_files_that_cannot_be_read(work):
    (work / "bytes.pkr.hcl").write_bytes(b"a = 1\nb = \xff\n")
    (work / "t.pkr.json").write_text("[]")
    (work / "empty").mkdir()
    (work / "mixed").mkdir()
    (work / "mixed" / "a.pkr.hcl").write_text("")
    (work / "mixed" / "b.pkr.json").write_text("[]")
    seen = []
    for path in ("no.pkr.hcl", "bytes.pkr.hcl", "t.pkr.json", "empty", "mixed"):
        with pytest.raises(TemplateError) as caught:
            load(path, world=LiveWorld())
        (one,) = caught.value.diagnostics
        seen.append((str(one.range), one.summary))
    assert seen == [
        ("no.pkr.hcl:1:1", "Cannot read template"),
        ("bytes.pkr.hcl:2:5", "Invalid character encoding"),
        ("t.pkr.json:1:1", "Invalid template"),
        ("empty:1:1", "Could not find any template file"),
        ("mixed/b.pkr.json:1:1", "Invalid template"),
    ]


@pytest.mark.parametrize(
    ("constraint", "met"),
    [
        (">= 1.0", True), ("> 0.1, < 99", True), ("= 1.16.0", True), ("1.16", True),
        ("!= 1.16.0", False), ("~> 1.10", True), ("~> 1.16.1", False), ("~> 1", True),
        ("~> 99.0", False), ("<= 1.15.9", False), ("> 1.16.0-beta1", True), ("v1.16.0", True),
    ],
)  # fmt: skip
def test_version_constraints(constraint, met):
    assert satisfies("1.16.0", constraint) is met


@pytest.mark.parametrize("constraint", ["", "x", "=> 1", ">= 1,", ">> 1"])
def test_malformed_version_constraints(constraint):
    with pytest.raises(MalformedConstraint):
        satisfies("1.16.0", constraint)


def test_secrets_are_texts_numbers_and_keys():
    text = (
        'variable "pin" {\n  sensitive = true\n  type = number\n  default = 734512\n}\n'
        'variable "small" {\n  sensitive = true\n  default = 42\n}\n'
        'variable "keys" {\n  sensitive = true\n  type = map(list(number))\n'
        "  default = { t0ken = [1.25, -9] }\n}\n"
        'local "made" {\n  sensitive = true\n  expression = { user = ["x-${var.pin}", null] }\n}\n'
    )
    assert loaded(SOURCE + text).secrets == {"734512", "t0ken", "1.25", "x-734512"}


def leaked(text, word="s3cr3t", **given):
    """Check that the template's errors show no secret; their summaries, and the texts shown."""
    with pytest.raises(TemplateError) as caught:
        loaded(text, **given)
    shown = [*caught.value.sources.values(), str(caught.value)]
    assert not any(word in one for one in shown), shown
    return [one.summary for one in caught.value.diagnostics], caught.value.sources


SECRET = 'variable "token" {\n  sensitive = true\n  type = %s\n}\n'
OTHER = 'variable "n" {\n  type = number\n  default = 1\n}\n'


def test_secrets_are_blotted_out_of_findings_and_of_the_lines_that_they_show():
    text = (
        SECRET % "string" + 'locals {\n  x = { "${var.token}" = 1 }["no"]\n  y = "s3cr3t" + 1\n'
        '  z = tonumber(var.token)\n  u = {}["${var.token}"]\n}\n'
    )
    summaries, sources = leaked(text, variables=[("token", "s3cr3t")])
    assert len(summaries) >= 3
    assert 'y = "******" + 1' in sources["t.pkr.hcl"]


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [
        ("v.hcl", 'token = "s3cr3t"\n', "list(string)"),
        ("v.hcl", "token = 734512\n", "list(string)"),
        ("v.hcl", 'n = "x"\ntokn = "s3cr3t"\n', "string"),
        ("v.hcl", "token = s3cr3t\n", "string"),
        ("v.hcl", 'token = ["a", s3cr3t]\n', "list(string)"),
        ("v.hcl", 'n = "x"\ntoken = <<E\ns3cr3t\nE\n', "string"),
        ("v.hcl", 'token = "s3cr3t\nn = 1\n', "string"),
        ("v.hcl", 'token = {\n  a = "s3cr3t"\n  n = = "s3cr3t"\n}\nn = = 1\n', "map(string)"),
        ("v.json", '{"n": "x", "token": "s3cr3t"}', "list(string)"),
        ("v.json", '{"token": "s3cr3t", }', "string"),
        ("v.json", '{"token": {"s3cr3t": "x"}}', "list(string)"),
        ("v.json", '{"token": 734512}', "list(string)"),
        ("v.json", '{"to\\u006ben": {"s3cr3t": 1}}', "list(string)"),
        ("v.json", '["s3cr3t"]', "string"),
    ],
)
def test_the_value_of_a_sensitive_variable_in_a_file_is_never_shown(work, name, content, kind):
    (work / name).write_text(content.replace("734512", "12"))
    secret = "12" if "734512" in content else "s3cr3t"
    leaked(OTHER + SECRET % kind, secret, variable_files=[name])


def test_other_values_of_the_file_are_shown(work):
    (work / "v.hcl").write_text('token = "s3cr3t" # mine\nn = "x"\n')
    _, sources = leaked(OTHER + SECRET % "string", variable_files=["v.hcl"])
    assert sources["v.hcl"] == 'token = <sensitive>\nn = "x"\n'


def test_the_line_after_a_secret_heredoc_is_shown(work):
    (work / "v.hcl").write_text('token = <<E\ns3cr3t\nE\nn = "x"\n')
    _, sources = leaked(OTHER + SECRET % "string", variable_files=["v.hcl"])
    assert sources["v.hcl"] == 'token = <sensitive>\n\n\nn = "x"\n'


@pytest.mark.parametrize("given", ["s3cr3t", "[s3cr3t]", '["s3cr3t"', "{s3cr3t=1}"])
def test_a_mistyped_sensitive_value_on_the_command_line_is_not_shown(given):
    leaked(SECRET % "list(string)", variables=[("token", given)])


@pytest.mark.parametrize("default", ['"s3cr3t"', '{\n    a = "s3cr3t"\n  }'])
def test_a_mistyped_sensitive_default_is_not_shown(default):
    text = f'variable "t" {{\n  sensitive = true\n  type = number\n  default = {default}\n}}\n'
    assert leaked(text)[0] == ["Invalid default value for variable"]


def test_syntax_is_checked_without_evaluating(work):
    (work / "t.pkr.hcl").write_text(
        'variable "unset" {\n}\nlocals {\n  a = file("absent")\n}\n'
        'build {\n  sources = ["source.null.absent", local.b]\n}\n'
    )
    check_syntax("t.pkr.hcl", world=LiveWorld())
    with pytest.raises(TemplateError):
        load("t.pkr.hcl", world=LiveWorld())


@pytest.mark.parametrize(
    ("text", "summary"),
    [
        ("a = = 1\n", "Invalid expression"),
        ("nonsense {\n}\n", "Unsupported block type"),
        ('packer {\n  required_version = ">= 99"\n}\n', "Unsupported Packer Core version"),
    ],
)
def test_syntax_that_is_wrong(work, text, summary):
    (work / "t.pkr.hcl").write_text(text)
    with pytest.raises(TemplateError) as caught:
        check_syntax("t.pkr.hcl", world=LiveWorld())
    assert caught.value.diagnostics[0].summary == summary
    assert caught.value.sources == {"t.pkr.hcl": text}


def test_a_local_sees_only_what_it_needs(monkeypatch):
    """An object of all locals for each of them took more than quadratic time."""
    sizes = []
    make = locals_graph.object_of

    def counted(values):
        sizes.append(len(values))
        return make(values)

    monkeypatch.setattr(locals_graph, "object_of", counted)
    lines = "".join(f"  a{n} = local.a{n - 1} + 1\n" for n in range(1, 200))
    (build,) = loaded(
        "locals {\n  a0 = 0\n" + lines + "}\n" + inside_build('  provisioner "x" {\n'
        "    text = local.a199\n  }")
    ).builds  # fmt: skip
    assert resolved(build.provisioners[0]) == {"text": 199}
    assert (len(sizes), max(sizes)) == (200, 1)


def test_locals_that_look_at_all_of_them_or_at_none():
    scope = scope_of(
        'locals {\n  a = "x"\n  b = local[local.a]\n  x = 3\n  d = try(local.nope, "none")\n}\n'
    )
    values = {name: to_python(value) for name, value in scope.lookup("local").attributes.items()}
    assert values == {"a": "x", "b": 3, "x": 3, "d": "none"}
    with pytest.raises(TemplateError) as caught:
        loaded("locals {\n  colour = 1\n  b = local.color\n}\n")
    assert 'Did you mean "colour"?' in str(caught.value)


def scope_of(text):
    with open("t.pkr.hcl", "w") as file:
        file.write(text)
    return load_scope("t.pkr.hcl", world=LiveWorld())


@pytest.mark.parametrize(
    "name", ["pipe.pkr.hcl", "pipe.auto.pkrvars.hcl", "pipe.auto.pkrvars.json"]
)
def test_a_pipe_in_a_directory_is_not_read(work, name):
    (work / "d").mkdir()
    (work / "d" / "a.pkr.hcl").write_text(SOURCE)
    os.mkfifo(work / "d" / name)

    class Watched(LiveWorld):
        def read_file(self, path):
            assert not path.endswith(name)  # it would never come back
            return super().read_file(path)

    with pytest.raises(TemplateError) as caught:
        load("d", world=Watched())
    (one,) = caught.value.diagnostics
    assert one.range.filename == f"d/{name}"
    assert "is not a file with content" in one.detail


@pytest.mark.parametrize("key", ["pause_before", "timeout"])
@pytest.mark.parametrize("value", ["-5s", "99999999999999999h", "2000h"])
def test_times_that_nothing_can_wait_are_refused(key, value):
    text = inside_build(f'  provisioner "x" {{\n    {key} = "{value}"\n  }}')
    assert findings(text) == [(7, 8 + len(key), "Incorrect attribute value")]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("absent.pkr.hcl", "there is no template absent.pkr.hcl"),
        ("t.txt", "t.txt:1:1: The template is empty"),
        ("t.pkr.json", "The template is empty"),
        ("pipe.pkr.hcl", "pipe.pkr.hcl is neither a file nor a directory"),
        ("/dev/null", "/dev/null is neither a file nor a directory"),
    ],
)  # fmt: skip
def test_what_is_no_template_by_its_name(work, name, said):
    for made in ("t.txt", "t.pkr.json"):
        (work / made).write_text("")
    os.mkfifo(work / "pipe.pkr.hcl")
    for read in (by_name.load, by_name.check_syntax):
        with pytest.raises(GoldsmithError) as caught:
            read(name, world=LiveWorld())
        assert said in str(caught.value)


@pytest.mark.parametrize("reference", ["source.null.a", "null.a", "sources.null.a"])
def test_a_source_is_named_with_or_without_a_word_in_front(reference):
    template = loaded(
        SOURCE + f'build {{\n  sources = ["{reference}"]\n}}\n'
        f'build {{\n  name = "b"\n  source "{reference}" {{\n    name = "own"\n  }}\n}}\n'
    )
    assert [build.name for build in template.builds] == ["null.a", "b.null.own"]


@pytest.mark.parametrize("reference", ["null", "null.", "source.null.a.b", ""])
def test_other_words_name_no_source(reference):
    assert findings(SOURCE + f'build {{\n  sources = ["{reference}"]\n}}\n') == [
        (5, 14, "Invalid source reference")
    ]
