"""The `elements` provisioner: what it refuses, and what its result depends on."""

import pytest
from pydantic import ValidationError

from goldsmith.provisioners.elements import ElementsOptions, ElementsProvisioner


@pytest.fixture
def directory(tmp_path):
    element = tmp_path / "elements/extra"
    for name in ("install.d/10-in", "post-root.d/10-out", "environment.d/10-extra"):
        place = element / name
        place.parent.mkdir(parents=True)
        place.write_text("#!/bin/bash\n")
        place.chmod(0o755)
    (tmp_path / "elements/other").mkdir()
    return tmp_path


def provisioner(**more):
    given = {"elements": ["extra"], "elements_path": ["elements"], **more}
    return ElementsProvisioner(ElementsOptions.model_validate(given))


def key(directory, **more):
    found = provisioner(**more).key(directory)
    assert found is not None
    return dict(found.inputs)


def test_no_operating_system_has_to_be_among_the_elements(directory):
    assert list(provisioner().check(directory)) == []


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ({"elements": ["extra", "extr"]}, ("elements", 1)),
        ({"elements_path": ["elements", "none"]}, ("elements_path", 1)),
        ({"elements": ["debian-minimal", "ubuntu-minimal"]}, ("elements",)),
    ],
)  # fmt: skip
def test_what_is_not_there_is_told_at_its_place(given, path, directory):
    assert [one.path for one in provisioner(**given).check(directory)] == [path]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"phases": ["installd"]}, "there is no phase installd"),
        ({"phases": ["root.d"]}, "root.d makes a tree"),
        ({"phases": ["block-device"]}, "block-device.d makes a tree"),
        ({"phases": []}, "at least 1"),
        ({"elements": []}, "at least 1"),
        ({"elements": ["../x"]}, "not the name of an element"),
        ({"environment": {"1A": "x"}}, "cannot be the name of a variable"),
    ],
)  # fmt: skip
def test_options_that_make_no_sense(given, said):
    with pytest.raises(ValidationError, match=said):
        provisioner(**given)


def test_phases_run_in_their_own_order_and_once():
    options = provisioner(phases=["finalise", "install.d", "install", "extra-data.d"]).options
    names = [phase.name for phase in options.ordered_phases]
    assert names == ["extra-data.d", "install.d", "finalise.d"]


def test_the_key_has_the_hooks_of_the_phases_that_run(directory):
    before = key(directory, phases=["install.d"])
    (directory / "elements/extra/post-root.d/10-out").write_text("changed\n")
    assert key(directory, phases=["install.d"]) == before
    (directory / "elements/extra/install.d/10-in").write_text("changed\n")
    after = key(directory, phases=["install.d"])
    assert {name for name in after if after[name] != before.get(name)} == {
        "file:install.d/10-in of extra"
    }


def test_the_key_has_the_environment_and_no_places(directory, tmp_path_factory):
    before = key(directory)
    assert before.keys() < key(directory, environment={"DIB_X": "1"}).keys()
    assert not any(str(directory) in value for value in before.values())
