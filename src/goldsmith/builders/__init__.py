"""What turns a source into an artifact: one file or folder per name that a template can say."""

from goldsmith.core.registry import Registry

_PLACES = {
    "file": "goldsmith.builders.file:FileBuilder",
    "image": "goldsmith.builders.image.builder:ImageBuilder",
    "null": "goldsmith.builders.null:NullBuilder",
}
_LATER = {
    name: 'the "image" source builds images from packages for now'
    for name in ("chroot", "amazon-chroot", "amazon-ebsdirect", "qemu")
}


def register(registry: Registry) -> None:
    """Add the builders of this room."""
    registry.register("builder", _PLACES)
    registry.plan("builder", _LATER)
