"""What known hooks need of the host: only where they are in the image, and the host lacks it."""

import pytest

from goldsmith.builders.elements import hook_needs
from goldsmith.elements.catalog import upstream_package
from goldsmith.elements.hooks import HookFile, Hooks

ISO = "cleanup.d/100-build-iso"


def hooks(element, place=ISO):
    return Hooks({place: HookFile(element, None, place)})


@pytest.fixture
def bare_host(monkeypatch):
    """A host without programs, whose kernel has no vfat."""
    monkeypatch.setattr(hook_needs, "find_tool", lambda tool: None)
    monkeypatch.setattr(
        hook_needs.attached, "why_not", {"vfat": "this host's kernel has no vfat"}.get
    )


def test_a_hook_that_mounts_what_the_kernel_lacks_needs_the_guest(bare_host):
    assert hook_needs.need_guest_for_hooks(hooks("iso")) == [
        f"{ISO} of element iso mounts one: this host's kernel has no vfat"
    ]


def test_its_programs_are_named_with_their_packages(bare_host):
    missing = {error.tool: error.package for error in hook_needs.missing_tools(hooks("iso"))}
    assert missing == {"mkisofs": "genisoimage", "mkdosfs": "dosfstools"}


@pytest.mark.parametrize("found", [hooks("mine"), hooks("iso", "cleanup.d/10-other"), Hooks({})])
def test_other_hooks_need_nothing(bare_host, found):
    assert hook_needs.need_guest_for_hooks(found) == []
    assert list(hook_needs.missing_tools(found)) == []


def test_a_host_that_has_it_all_needs_no_guest(monkeypatch):
    monkeypatch.setattr(hook_needs, "find_tool", lambda tool: f"/usr/bin/{tool}")
    monkeypatch.setattr(hook_needs.attached, "why_not", lambda kind: None)
    assert hook_needs.need_guest_for_hooks(hooks("iso")) == []
    assert list(hook_needs.missing_tools(hooks("iso"))) == []


def test_the_hooks_are_those_of_upstream():
    package = upstream_package()
    assert package is not None
    for element, place in hook_needs.HOOK_NEEDS:
        assert (package / "elements" / element / place).is_file()
