"""What the result of a phase depends on, and what it does not."""

import pytest
from making_elements import OPERATING_SYSTEM, described, inputs, make, places

from goldsmith.elements.hook_environment import hook_environment
from goldsmith.elements.phases import phase_named

PHASES = ("root.d", "extra-data.d", "pre-install.d", "install.d", "post-install.d")
ELEMENTS = {
    "my-os": {
        **OPERATING_SYSTEM,
        "environment.d/10-os": "export DISTRO_NAME=mine\n",
        "extra-data.d/10-lists": "#!/bin/bash\nprog --path=$ELEMENTS_PATH\n",
        "pre-install.d/10-bin": "#!/bin/bash\ncp $(dirname $0)/../bin/* /usr/local/bin\n",
        "install.d/10-a": "#!/bin/bash\necho a\n",
        "post-install.d/10-b": "#!/bin/bash\necho $DIB_B\n",
        "bin/tool": "#!/bin/bash\n",
        "package-installs.yaml": "curl:\n",
    },
    "more": {"install.d/20-more": "#!/bin/bash\n", "package-installs.yaml": "vim:\n"},
}


@pytest.fixture
def changed(tmp_path):
    """The phases, of a list, whose inputs a change touches."""

    def keys(names=("my-os", "more"), more=None, environment=None, **given):
        description, setup = described(tmp_path, *names, environment=environment or {}, **given)
        told = hook_environment(description, setup, places(tmp_path), **(more or {}))
        return {phase: inputs(description, setup, phase, told) for phase in PHASES}

    make(tmp_path, ELEMENTS)

    def change(act=lambda: None, **given):
        before = keys()
        act()
        after = keys(**given)
        return [phase for phase in PHASES if before[phase] != after[phase]]

    return change


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


def test_nothing_changes_by_itself(changed):
    assert changed() == []


@pytest.mark.parametrize("phase", PHASES)
def test_a_changed_hook_counts_for_its_phase_alone(changed, tmp_path, phase):
    hook = next((tmp_path / "my-os" / phase).iterdir())
    assert changed(lambda: write(hook, "#!/bin/bash\necho other\n")) == [phase]


def test_so_does_its_mode(changed, tmp_path):
    hook = tmp_path / "my-os/install.d/10-a"
    assert changed(lambda: hook.chmod(0o700)) == ["install.d"]


def test_when_a_hook_was_changed_does_not_count(changed, tmp_path):
    hook = tmp_path / "my-os/install.d/10-a"
    assert changed(lambda: write(hook, hook.read_text())) == []


def test_what_is_sourced_counts_for_all(changed, tmp_path):
    snippet = tmp_path / "my-os/environment.d/10-os"
    assert changed(lambda: write(snippet, "export DISTRO_NAME=other\n")) == list(PHASES)


def test_so_is_what_a_snippet_sources(changed, tmp_path):
    write(tmp_path / "my-os/environment.d/20-x", ". $(dirname ${BASH_SOURCE[0]})/../lib/names\n")
    helper = tmp_path / "my-os/lib/names"
    write(helper, "export LABEL=a\n")
    assert changed(lambda: write(helper, "export LABEL=$IMAGE_NAME\n")) == list(PHASES)
    assert changed(image_name="other") == list(PHASES)


def test_programs_and_package_lists_count_where_hooks_can_find_them(changed, tmp_path):
    assert changed(lambda: write(tmp_path / "my-os/bin/tool", "new")) == [
        "extra-data.d", "pre-install.d",
    ]  # fmt: skip
    # In the hooks directory the list of another element has taken its place.
    assert changed(lambda: write(tmp_path / "my-os/package-installs.yaml", "wget:\n")) == [
        "extra-data.d"
    ]
    assert changed(lambda: write(tmp_path / "more/package-installs.yaml", "nano:\n")) == [
        "extra-data.d", "pre-install.d",
    ]  # fmt: skip


def test_documents_do_not_count(changed, tmp_path):
    assert changed(lambda: write(tmp_path / "my-os/README.rst", "read me")) == []


