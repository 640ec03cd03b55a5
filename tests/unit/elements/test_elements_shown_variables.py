"""What stands before the command line that leads back to a build's tree."""

import shlex

from goldsmith.elements.shown_variables import assignments_for

COMMAND = "disk-image-create -n debian-minimal"


def test_a_command_line_comes_with_the_variables_that_elements_read():
    given = {"DIB_RELEASE": "book worm", "ELEMENTS_PATH": "/e", "HOME": "/root", "LANG": "C"}
    assert shlex.split(assignments_for(COMMAND, given)) == [
        "DIB_RELEASE=book worm", "ELEMENTS_PATH=/e"
    ]  # fmt: skip


def test_secrets_are_only_named():
    given = {"DIB_DEV_USER_PASSWORD": "hidden-one", "DIB_URL": "x hidden-one y"}
    assert assignments_for(COMMAND, given) == "DIB_DEV_USER_PASSWORD=*** DIB_URL=*** "


def test_a_template_holds_its_own_variables():
    assert assignments_for("disk-image-create.pkr.hcl", {"DIB_RELEASE": "sid"}) == ""
