"""The hooks directory while a phase runs, and what is left of it for the next."""

import os

import pytest
from making_elements import OPERATING_SYSTEM, described, make

from goldsmith.elements import hook_directory
from goldsmith.elements.phases import phase_named


@pytest.fixture
def phase(tmp_path):
    """Runs what a phase's hooks do in the hooks directory; returns what is left there."""
    files = {**OPERATING_SYSTEM, "install.d/50-a": "a", "install.d/60-b": "b", "data": "d",
             "install.d/x-source-install/10-x": "x", "empty.d/.keep": ""}  # fmt: skip
    make(tmp_path / "elements", {"my-os": files})
    _, setup = described(tmp_path / "elements", "my-os")
    hooks, records = tmp_path / "hooks", tmp_path / "records"

    def run(act=lambda hooks: None, generated=None):
        with hook_directory.laid_out(setup.hooks, hooks, generated or {}, records):
            act(hooks)
        return sorted(str(path.relative_to(hooks)) for path in hooks.rglob("*")
                      if not path.is_dir() or path.is_symlink())  # fmt: skip

    run.hooks = hooks
    return run


def test_all_is_there_while_hooks_run_and_nothing_afterwards(phase):
    def look(hooks):
        assert (hooks / "install.d/50-a").read_text() == "a"
        assert os.access(hooks / "install.d/50-a", os.X_OK)
        assert (hooks / "data").read_text() == "d"

    assert phase(look) == []
    assert list(phase.hooks.iterdir()) == []


def test_what_hooks_make_and_change_stays(phase):
    def act(hooks):
        (hooks / "post-root.d").mkdir()
        (hooks / "post-root.d/10-made").write_text("made")
        (hooks / "install.d/50-a").write_text("changed by a hook")
        os.symlink("x-source-install/10-x", hooks / "install.d/10-x")

    left = ["install.d/10-x", "install.d/50-a", "post-root.d/10-made"]
    assert phase(act) == left

    def look(hooks):
        assert (hooks / "install.d/50-a").read_text() == "changed by a hook"
        assert (hooks / "install.d/10-x").read_text() == "x"
        assert (hooks / "install.d/60-b").read_text() == "b"

    assert phase(look) == left


def test_what_hooks_remove_stays_away(phase):
    phase(lambda hooks: (hooks / "install.d/60-b").unlink())

    def look(hooks):
        assert not (hooks / "install.d/60-b").exists()
        assert (hooks / "install.d/50-a").exists()

    phase(look)


def test_after_an_error_all_is_left_to_be_looked_at(phase):
    def fail(hooks):
        raise ValueError

    with pytest.raises(ValueError):
        phase(fail)
    assert (phase.hooks / "install.d/50-a").exists()


def test_files_that_no_element_has(phase, tmp_path):
    _, setup = described(tmp_path / "elements", "my-os")

    def names(name):
        return list(hook_directory.generated_for(phase_named(name), setup, "package"))

    assert names("root.d") == []
    assert names("extra-data.d") == ["environment.d/11-dib-install-type.bash"]
    assert names("install.d") == ["environment.d/11-dib-install-type.bash", "dib-run-parts"]
    generated = hook_directory.generated_for(phase_named("install.d"), setup, "package")

    def look(hooks):
        text = (hooks / "environment.d/11-dib-install-type.bash").read_text()
        assert text == ('export DIB_DEFAULT_INSTALLTYPE=${DIB_DEFAULT_INSTALLTYPE:-"package"}\n')
        assert os.access(hooks / "dib-run-parts", os.X_OK)

    assert phase(look, generated) == []
