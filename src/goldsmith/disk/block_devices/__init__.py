"""diskimage-builder's description of block devices: read, checked wholly, and made a `Layout`.

Source: `specs/diskimage-builder.md`, A12; upstream's `block_device`.
"""
