"""The elements of an image: which are added, and which give way to the user's."""

import pytest
from making_elements import OPERATING_SYSTEM, described, make

from goldsmith.elements.catalog import ElementError
from goldsmith.elements.setup import COMPAT_ELEMENTS

DPKG = {"element-deps": "dpkg\n", **OPERATING_SYSTEM}


def test_images_made_by_apt_get_the_elements_of_older_releases(tmp_path):
    make(tmp_path, {"my-os": DPKG, "other-os": OPERATING_SYSTEM})
    assert described(tmp_path, "my-os")[1].own == COMPAT_ELEMENTS
    assert described(tmp_path, "my-os", compat_elements=False)[1].own == ()
    assert described(tmp_path, "other-os")[1].own == ()


def test_they_give_way_to_a_hook_of_the_users(tmp_path):
    hooks = {"extra-data.d/01-copy-apt-keys": "#!/bin/bash\n"}
    make(tmp_path, {"my-os": DPKG, "mine": hooks})
    found = described(tmp_path, "my-os", "mine")[1]
    assert found.own == ("build-settings",)
    assert found.hooks.element_of("extra-data.d/01-copy-apt-keys") == "mine"


def test_an_element_of_the_same_name_is_the_users(tmp_path):
    make(tmp_path, {"my-os": DPKG, "apt-keys": {"extra-data.d/01-mine": "#!/bin/bash\n"}})
    found = described(tmp_path, "my-os")[1]
    assert found.hooks.element_of("extra-data.d/01-mine") == "apt-keys"


def test_a_hook_that_two_elements_have_is_refused_with_both(tmp_path):
    hook = {"install.d/50-same": "#!/bin/bash\n"}
    make(tmp_path, {"my-os": OPERATING_SYSTEM, "one": hook, "two": hook})
    with pytest.raises(ElementError, match=r"/install\.d/50-same \(one and two\)"):
        described(tmp_path, "my-os", "one", "two")
