"""What happens to an artifact: one file per name that a template can say."""

from goldsmith.core.registry import Registry

_PLACES = {
    "amazon-ebsdirect": "goldsmith.post_processors.amazon_ebsdirect:AmazonEbsdirect",
    "artifice": "goldsmith.post_processors.artifice:Artifice",
    "boot-test": "goldsmith.post_processors.boot_test:BootTest",
    "checksum": "goldsmith.post_processors.checksum:Checksum",
    "compress": "goldsmith.post_processors.compress:Compress",
    "manifest": "goldsmith.post_processors.manifest:Manifest",
    "publish": "goldsmith.post_processors.publish:Publish",
    "shell-local": "goldsmith.post_processors.shell_local:ShellLocal",
}
_REFUSED = {
    "provenance": "goldsmith signs no statements about builds; run a signer of your own, such as "
    "cosign, in a shell-local post-processor; the manifest beside an image says what is in it",
}


def register(registry: Registry) -> None:
    """Add the post-processors of this room."""
    registry.register("post-processor", _PLACES)
    registry.refuse("post-processor", _REFUSED)
