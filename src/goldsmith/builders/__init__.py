"""What turns a source into an artifact: one file or folder per name that a template can say."""

from goldsmith.core.registry import Registry

_PLACES = {
    "amazon-chroot": "goldsmith.builders.amazon_chroot.builder:AmazonChrootBuilder",
    "amazon-ebsdirect": "goldsmith.builders.amazon_ebsdirect.builder:AmazonEbsdirectBuilder",
    "chroot": "goldsmith.builders.chroot.builder:ChrootBuilder",
    "elements": "goldsmith.builders.elements.builder:ElementsBuilder",
    "file": "goldsmith.builders.file:FileBuilder",
    "image": "goldsmith.builders.image.builder:ImageBuilder",
    "null": "goldsmith.builders.null:NullBuilder",
}
_LATER = {"qemu": 'the sources "image" and "chroot" make images on this host for now'}


def register(registry: Registry) -> None:
    """Add the builders of this room."""
    registry.register("builder", _PLACES)
    registry.plan("builder", _LATER)
