"""What `data` blocks read before anything is built: one file per name that a template can say."""

from goldsmith.core.registry import Registry

KIND = "data source"
_PLACES = {
    "http": "goldsmith.datasources.http:HttpDataSource",
    "null": "goldsmith.datasources.null:NullDataSource",
}
_REFUSED = {
    f"hcp-packer-{name}": "it asks a registry of HCP Packer, and goldsmith asks none; "
    f"give {what} by a variable, or by data \"http\" from a server of yours"
    for name, what in (
        ("artifact", "the artifact's id"), ("image", "the image's id"),
        ("iteration", "the iteration's id"), ("version", "the version's fingerprint"),
    )
}  # fmt: skip


def register(registry: Registry) -> None:
    """Add the data sources of this room."""
    registry.register(KIND, _PLACES)
    registry.refuse(KIND, _REFUSED)
