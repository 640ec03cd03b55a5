"""Machines in QEMU: what emulates them, how they boot, what their console says."""
