"""The `ansible` provisioner's options, and what its key holds."""

from __future__ import annotations

import json
import os

import pytest
from pydantic import ValidationError

from goldsmith.errors import GoldsmithError, Severity
from goldsmith.provisioners.ansible import inputs
from goldsmith.provisioners.ansible.controller.launcher import ReadNotes
from goldsmith.provisioners.ansible.machine import Machine, prepared_machine
from goldsmith.provisioners.ansible.options import AnsibleOptions
from goldsmith.provisioners.ansible.playbook_run import PlaybookRun
from goldsmith.provisioners.ansible.provisioner import AnsibleProvisioner

FILES = {
    "site.yml": "- import_playbook: other.yml\n- hosts: all\n  vars_files: [settings.yml]\n",
    "other.yml": "- hosts: all\n  tasks:\n    - copy: src=data/words dest=/etc/words\n",
    "settings.yml": "a: 1\n", "data/words": "words\n", "unrelated": "x\n",
    "roles/web/tasks/main.yml": "[]\n", "roles2/db/tasks/main.yml": "[]\n",
    "group_vars/all.yml": "b: 2\n", "hosts.ini": "default\n", "vars.json": "{}\n",
    "ansible.cfg": "[defaults]\n", "inventory/hosts": "default\n", "galaxy.yml": "[]\n",
}  # fmt: skip


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    place = tmp_path / "here"
    for name, text in FILES.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(text)
    return place


def made(**options):
    return AnsibleProvisioner(AnsibleOptions(**{"playbook_file": "site.yml", **options}))


def key(here, **options):
    return made(**options).key(here)


@pytest.mark.parametrize(
    "change",
    [{"playbook_file": "other.yml"}, {"extra_arguments": ("-v",)}, {"extra_vars": {"a": "b"}},
     {"ansible_env_vars": ("A=1",)}, {"host_alias": "web"}, {"user": "ops"}, {"groups": ("g",)},
     {"empty_groups": ("g",)}, {"inventory_file": "hosts.ini"}, {"roles_path": "roles2"},
     {"inventory_directory": "inventory"}, {"galaxy_file": "galaxy.yml"}, {"command": "ap"},
     {"inventory_file_template": "{{ .HostAlias }} a=b"}, {"inputs": ("unrelated",)},
     {"collections_path": "roles2"}],
)  # fmt: skip
def test_options_that_count(here, change):
    assert key(here, **change) != key(here)


@pytest.mark.parametrize(
    "same",
    [{"use_proxy": False}, {"local_port": 22}, {"skip_version_check": True},
     {"needs_python": False}, {"ssh_host_key_file": "/k"}],
)  # fmt: skip
def test_options_that_change_nothing(here, same):
    assert key(here, **same) == key(here)


@pytest.mark.parametrize(
    "name",
    ["site.yml", "other.yml", "settings.yml", "data/words", "roles/web/tasks/main.yml",
     "group_vars/all.yml", "ansible.cfg"],
)  # fmt: skip
def test_files_that_count(here, name):
    before = key(here)
    (here / name).write_text("changed: true\n")
    assert key(here) != before


def test_a_file_beside_does_not_count(here):
    before = key(here)
    (here / "unrelated").write_text("changed\n")
    assert key(here) == before


@pytest.mark.parametrize("arguments", [("-e", "@vars.json"), ("--extra-vars=@vars.json",),
                                       ("-i", "vars.json")])  # fmt: skip
def test_files_that_arguments_name_count(here, arguments):
    before = key(here, extra_arguments=arguments)
    (here / "vars.json").write_text('{"x": "y"}\n')
    assert key(here, extra_arguments=arguments) != before


@pytest.mark.parametrize(
    ("one", "other"),
    [({"playbook_file": "site.yml", "inputs": (".",)}, {"playbook_file": "other.yml"}),
     ({"roles_path": "roles:roles2"}, {"roles_path": "roles2:roles"}),
     ({"collections_path": "roles:roles2"}, {"collections_path": "roles2:roles"}),
     ({"inventory_file": "hosts.ini"}, {"inventory_file": "inventory/hosts"})],
)  # fmt: skip
def test_which_of_the_same_files_it_is_counts(here, one, other):
    assert key(here, **{**one, "inputs": (".",)}) != key(here, **{**other, "inputs": (".",)})


def test_variables_beside_an_inventory_of_the_arguments_count(here):
    given = {"extra_arguments": ("-i", "inventory/hosts")}
    before = key(here, **given)
    (here / "inventory/host_vars").mkdir()
    (here / "inventory/host_vars/default.yml").write_text("a: 1\n")
    assert key(here, **given) != before


def test_where_the_project_lies_does_not_count(here, tmp_path):
    before = key(here)
    moved = tmp_path / "moved"
    here.rename(moved)
    assert key(moved) == before


