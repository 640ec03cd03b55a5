"""What a worker imports and reads before its build is known, with its command and alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Final


@dataclass(frozen=True, slots=True)
class EarlyBuild:
    """What is known of the builds of a source type before the template is read."""

    making: tuple[str, ...]
    """The modules that make it: they import the rest."""
    always_works: bool = False
    """Whether each needs a worker; the others may find that nothing is to be done."""
    at_aws: bool = False


EARLY_BUILDS: Final[Mapping[str, EarlyBuild]] = {
    "amazon-chroot": EarlyBuild(
        ("goldsmith.builders.amazon_chroot.making",), always_works=True, at_aws=True
    ),
    "image": EarlyBuild(("goldsmith.builders.image.making", "urllib.request")),
}
"""The source types whose workers start early; where a template names several, the first."""
_SHARED: Final = (
    "goldsmith.cli.plugin_session", "goldsmith.cli.start_document", "goldsmith.core.caching",
    "goldsmith.core.prepare", "goldsmith.template.hcl2.expression_functions",
    "goldsmith.template.hcl2.loader", "goldsmith.template.load", "goldsmith.ui.terminal",
)  # fmt: skip


def import_shared(source_type: str) -> None:
    """Import what both the command and its worker need: it is there once for both."""
    for name in _SHARED:
        import_module(name)
    _ready("builder", source_type)


def _ready(kind: str, name: str) -> None:
    """Read in a component, and what checks its options."""
    # Late: the parent looks at the table before it imports anything large.
    from goldsmith.cli.components import builtin_registry

    builtin_registry().get(kind, name).options_model.model_rebuild()


def import_early(source_type: str) -> None:
    """Import what a worker needs besides; what is missing here is told by the build."""
    build = EARLY_BUILDS[source_type]
    for name in build.making:
        import_module(name)
    for name in ("shell", "file"):
        _ready("provisioner", name)
    if build.at_aws:
        from goldsmith.cloud.rehearsal import rehearse

        rehearse()
