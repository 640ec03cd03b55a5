"""What the files of an element image depend on besides their tree."""

import pytest

from goldsmith.builders.elements.options import ElementsOptions
from goldsmith.builders.elements.recipe import Recipe
from goldsmith.core.caching import DEFAULT_TTL_S
from goldsmith.elements.places import Places
from goldsmith.packages.release_files import ReleaseState

RELEASES = [{"release:stable main": ReleaseState(text * 64, fetched=True)} for text in "12"]


@pytest.fixture
def recipe(tmp_path):
    """Makes the recipe of an image with one element that has these hooks."""

    def make(*hooks, **options):
        for place in ("root.d/10-os", *hooks):
            path = tmp_path / "my-os" / place
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("#!/bin/bash\n")
            path.chmod(0o755)
        (tmp_path / "my-os/element-provides").write_text("operating-system\n")
        environment = {"ELEMENTS_PATH": str(tmp_path)}
        given = {"elements": ("my-os",), "skip_base": True, "environment": environment, **options}
        return Recipe(ElementsOptions.model_validate(given), "image")

    return make


def late_inputs(recipe, directory):
    places = Places(*[directory] * 5)
    return [recipe.late_inputs(places, recipe.wishes, releases) for releases in RELEASES]


@pytest.mark.parametrize(
    "hook", ["pre-finalise.d/10-a", "finalise.d/10-a", "cleanup.d/10-a", "block-device.d/10-a"]
)
def test_hooks_after_the_tree_see_the_network_of_their_time(recipe, tmp_path, hook):
    made = recipe(hook)
    one, two = late_inputs(made, tmp_path)
    assert one != two
    assert one["release:stable main"] == "1" * 64
    assert made.late_ttl_s == DEFAULT_TTL_S
    assert recipe(hook, cache_ttl="2h").late_ttl_s == 7200


def test_without_such_hooks_the_tree_decides(recipe, tmp_path):
    made = recipe("post-root.d/10-a", "finalise.d.txt")
    one, two = late_inputs(made, tmp_path)
    assert one == two
    assert made.late_ttl_s is None
