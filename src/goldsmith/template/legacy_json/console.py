"""Go templates typed by a person, with the variables of a JSON template."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from goldsmith.errors import TemplateError
from goldsmith.gotemplate.packer_functions import PackerContext, packer_functions
from goldsmith.gotemplate.template import Template
from goldsmith.template.hcl2.scope import PACKER_VERSION
from goldsmith.template.legacy_json.loader import Loading, least_outline
from goldsmith.values.world import World


@dataclass(frozen=True, slots=True)
class JsonSession:
    """What lines are rendered with; `secrets` must not be shown."""

    world: World
    path: str | None
    variables: Mapping[str, str]
    secrets: frozenset[str]
    problem: TemplateError | None = None
    """Why there are no variables, if they could not be had."""

    def answer(self, line: str) -> str:
        """The line rendered, and what comes out of it again; raises GoTemplateError."""
        context = PackerContext(
            template_path=self.path, packer_version=PACKER_VERSION, user_variables=self.variables
        )
        functions = packer_functions(self.world, context)
        once = Template.parse(line, functions).render(None)
        return Template.parse(once, functions).render(None) if "{{" in once else once


def open_session(
    path: str | None,
    *,
    variables: Sequence[tuple[str, str]] = (),
    variable_files: Sequence[str] = (),
    world: World,
) -> JsonSession:
    """The session of a template, or of none; raises TemplateError for one that cannot be read.

    As in Packer, variables that cannot be rendered, or have no value, leave all of them empty;
    what was wrong is the session's `problem`.
    """
    loading = Loading(path or "", world)
    with loading.all_findings():
        outline = loading.outline() if path else least_outline()
        loading.found.raise_if_errors(loading.sources)
    resolved: Mapping[str, str] = {}
    problem = None
    try:
        with loading.all_findings():
            resolved = loading.variables(outline, variables, variable_files)
            loading.found.raise_if_errors(loading.sources)
    except TemplateError as error:
        if any(
            one.range is None or one.range.filename in variable_files for one in error.diagnostics
        ):
            raise
        resolved, problem = {}, error
    return JsonSession(world, path, resolved, frozenset(loading.secrets), problem)
