"""What `data` blocks read before anything is built: one file per name that a template can say."""

from goldsmith.core.registry import Registry

KIND = "data source"
_PLACES = {
    "http": "goldsmith.datasources.http:HttpDataSource",
    "null": "goldsmith.datasources.null:NullDataSource",
}
_LATER = {
    f"hcp-packer-{name}": "the registry of HCP Packer is not supported; give the id by a variable"
    for name in ("artifact", "image", "iteration", "version")
}


def register(registry: Registry) -> None:
    """Add the data sources of this room."""
    registry.register(KIND, _PLACES)
    registry.plan(KIND, _LATER)
