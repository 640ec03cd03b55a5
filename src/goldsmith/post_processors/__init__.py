"""What happens to an artifact: one file per name that a template can say."""

from goldsmith.core.registry import Registry

_PLACES = {
    "boot-test": "goldsmith.post_processors.boot_test:BootTest",
    "checksum": "goldsmith.post_processors.checksum:Checksum",
    "compress": "goldsmith.post_processors.compress:Compress",
    "manifest": "goldsmith.post_processors.manifest:Manifest",
    "shell-local": "goldsmith.post_processors.shell_local:ShellLocal",
}
_LATER = {name: "run it after goldsmith for now" for name in ("artifice", "provenance")}


def register(registry: Registry) -> None:
    """Add the post-processors of this room."""
    registry.register("post-processor", _PLACES)
    registry.plan("post-processor", _LATER)
