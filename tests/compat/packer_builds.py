"""Templates of the project's own that goldsmith and the real `packer` build side by side.

Each is a directory of files and the arguments of one or more runs of `build` in it. Sources have
names of one letter, so that lines are told apart by build.
"""

import json
from dataclasses import dataclass, field

T = "t.pkr.hcl"


@dataclass(frozen=True)
class Case:
    """Files by name, the arguments of each run of `build`, and variables of the environment."""

    files: dict[str, str]
    runs: tuple[tuple[str, ...], ...] = ((T,),)
    env: dict[str, str] = field(default_factory=dict)
    refused: bool = False
    """Whether a run ends before it builds: then both say so in words of their own."""


def null(*names):
    """Null sources without a machine."""
    return "".join(f'source "null" "{name}" {{\n  communicator = "none"\n}}\n' for name in names)


def text_file(name="f", target="o.txt", content="hello\\n"):
    """A file source."""
    return f'source "file" "{name}" {{\n  target  = "{target}"\n  content = "{content}"\n}}\n'


def block(kind, name, *lines):
    """A provisioner or post-processor."""
    body = "".join(f"    {line}\n" for line in lines)
    return f'  {kind} "{name}" {{\n{body}  }}\n'


def local(*lines, kind="provisioner"):
    """A shell-local of these lines."""
    return block(kind, "shell-local", *lines)


def inline(*commands, more=()):
    """A shell-local provisioner of these commands."""
    return local("inline = [" + ", ".join(map(json.dumps, commands)) + "]", *more)


def post(name, *lines):
    """A post-processor of its own."""
    return block("post-processor", name, *lines)


def chain(*parts):
    """Post-processors one after the other."""
    return "  post-processors {\n" + "".join(parts) + "  }\n"


def build(*sources, body="", name=None):
    """A build block."""
    listed = ", ".join(f'"source.{source}"' for source in sources)
    head = f'  name = "{name}"\n' if name else ""
    return f"build {{\n{head}  sources = [{listed}]\n{body}}}\n"


def of_null(*provisioners, runs=((T,),), refused=False, **files):
    """One null source with these provisioners."""
    text = null("n") + build("null.n", body="".join(provisioners))
    return Case({T: text, **files}, runs, refused=refused)


def of_file(*body, runs=((T,),), files=None, refused=False, **options):
    """One file source with these parts."""
    text = text_file(**options) + build("file.f", body="".join(body))
    return Case({T: text, **(files or {})}, runs, refused=refused)


def of_json(document, runs=(("t.json",),), refused=False, **files):
    """A JSON template."""
    text = json.dumps(document, indent=2)
    return Case({"t.json": text, **files}, runs, {"FROM_OUTSIDE": "out"}, refused)


NULL_JSON = {"type": "null", "communicator": "none"}
FILE_JSON = {"type": "file", "target": "o.txt", "content": "hello\n"}
ECHO_JSON = {"type": "shell-local", "inline": ["echo hello"]}
SCRIPT = "#!/bin/sh\necho from $0 | sed 's,/.*/,,'\necho $PACKER_BUILD_NAME $PACKER_BUILDER_TYPE\n"
TWO = null("a", "b")

