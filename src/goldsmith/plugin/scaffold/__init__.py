"""A new plugin's project: `goldsmith plugins new NAME`."""
