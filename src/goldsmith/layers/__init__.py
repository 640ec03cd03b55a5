"""Layers: what one step changed in a tree, kept as the upper directory of an overlay.

Every tree step runs on an overlay over the layers so far. The rules that make an overlay behave
as a plain directory does are in `overlay`; what identifies a step is in `keys`; the layers that
outlive a build lie in a `store`, which `prune` makes smaller and `verify` looks at.
"""
