"""diskimage-builder's contract: elements, their order, their hooks, and how hooks are run."""
