"""The table of functions, which spares most templates their modules, is the truth."""

from importlib import import_module

from goldsmith.template.hcl2.functions import FUNCTIONS, THEMES


def test_every_module_has_the_functions_that_the_table_says():
    for theme, names in THEMES.items():
        module = import_module(f"goldsmith.template.hcl2.functions.{theme}")
        assert sorted(function.name for function in module.FUNCTIONS) == sorted(names.split())


def test_functions_are_found_by_their_names():
    assert all(FUNCTIONS[name].name == name for name in FUNCTIONS)
    assert len(FUNCTIONS) == sum(len(names.split()) for names in THEMES.values())
    assert FUNCTIONS.get("nosuch") is None
