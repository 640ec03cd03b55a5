"""Which variables count for a phase: what its hooks can read is in its key, and no more."""

import pytest
from making_elements import OPERATING_SYSTEM, described, inputs, make, places

from goldsmith.elements.hook_environment import hook_environment
from goldsmith.elements.hook_files import MOST_READ_BYTES, reads_all
from goldsmith.elements.setup import COMPAT_ELEMENTS

PHASES = ("root.d", "extra-data.d", "pre-install.d", "install.d", "post-install.d")
READING_ALL = [
    "env > /x", "env | sort", "env -0", "x=$(env)", "sudo /usr/bin/env", "printenv", "compgen -e",
    "export -p", "export", "declare -p", "declare -x | grep DIB", 'declare -p "$name"', "set > /x",
    "echo ${!name}", "echo ${!IMAGE_@}", "eval echo \\$$name", "declare -n one=$name",
    "cat /proc/self/environ", "envsubst < /x", "print(dict(os.environ))", "os.environ[name]",
    "os.getenv(name)", "for name in os.environ:", "awk 'BEGIN { for (n in ENVIRON) print }'",
    "perl -e 'print %ENV'", "env 2>/dev/null | sort", "env -u A | sort", "env A='b c' | sort",
    "bash -c 'env'", 'sudo -E bash -c "cd /; env"', "env # all", "env \\\n  | sort",
    "echo | xargs env", "if set | grep -q x; then", "! set | grep x", "set 2>&1 | tee x",
    "bash -c 'set'", "export 2>&1",
    "bash -c 'export -p'", "# built with $(env)", "# built as ${!name}", "[[ -v $name ]]",
    "eval echo '$'$name", "subprocess.run(['env'])", "subprocess.run('env', shell=True)",
    "os.environb", "os.environ['A_' + x]", "os.environ.get('A_%s' % x)", "os.getenv('A_' + x)",
    "os.path.expandvars(text)", "run(env=os.environ)", "JSON.stringify(process.env)",
    '$ENV{"A_$x"}', "awk '{ print ENVIRON[\"A_\" $1] }'",
]  # fmt: skip
NAMING_ONE = [
    "#!/usr/bin/env python3", "env A=b /bin/prog", "env python3 x.py", "set -eu", "set -o pipefail",
    "export A=b", "declare -A map", "declare -p NAME", "printenv NAME", "for i in ${!list[@]}; do",
    "os.environ['A']", 'os.environ.get("A", "")', "os.getenv('A')", "if 'A' in os.environ:",
    "# env prints all", "the environment", "eval set -- \"$words\"", "my-env", "env.sh",
    "env A='b' B=\"c d\" prog", "env -u A prog", "env -i bash", "process.env.A", "$ENV{A}",
    "# what env says", "os.environ.get('A', 'env.d')", "the variable is not set!", "[ -v NAME ]",
]  # fmt: skip


@pytest.fixture
def changed(tmp_path):
    """The phases whose keys change with the name of the outputs, for elements like these."""

    def look(files, more=None, **given):
        make(tmp_path, {"my-os": {**OPERATING_SYSTEM, **files}, **(more or {})})
        found = []
        for name in ("one", "other"):
            description, setup = described(tmp_path, "my-os", *(more or {}), image_name=name,
                                           arguments=f"-o {name} my-os", **given)  # fmt: skip
            told = hook_environment(description, setup, places(tmp_path))
            found.append({one: inputs(description, setup, one, told) for one in PHASES})
        return [one for one in PHASES if found[0][one] != found[1][one]]

    return look


@pytest.mark.parametrize("line", READING_ALL)
def test_what_may_read_all_variables_is_known(tmp_path, line):
    hook = tmp_path / "hook"
    hook.write_text(f"#!/bin/bash\n{line}\n")
    assert reads_all((hook,))


@pytest.mark.parametrize("line", NAMING_ONE)
def test_and_what_names_those_that_it_reads(tmp_path, line):
    hook = tmp_path / "hook"
    hook.write_text(f"{line}\n")
    assert not reads_all((hook,))


def test_a_compiled_or_large_program_may_read_all(tmp_path):
    compiled, large, data = tmp_path / "compiled", tmp_path / "large", tmp_path / "data"
    compiled.write_bytes(b"\x7fELF...")
    for path in (large, data):
        path.write_bytes(bytes(MOST_READ_BYTES + 1))
    large.chmod(0o755)
    assert [reads_all((path,)) for path in (compiled, large, data)] == [True, True, False]


def test_a_long_line_takes_no_time_to_speak_of(tmp_path):
    hook = tmp_path / "hook"
    hook.write_text("env " + "A='1' " * 500 + "-u B " * 500 + "prog\n")
    assert not reads_all((hook,))