def test_what_a_run_has_read_besides_is_found(here, tmp_path):
    far = tmp_path / "far"
    far.mkdir()
    (far / "file").write_text("x")
    read = [here / "site.yml", here / "roles/web/tasks/main.yml", here, far / "file",
            tmp_path / "gone", tmp_path / "own/file"]  # fmt: skip
    (tmp_path / "own").mkdir()
    (tmp_path / "own/file").write_text("x")
    notes = tmp_path / "notes"
    notes.write_text("".join(json.dumps(str(path)) + "\n" for path in read))
    options = AnsibleOptions(playbook_file="site.yml")
    assert inputs.unkeyed(notes, options, here, [tmp_path / "own"]) == [str(far / "file")]
    named = AnsibleOptions(playbook_file="site.yml", inputs=(str(far),))
    assert inputs.unkeyed(notes, named, here, [tmp_path / "own"]) == []
    with notes.open("a") as file:
        file.write('{"runs": 1}\n')
    ran = inputs.unkeyed(notes, named, here, [tmp_path / "own"])
    assert ran == ["the output of programs on this host"]


class Spoken:
    """A context as far as a run of a playbook asks it."""

    def __init__(self, directory, **run_values):
        self.directory, self.run_values = directory, run_values


@pytest.mark.parametrize(
    ("options", "in_tree", "user"),
    [({}, False, "ops"), ({}, True, "root"), ({"user": "web"}, False, "web"),
     ({"user": "root"}, False, "root")],
)  # fmt: skip
def test_tasks_start_as_who_logs_in(here, options, in_tree, user):
    given = AnsibleOptions(playbook_file="site.yml", inventory_file_template="{{ .User }}",
                           **options)  # fmt: skip
    run = PlaybookRun(given, Spoken(here, User="ops"), here)
    lines = run._inventory(Machine("/d", {}, in_tree)).splitlines()
    assert lines[0] == user
    assert f" ansible_user={user} " in lines[1]


class Tree:
    """Does all that it is asked, and writes it down."""

    def __init__(self):
        self.asked = []

    def is_directory(self, path):
        return True

    def start(self, command, *, on_line, env=None, timeout_s=None):
        self.asked.append(command)
        return 0

    def upload(self, content, destination, *, mode=None):
        self.asked.append(destination)


@pytest.mark.parametrize("error", [None, GoldsmithError("no"), KeyboardInterrupt()])
def test_what_starts_services_is_put_back_however_it_ends(here, error):
    context, tree = Spoken(here), Tree()
    context.communicator, context.environment = tree, {}
    caught = None
    try:
        with prepared_machine(context, needs_python=True):
            assert not any('mv -f "$starter.goldsmith"' in asked for asked in tree.asked)
            if error is not None:
                raise error
    except (GoldsmithError, KeyboardInterrupt) as e:
        caught = e
    assert caught is error
    assert 'mv -f "$starter.goldsmith"' in tree.asked[-1]


def test_programs_and_readings_are_noted_once(tmp_path):
    notes = ReadNotes(str(tmp_path / "notes"), ["/proc/"])
    for event, args in (
        ("open", ("/a", "r", 0)), ("open", ("/a", "r", 0)), ("open", ("/b", "w", os.O_WRONLY)),
        ("subprocess.Popen", ("x", ["x"], None, None)), ("os.system", (b"x",)),
        ("os.listdir", ("/proc/1",)), ("import", ("x",)),
    ):  # fmt: skip
        notes(event, args)
    os.close(notes._fd)
    lines = (tmp_path / "notes").read_text().splitlines()
    assert [json.loads(line) for line in lines] == ["/a", {"runs": 1}]


def test_what_nobody_notes_is_not_told_by_a_key(here, tmp_path):
    run = PlaybookRun(
        AnsibleOptions(playbook_file="site.yml", command="ap"), Spoken(here), tmp_path
    )
    assert run._reasons([]) == ["what ap reads is not noted"]
    run.notes.write_text("")
    assert run._reasons([]) == []


@pytest.mark.parametrize(
    ("wrong", "path"),
    [({"playbook_file": "no.yml"}, ("playbook_file",)),
     ({"playbook_file": "roles"}, ("playbook_file",)),
     ({"inventory_file": "no"}, ("inventory_file",)),
     ({"inventory_directory": "site.yml"}, ("inventory_directory",)),
     ({"galaxy_file": "no"}, ("galaxy_file",)), ({"roles_path": "roles:no"}, ("roles_path",)),
     ({"collections_path": "no"}, ("collections_path",)),
     ({"inputs": ("site.yml", "no")}, ("inputs", 1)),
     ({"command": "no-such-ansible"}, ("playbook_file",))],
)  # fmt: skip
def test_what_is_missing_is_found_before_the_build(here, wrong, path):
    found = made(**wrong).check(here)
    assert [finding.path for finding in found] == [path]
    assert found[0].severity is Severity.ERROR


def test_options_of_an_ssh_server_are_taken_with_a_warning(here):
    found = made(use_proxy=False, local_port=8022).check(here)
    assert [(f.severity, f.path) for f in found] == [
        (Severity.WARNING, ("local_port",)), (Severity.WARNING, ("use_proxy",)),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "wrong",
    [{"playbook_file": ""}, {"host_alias": "a b"}, {"host_alias": ""}, {"groups": ("a]",)},
     {"empty_groups": ("",)}, {"ansible_env_vars": ("novalue",)}, {"user": "a b"},
     {"inventory_file": "a", "inventory_directory": "b"}, {"command": ""},
     {"inventory_file_template": "{{ .Nothing"}],
)  # fmt: skip
def test_options_that_cannot_be(wrong):
    with pytest.raises(ValidationError):
        AnsibleOptions(**{"playbook_file": "site.yml", **wrong})
