"""Go's text/template as Packer uses it: parser, evaluator, functions.

The room exists because every string of a Packer template may hold Go template actions, and their
results, errors and odd corners are what users' templates were written against.

    from goldsmith.gotemplate.template import Template
    from goldsmith.gotemplate.packer_functions import PackerContext, packer_functions

    functions = packer_functions(world, PackerContext(build_name="debian"))
    Template.parse("{{build_name}}-{{timestamp}}", functions).render({})

- `template.Template.parse(text, functions, name="root")` and `.render(data)`: the whole interface.
- Data are str, bool, int, float, None, lists and mappings. A plain mapping is a Go struct: a field
  that it lacks is an error. `data.LenientMap` is a Go map: what it lacks renders `<no value>`.
  Nothing else of Python is within reach: a field is a key, never an attribute.
- `functions` are Python callables. Each positional parameter is required; `*args` is variadic. An
  annotation of `str`, `int`, `float` or `bool` is checked as Go does, any other takes all values.
  A function fails by raising `errors.TemplateFunctionError` (or any other GoldsmithError).
- Every error of a template is `errors.GoTemplateError`, in Go's words, with line and column.
- `packer_functions`: what Packer adds; `go_time`: Go's time layouts and Packer's strftime;
  `formatting`: Go's fmt.
"""