def test_a_hook_that_reads_all_has_the_name_of_the_outputs_in_its_key(changed):
    found = changed({"post-install.d/10-a": "#!/bin/bash\nenv > /etc/built-with\n"})
    assert found == ["post-install.d"]


def test_so_has_one_that_calls_a_program_which_does(changed):
    files = {"bin/tell": "#!/bin/bash\nprintenv\n", "install.d/10-a": "#!/bin/bash\ntell\n"}
    assert "install.d" in changed(files)


@pytest.mark.parametrize(
    "reaching",
    [
        '. "$(dirname "$0")/../lib/names"',
        '. "${0%/*}/../lib/names"',
        ". /tmp/in_target.d/lib/names",
    ],
)
def test_a_file_that_a_hook_can_find_may_name_them(changed, reaching):
    files = {"post-install.d/10-a": f"#!/bin/bash\n{reaching}\n",
             "lib/names": "name() { echo $IMAGE_NAME; }\n"}  # fmt: skip
    assert changed(files) == ["post-install.d"]


@pytest.mark.parametrize(
    ("place", "text"),
    [("install.d/10-a", "cat > /usr/bin/tell <<'X'\necho $IMAGE_NAME\nX"),
     ("install.d/10-a", "cp $(dirname $0)/../static/tell /usr/bin")],
)  # fmt: skip
def test_a_program_that_a_hook_leaves_in_the_tree_may_be_run_by_later_phases(changed, place, text):
    files = {place: f"#!/bin/bash\n{text}\n", "static/tell": "#!/bin/bash\necho $IMAGE_NAME\n",
             "pre-install.d/10-b": "#!/bin/bash\n"}  # fmt: skip
    assert changed(files) == ["install.d", "post-install.d"]


@pytest.mark.parametrize("command", ["echo $IMAGE_NAME", "echo ${IMAGE_NAME%x}", "cd /; env"])
def test_so_may_what_another_variable_says(changed, command):
    hook = {"install.d/10-a": '#!/bin/bash\neval "$DIB_COMMAND"\n'}
    assert "install.d" in changed(hook, environment={"DIB_COMMAND": command})
    assert changed(hook, environment={"DIB_COMMAND": "echo image_name"}) == []


def test_so_may_a_package_list(changed):
    hook = "#!/bin/bash\nprog --path=$ELEMENTS_PATH\n"
    lists = "curl:\n  when: IMAGE_NAME = other\n"
    found = changed({"extra-data.d/10-a": hook, "package-installs.yaml": lists})
    assert found[0] == "extra-data.d"


def test_what_snippets_make_of_them_is_followed(changed):
    files = {
        "environment.d/10-a": "if [ $IMAGE_NAME = x ]; then read -r KIND < /x; fi\n",
        "environment.d/20-b": "export LABEL=$KIND\n",
        "install.d/10-a": "#!/bin/bash\nif true; then echo $OTHER; fi\n",
        "post-install.d/10-b": "#!/bin/bash\necho $LABEL\n",
    }
    assert changed(files) == ["post-install.d"]


def test_stored_settings_of_images_by_apt_do_not_depend_on_the_outputs(changed):
    found = changed({"extra-data.d/10-a": "#!/bin/bash\n"}, {"dpkg": {}, "manifests": {}})
    assert found == []


def test_the_stored_settings_are_those_of_every_key(tmp_path):
    make(tmp_path, {"my-os": OPERATING_SYSTEM, "dpkg": {}})
    description, setup = described(tmp_path, "my-os", "dpkg", environment={"USER": "me"})
    assert set(COMPAT_ELEMENTS) <= set(setup.expansion.names)
    told = hook_environment(description, setup, places(tmp_path))
    key = inputs(description, setup, "extra-data.d", told)
    stored = told.keys() - set(told["GOLDSMITH_PASSING"].split())
    assert {name for name in stored if f"env:{name}" not in key} <= {"IMAGE_ELEMENT"}
    assert "config:elements" in key


def test_who_builds_counts_where_a_hook_asks(tmp_path):
    make(
        tmp_path,
        {"my-os": {**OPERATING_SYSTEM, "post-install.d/10-a": "#!/bin/bash\necho $USER\n"}},
    )
    keys = []
    for user in ("me", "you"):
        description, setup = described(tmp_path, "my-os", environment={"USER": user})
        told = hook_environment(description, setup, places(tmp_path))
        keys.append({one: inputs(description, setup, one, told) for one in PHASES})
    assert [one for one in PHASES if keys[0][one] != keys[1][one]] == ["post-install.d"]