CASES = {
    # The null source and shell-local.
    "nothing to do": of_null(),
    "one command": of_null(inline("echo hello")),
    "several commands": of_null(inline("echo one", "echo two", "echo three")),
    "several provisioners": of_null(
        inline("echo one"), inline("echo two > made"), inline("cat made")
    ),
    "standard error": of_null(inline("echo bad >&2")),
    "a single command": of_null(local('command = "echo hello"')),
    "a status that is not 0": of_null(inline("echo before", "exit 3"), inline("echo never")),
    "a command that does not exist": of_null(inline("no-such-command-here 2>/dev/null")),
    "the shell stops at an error": of_null(inline("false", "echo never")),
    "a status that is allowed": of_null(inline("exit 3", more=["valid_exit_codes = [0, 3]"])),
    "a status that is not among the allowed": of_null(
        inline("exit 0", more=["valid_exit_codes = [3, 4]"])
    ),
    "variables": of_null(
        inline("echo $A $B", more=['environment_vars = ["A=1", "B=two words"]'])
    ),
    "a variable with quotes": of_null(
        inline("printf '%s\\n' \"$A\"", more=["environment_vars = [\"A=it's \\\"so\\\"\"]"])
    ),
    "Packer's variables": of_null(inline("echo $PACKER_BUILD_NAME $PACKER_BUILDER_TYPE")),
    "another interpreter": of_null(
        inline("print('from python')", more=['inline_shebang = "/usr/bin/python3"'])
    ),
    "another way to execute": of_null(
        inline("echo $A", more=['environment_vars = ["A=1"]',
                                'execute_command = ["/bin/bash", "-c", "{{.Vars}} {{.Script}}"]'])
    ),
    "an ending of its file": of_null(
        inline("case $0 in *.sh) echo yes;; esac", more=['tempfile_extension = ".sh"'])
    ),
    "not for this system": of_null(inline("echo never", more=['only_on = ["windows"]'])),
    "for this system": of_null(inline("echo here", more=['only_on = ["linux", "darwin"]'])),
    "output without a newline": of_null(inline("printf end")),
    "an empty line": of_null(inline("printf 'a\\n\\nb\\n'")),
    "a carriage return": of_null(inline("printf '10%%\\r100%%\\n'")),
    "blanks at both ends": of_null(inline("printf '  a  \\n'")),
    "a comma and a percent sign": of_null(inline("echo 'a,b %d %s'")),
    "letters of all languages": of_null(inline("echo 'é ü 漢字'")),
    # How often, how long and for whom.
    "retries that are in vain": of_null(inline("echo try; exit 4", more=["max_retries = 2"])),
    "a retry that succeeds": of_null(
        inline("echo try; test -e m || { touch m; exit 1; }", more=["max_retries = 3"])
    ),
    "a pause": of_null(inline("echo hello", more=['pause_before = "20ms"'])),
    "a timeout that is enough": of_null(inline("echo hello", more=['timeout = "30s"'])),
    "a pause before each try": of_null(
        inline("echo try; exit 1", more=['pause_before = "10ms"', "max_retries = 1"])
    ),
    "only for one source": Case({
        T: TWO + build("null.a", "null.b", body=inline("echo hello", more=['only = ["null.a"]']))
    }),
    "for all sources but one": Case({
        T: TWO + build("null.a", "null.b", body=inline("echo hello", more=['except = ["null.a"]']))
    }),
    "two sources": Case({
        T: TWO + build("null.a", "null.b", body=inline("echo from ${source.name}"))
    }),
    "a build with a name": Case({
        T: null("n") + build("null.n", body=inline("echo ${source.name}"), name="b")
    }),
    "one of two fails": Case({
        T: TWO + build("null.a", "null.b", body=inline("test ${source.name} = a"))
    }),
    "two builds": Case({
        T: TWO + build("null.a", body=inline("echo one")) + build("null.b", body=inline("echo two"))
    }),
    "one at a time": Case(
        {T: TWO + build("null.a", "null.b", body=inline("echo ${source.name} >> made"))},
        (("-parallel-builds=1", T),),
    ),
    "chosen by name": Case(
        {T: TWO + build("null.a", "null.b", body=inline("echo hello"))}, (("-only=null.b", T),)
    ),
    "chosen by a pattern": Case(
        {T: TWO + build("null.a", "null.b", body=inline("echo hello"))}, (("-only=*.b", T),)
    ),
    "left out by a pattern": Case(
        {T: TWO + build("null.a", "null.b", body=inline("echo hello"))}, (("-except=*.b", T),)
    ),
    # After an error.
    "cleanup after an error": of_null(inline("exit 1"), runs=(("-on-error=cleanup", T),)),
    "no cleanup after an error": of_null(inline("exit 1"), runs=(("-on-error=abort", T),)),
    "only the cleanup provisioner": of_null(
        inline("exit 1"), runs=(("-on-error=run-cleanup-provisioner", T),)
    ),
    "asked, and nobody is there": of_null(inline("exit 1"), runs=(("-on-error=ask", T),)),
    "a policy that does not exist": of_null(runs=(("-on-error=maybe", T),), refused=True),
    "a breakpoint that is off": of_null(
        block("provisioner", "breakpoint", "disable = true", 'note = "look"'), inline("echo after")
    ),
    "a breakpoint and nobody to press a key": of_null(
        block("provisioner", "breakpoint", 'note = "look"'), inline("echo never")
    ),
    # Scripts.
    "a script": of_null(local('script = "s.sh"'), **{"s.sh": SCRIPT}),
    "several scripts": of_null(
        local('scripts = ["s.sh", "d/r.sh"]'), **{"s.sh": SCRIPT, "d/r.sh": SCRIPT}
    ),
    "a script that is missing": of_null(local('script = "s.sh"'), refused=True),
    # Values.
    "a variable of the command line": Case(
        {T: 'variable "v" {\n  default = "a"\n}\n' + null("n")
         + build("null.n", body=inline("echo ${var.v}"))},
        ((T,), ("-var", "v=b", T), ("-var=v=b=c", T)),
    ),
    "a variable of a file": Case(
        {T: 'variable "v" {\n  type = string\n}\n' + null("n")
         + build("null.n", body=inline("echo ${var.v}")), "v.pkrvars.hcl": 'v = "from a file"\n'},
        (("-var-file=v.pkrvars.hcl", T),),
    ),
    "a variable of the environment": Case(
        {T: 'variable "v" {\n  default = "a"\n}\n' + null("n")
         + build("null.n", body=inline("echo ${var.v}"))}, env={"PKR_VAR_v": "from outside"},
    ),
    "a secret": Case({
        T: 'variable "v" {\n  default   = "s3cr3t"\n  sensitive = true\n}\n' + null("n")
        + build("null.n", body=inline("echo it is ${var.v}", "echo s3cr3t >&2"))
    }),
    "locals and functions": Case({
        T: 'locals {\n  a = upper("x")\n  b = [for n in [1, 2] : "${local.a}${n}"]\n}\n' + null("n")
        + build("null.n", body=inline("echo ${join(\" \", local.b)}").replace('\\"', '"'))
    }),
    "what the builder tells": of_null(inline("echo ${build.ID}")),
    "a directory": Case(
        {"p/a.pkr.hcl": null("n"), "p/b.pkr.hcl": build("null.n", body=inline("echo hello"))},
        (("p",),),
    ),
    # The file source and post-processors.
    "a file": of_file(),
    "a file in a new directory": of_file(target="a/b/o.txt"),
    "a copy": Case(
        {T: 'source "file" "f" {\n  target = "o.txt"\n  source = "i.txt"\n}\n' + build("file.f"),
         "i.txt": "content\n"}
    ),
    "a copy of what is missing": Case(
        {T: 'source "file" "f" {\n  target = "o.txt"\n  source = "i.txt"\n}\n' + build("file.f")}
    ),
    "a file that is there": of_file(files={"o.txt": "old\n"}),
    "an empty file": Case({T: 'source "file" "f" {\n  target = "o.txt"\n}\n' + build("file.f")}),
    "a file and a command": of_file(inline("cat o.txt")),
    "a checksum": of_file(post("checksum")),
    "several checksums": of_file(
        post("checksum", 'checksum_types = ["sha1", "sha256", "sha512"]')
    ),
    "checksums in one file": of_file(
        post("checksum", 'checksum_types = ["md5", "sha224"]', 'output = "sums"')
    ),
    "a checksum of no such kind": of_file(
        post("checksum", 'checksum_types = ["crc32"]'), refused=True
    ),
    "a gzipped file": of_file(post("compress", 'output = "o.gz"')),
    "an xz file": of_file(post("compress", 'output = "o.xz"')),
    "an lz4 file": of_file(post("compress", 'output = "o.lz4"')),
    "a tar archive": of_file(post("compress", 'output = "o.tar"')),
    "a gzipped tar archive": of_file(post("compress", 'output = "o.tar.gz"')),
    "a zip archive": of_file(post("compress", 'output = "o.zip"')),
    "a compression level": of_file(
        post("compress", 'output = "o.tar.gz"', "compression_level = 9")
    ),
    "what compress does by itself": of_file(post("compress")),
    "a manifest": of_file(post("manifest", "strip_time = true")),
    "a manifest with data": of_file(
        post("manifest", "strip_time = true", "strip_path = true", 'output = "m.json"',
             'custom_data = {\n      a = "1"\n      b = "two"\n    }'), target="d/o.txt"
    ),
    "a manifest of two runs": of_file(post("manifest", "strip_time = true"), runs=((T,), (T,))),
    "a manifest that is forced": of_file(
        post("manifest", "strip_time = true"), runs=((T,), ("-force", T))
    ),
    "an artifice": of_null(inline("echo a > made"), post("artifice", 'files = ["made"]')),
    "an artifice with a pattern": of_null(
        inline("echo a > x1", "echo b > x2"), post("artifice", 'files = ["x*"]')
    ),
    "an artifice of nothing": of_null(post("artifice", 'files = ["nothing*"]')),
    "a command afterwards": of_file(local('inline = ["echo done"]', kind="post-processor")),
    "a command afterwards fails": of_file(local('inline = ["exit 5"]', kind="post-processor")),
    "a command for no artifact": of_null(local('inline = ["echo done"]', kind="post-processor")),
    "two chains": of_file(post("checksum", 'output = "one"'), post("checksum", 'output = "two"')),
    "a chain": of_file(chain(post("compress", 'output = "o.tar.gz"'), post("checksum"))),
    "a longer chain": of_null(
        inline("echo a > made"),
        chain(post("artifice", 'files = ["made"]'), post("compress", 'output = "o.zip"'),
              post("checksum", 'output = "sums"')),
    ),
    "one of two chains fails": of_file(
        chain(local('inline = ["false"]', kind="post-processor"), post("checksum", 'output = "x"')),
        post("checksum", 'output = "y"'),
    ),
    "the input is kept": of_file(
        post("compress", 'output = "o.tar.gz"', "keep_input_artifact = true")
    ),
    "the input is not kept": of_file(
        post("compress", 'output = "o.tar.gz"', "keep_input_artifact = false")
    ),
    "the input of a checksum stays": of_file(post("checksum", "keep_input_artifact = false")),
    "a post-processor that is left out": of_file(
        chain(post("compress", 'output = "o.tar.gz"'), post("checksum")),
        runs=(("-except=checksum", T),),
    ),
    "a post-processor left out by its name": of_file(
        chain(post("checksum", 'output = "one"'),
              post("checksum", 'name   = "mine"', 'output = "two"'),
              post("checksum", 'output = "three"')), runs=(("-except=mine", T),),
    ),
    "a post-processor for one source": Case({
        T: text_file("a", "a.txt") + text_file("b", "b.txt")
        + build("file.a", "file.b", body=post("checksum", 'only   = ["file.a"]'))
    }),
    # What is wrong.
    "no template": Case({}, (("missing.pkr.hcl",),), refused=True),
    "no words": Case({}, ((),), refused=True),
    "too many words": of_null(runs=((T, T),), refused=True),
    "a flag that does not exist": of_null(runs=(("-nosuch", T),), refused=True),
    "a template that is broken": Case({T: "source {\n"}, refused=True),
    "a required variable": Case(
        {T: 'variable "v" {\n  type = string\n}\n' + null("n")
         + build("null.n", body=inline("echo ${var.v}"))}, refused=True,
    ),
    # JSON templates.
    "json: nothing to do": of_json({"builders": [NULL_JSON]}),
    "json: one command": of_json({"builders": [NULL_JSON], "provisioners": [ECHO_JSON]}),
    "json: names": of_json({
        "builders": [{**NULL_JSON, "name": "a"}, {**NULL_JSON, "name": "b"}],
        "provisioners": [{"type": "shell-local", "inline": ["echo {{build_name}} {{build_type}}"]}],
    }),
    "json: chosen": of_json(
        {"builders": [{**NULL_JSON, "name": "a"}, {**NULL_JSON, "name": "b"}],
         "provisioners": [ECHO_JSON]}, (("-only=b", "t.json"), ("-except=b", "t.json")),
    ),
    "json: override, only and except": of_json({
        "builders": [{**NULL_JSON, "name": "a"}, {**NULL_JSON, "name": "b"}],
        "provisioners": [
            {**ECHO_JSON, "override": {"a": {"inline": ["echo from a"]}}},
            {"type": "shell-local", "inline": ["echo only"], "only": ["a"]},
            {"type": "shell-local", "inline": ["echo except"], "except": ["a"]},
        ],
    }),
    "json: variables": of_json(
        {"variables": {"v": "a", "e": "{{env `FROM_OUTSIDE`}}"}, "builders": [NULL_JSON],
         "provisioners": [{"type": "shell-local", "inline": ["echo {{user `v`}} {{user `e`}}"]}]},
        (("t.json",), ("-var", "v=b", "t.json"), ("-var-file=v.json", "t.json")),
        **{"v.json": '{"v": "c"}'},
    ),
    "json: secrets": of_json({
        "variables": {"v": "s3cr3t"}, "sensitive-variables": ["v"], "builders": [NULL_JSON],
        "provisioners": [{"type": "shell-local", "inline": ["echo it is {{user `v`}}"]}],
    }),
    "json: retries": of_json({
        "builders": [NULL_JSON],
        "provisioners": [{"type": "shell-local", "inline": ["exit 2"], "max_retries": "1"}],
    }),
    "json: cleanup after an error": of_json({
        "builders": [NULL_JSON],
        "provisioners": [{"type": "shell-local", "inline": ["exit 2"]}],
        "error-cleanup-provisioner": {"type": "shell-local", "inline": ["echo cleaning"]},
    }),
    "json: a cleanup that fails": of_json({
        "builders": [NULL_JSON],
        "provisioners": [{"type": "shell-local", "inline": ["exit 2"]}],
        "error-cleanup-provisioner": {"type": "shell-local", "inline": ["exit 7"]},
    }),
    "json: a file and its checksum": of_json(
        {"builders": [FILE_JSON], "post-processors": ["checksum"]}
    ),
    "json: chains": of_json({
        "builders": [FILE_JSON],
        "post-processors": [
            [{"type": "compress", "output": "o.tar.gz", "keep_input_artifact": True}, "checksum"],
            {"type": "checksum", "checksum_types": ["sha256"], "output": "sums"},
        ],
    }),
    "json: names in outputs": of_json({
        "builders": [{**FILE_JSON, "name": "mine"}],
        "post-processors": [{"type": "checksum", "output": "{{.BuildName}}.{{.ChecksumType}}"}],
    }),
    "json: a manifest": of_json({
        "builders": [{**FILE_JSON, "name": "mine"}],
        "post-processors": [
            {"type": "manifest", "strip_time": True, "custom_data": {"n": "{{build_name}}"}}
        ],
    }),
    "json: a post-processor without a name": of_json(
        {"builders": [FILE_JSON],
         "post-processors": [{"type": "shell-local", "inline": ["echo done"]}]},
    ),
    "json: what the builder tells": of_json({
        "builders": [NULL_JSON],
        "provisioners": [{"type": "shell-local", "inline": ["echo {{build `ID`}}"]}],
    }),
    "json: a newer packer": of_json(
        {"min_packer_version": "99.0.0", "builders": [NULL_JSON]}, refused=True
    ),
    "json: a broken template": Case({"t.json": "{"}, (("t.json",),), refused=True),
    "json: an unknown builder": of_json({"builders": [{"type": "nosuch"}]}, refused=True),
}  # fmt: skip
