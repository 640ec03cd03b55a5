"""Trees from packages that were unpacked once: a store of their files, and dpkg's own configuring.

Source: `specs/fast-trees.md`. What is not safe that way takes dpkg's own way, package by package.
"""
