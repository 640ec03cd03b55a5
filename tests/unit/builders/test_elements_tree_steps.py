"""Which steps a tree of elements has."""

from goldsmith.builders.elements.tree import tree_steps
from goldsmith.elements.description import Description
from goldsmith.elements.places import Places
from goldsmith.elements.setup import set_up


def steps_of(directory, **environment):
    for place, text in {
        "element-provides": "operating-system\n", "root.d/10-os": "#!/bin/bash\n",
        "pre-install.d/10-first": "#!/bin/bash\n",
    }.items():  # fmt: skip
        path = directory / "os" / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)
    description = Description(
        elements=("os",), environment={"ELEMENTS_PATH": str(directory), **environment}
    )
    places = Places(*(directory / name for name in ("b", "i", "cache", "locks")))
    return [step.name for step in tree_steps(description, set_up(description), places)]


def test_what_stands_in_for_update_initramfs_is_taken_back_whatever_brought_dpkg(tmp_path):
    assert steps_of(tmp_path) == ["root.d", "pre-install.d", "initramfs"]


def test_a_break_makes_a_step_of_a_phase_without_hooks(tmp_path):
    found = steps_of(tmp_path, **{"break": "after-install"})
    assert found == ["root.d", "pre-install.d", "install.d", "initramfs"]
