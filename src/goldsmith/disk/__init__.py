"""Disks: one layout model, a pure planner, and images assembled with as little as a part needs.

`layout` says what is wanted, `planner` where it goes, `fstab` and `bootloader` what the tree must
know of its disk; `ways` says how each part is made, `assemble` fills the image, `formats` makes
the files that people upload.
"""
