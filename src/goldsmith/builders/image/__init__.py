"""The `image` source: packages become a tree, the tree becomes a disk that boots."""
