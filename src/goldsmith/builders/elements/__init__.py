"""The `elements` source: diskimage-builder's elements become a tree, and the tree an image."""
