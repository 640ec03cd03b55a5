"""Disks: one layout model, a pure planner, and images assembled without loop device or mount.

`layout` says what is wanted, `planner` where it goes, `fstab` and `bootloader` what the tree must
know of its disk; `assemble` fills the image, `formats` makes the files that people upload.
"""