def test_the_list_of_elements_counts_where_hooks_can_see_it(changed):
    assert changed(names=("my-os",)) == ["extra-data.d", "pre-install.d", "install.d"]


def test_install_types_are_chosen_from_before_they_run(changed, tmp_path):
    place = tmp_path / "my-os/install.d/x-source-install/10-x"
    assert changed(lambda: write(place, "#!/bin/bash\n")) == [
        "extra-data.d", "pre-install.d", "install.d",
    ]  # fmt: skip


def test_a_file_of_another_phase_counts_where_hooks_can_look_for_it(changed, tmp_path):
    hook, data = tmp_path / "my-os/install.d/10-a", tmp_path / "my-os/install.d/functions"
    write(tmp_path / "my-os/post-install.d/10-b", "#!/bin/bash\n. ${0%/*}/../install.d/functions\n")
    data.write_text("f() { true; }\n")
    assert changed(lambda: data.write_text("f() { false; }\n")) == [
        "extra-data.d", "pre-install.d", "install.d", "post-install.d",
    ]  # fmt: skip
    assert changed(lambda: write(hook, "#!/bin/bash\n")) == ["install.d", "post-install.d"]


def test_the_install_type_counts_after_root_d(changed):
    assert changed(install_type="package") == list(PHASES[1:])


def test_variables_count_for_all_phases(changed):
    assert changed(environment={"DIB_B": "1"}) == list(PHASES)


def test_variables_that_nobody_names_do_not(changed):
    assert changed(environment={"BUILD_NUMBER": "8"}) == []


def test_places_of_this_host_do_not_count(changed):
    given = {"HOME": "/home/other", "PATH": "/opt/bin", "USER": "you", "DIB_IMAGE_CACHE": "/c"}
    assert changed(environment=given) == []


def test_the_names_of_outputs_and_the_disk_do_not_count(changed):
    more = {"DIB_ROOT_LABEL": "l", "DIB_MOUNTPOINTS": "/|/boot", "DIB_IMAGE_SIZE": "9"}
    assert changed(image_name="other", arguments="-o other", more=more) == []


def test_but_for_a_phase_that_names_them_and_what_it_may_leave_a_program_for(changed, tmp_path):
    hook = tmp_path / "my-os/install.d/10-a"
    write(hook, "#!/bin/bash\necho $IMAGE_NAME\n")
    assert changed(image_name="other") == ["install.d", "post-install.d"]


def test_or_names_what_a_snippet_has_made_of_them(changed, tmp_path):
    write(tmp_path / "my-os/environment.d/20-x", "export DIB_B=$IMAGE_NAME\n")
    assert changed(image_name="other") == ["post-install.d"]


def test_files_of_the_host_that_variables_name_count_outside_the_tree(changed, tmp_path):
    keys = tmp_path / "keys"
    keys.write_text("one")
    before_and_after = {"environment": {"DIB_KEYS": str(keys)}}
    description, setup = described(tmp_path, "my-os", **before_and_after)
    told = hook_environment(description, setup, places(tmp_path))

    def look():
        return {phase: inputs(description, setup, phase, told) for phase in PHASES}

    before = look()
    keys.write_text("two")
    after = look()
    assert [phase for phase in PHASES if before[phase] != after[phase]] == PHASES_OUTSIDE
    assert "file:DIB_KEYS" in after["root.d"]


PHASES_OUTSIDE = [name for name in PHASES if phase_named(name).place.value == "outside"]


def test_each_input_has_a_name_that_people_know(tmp_path):
    make(tmp_path, ELEMENTS)
    description, setup = described(tmp_path, "my-os", environment={"DIB_B": "1"})
    told = hook_environment(description, setup, places(tmp_path))
    found = inputs(description, setup, "install.d", told)
    assert found["type"] == "elements install.d/1"
    assert {"file:install.d/10-a of my-os", "env:DIB_B", "config:install type"} <= found.keys()
    assert str(tmp_path) not in str({n: v for n, v in found.items() if n != "file:DIB_KEYS"})
