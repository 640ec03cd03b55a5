"""Debian trees: how one begins, what is installed in it, and how it is finished.

A tree begins by `bootstrap` (packages by APT) or `unpack` (an archive, a directory). While it is
built, files of ours stand in it (`build_files`, `policy`, the diversion of `initramfs`); `finish`
removes every one of them.
"""
