"""The vocabulary of a build, independent of any template language.

Everything here is either an immutable description (a build, a component, its options) or the small
machinery that turns descriptions into steps. Nothing here knows HCL, JSON or a concrete builder.
"""
