"""What a worker imports and reads while it waits for a build of amazon-chroot."""

from __future__ import annotations

from importlib import import_module
from typing import Final

from goldsmith.cli.components import builtin_registry

_MODULES: Final = (
    "goldsmith.cli.plugin_session", "goldsmith.cli.start_document", "goldsmith.core.caching",
    "goldsmith.core.prepare", "goldsmith.template.hcl2.expression_functions",
    "goldsmith.template.hcl2.loader", "goldsmith.template.load", "goldsmith.ui.terminal",
    "goldsmith.builders.amazon_chroot.making",
)  # fmt: skip


def import_early() -> None:
    """Import it; what is missing here is told by the build."""
    for name in _MODULES:
        import_module(name)
    registry = builtin_registry()
    for kind, name in (("builder", "amazon-chroot"), ("provisioner", "shell")):
        registry.get(kind, name).options_model.model_rebuild()
    from goldsmith.cloud.rehearsal import rehearse

    rehearse()
