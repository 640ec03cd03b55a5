"""Builds that share an image cache take turns with their provisioners too."""

import os

import pytest

from goldsmith.builders.image.element_making import ProvisionInTurn
from goldsmith.core.builder import BuildContext
from goldsmith.core.provisioner import ProvisionerCall
from goldsmith.core.step import TreeContext
from goldsmith.elements.catalog import Catalog
from goldsmith.elements.expansion import expand
from goldsmith.elements.hooks import Hooks
from goldsmith.elements.places import Places
from goldsmith.elements.setup import Setup
from goldsmith.events import Emitter
from goldsmith.host.journal import RunDirectory
from goldsmith.host.locks import try_lock


class LooksAtLocks:
    """A provisioner that notes how many files of a directory somebody has locked."""

    def __init__(self, locks):
        self.locks = locks

    def provision(self, context):
        taken = [try_lock(path) for path in self.locks.iterdir()]
        self.held = taken.count(None)
        for fd in taken:
            if fd is not None:
                os.close(fd)


@pytest.mark.parametrize(("element", "held"), [("pip-cache", 1), ("mine", 0)])
def test_a_provisioner_has_its_turn_where_elements_share_a_cache(element, held, tmp_path):
    (tmp_path / "elements" / element).mkdir(parents=True)
    for name in ("locks", "run"):
        (tmp_path / name).mkdir()
    emitter = Emitter("image.x", lambda event: None)
    build = BuildContext(
        name="image.x", source_name="x", emitter=emitter,
        run=RunDirectory(tmp_path / "run", -1), work=tmp_path / "run/build",
        provisioners=lambda values: [], directory=tmp_path, force=False, epoch_s=0,
        environment={}, ask=lambda question, choices: None, on_error="cleanup", run_uuid="uuid",
    )  # fmt: skip
    directories = (tmp_path / "elements",)
    expansion = expand(Catalog.read(directories), (element,), needs_system=False)
    places = Places(*(tmp_path / name for name in ("build", "image", "cache", "locks")))
    looking = LooksAtLocks(tmp_path / "locks")
    step = ProvisionInTurn(
        ProvisionerCall(looking), 1, build, "image", places=places,
        setup=Setup(expansion, Hooks({}), directories, tmp_path),
    )  # fmt: skip
    step.run(TreeContext(
        emitter=emitter, scratch=tmp_path, epoch_s=0, tree=tmp_path, communicator=None,
        run_in_tree=None, run_tool=None, environment={},
    ))  # fmt: skip
    assert looking.held == held
    looking.provision(None)
    assert looking.held == 0
