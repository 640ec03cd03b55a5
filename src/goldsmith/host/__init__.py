"""The kernel and its tools: processes, namespaces, mounts, loop devices, locks, the journal.

This room knows no word of images: no builder, no element, no template. Everything that it acquires
is a context manager, so that whoever uses it cannot forget to give it back.
"""
