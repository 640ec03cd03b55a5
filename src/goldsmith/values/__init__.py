"""The value system of templates, the same for every language that goldsmith reads.

A `Value` has a type as cty has it, content (or null, or "not known before the build runs"), marks
that say where it comes from, and the place where it was written. `convert` and `unify` hold the
rules between types, `json_form` the JSON spelling, `numbers` the 512-bit arithmetic. Whatever a
template may see of the outside goes through `world`, which can record and replay it.
"""
