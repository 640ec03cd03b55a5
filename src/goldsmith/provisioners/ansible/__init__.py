"""The `ansible` provisioner: playbooks, run from this host on the tree or machine being built."""
