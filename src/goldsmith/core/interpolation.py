"""Go templates in the arguments of components: `{{build_name}}`, `{{timestamp}}` and their like.

Packer renders them in every language's templates, after the language's own expressions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from goldsmith.core.build import Component
from goldsmith.core.deferred import RawBody
from goldsmith.core.options import Options
from goldsmith.errors import Diagnostic, SourceRange
from goldsmith.gotemplate.errors import GoTemplateError, TemplateFunctionError
from goldsmith.gotemplate.packer_functions import Functions, PackerContext, packer_functions
from goldsmith.gotemplate.template import Template
from goldsmith.values.value import Value
from goldsmith.values.world import World

_OPENING = "{{"


@dataclass(frozen=True, slots=True, kw_only=True)
class Interpolation:
    """What the templates in the arguments of one build's components know."""

    world: World
    template_path: str
    build_name: str
    build_type: str
    announced: frozenset[str] = frozenset()
    """The names that `build` knows."""
    run_values: Mapping[str, Value] | None = None
    """Their values; None while nothing runs yet."""

    def functions(self, at: SourceRange | None) -> Functions:
        """Packer's functions for a text that stands there."""
        context = PackerContext(
            build_name=self.build_name, build_type=self.build_type,
            template_path=self.template_path, announced=self.announced, at=at,
        )  # fmt: skip
        functions = packer_functions(self.world, context)
        if self.run_values is not None:
            functions["build"] = self._build
        return functions

    def _build(self, key: str) -> str:
        value = (self.run_values or {}).get(key)
        if value is None:
            raise TemplateFunctionError(f"the builder does not fill {key}")
        return value.text

    def body(
        self, body: RawBody, model: type[Options], component: Component, subject: str
    ) -> tuple[RawBody, list[Diagnostic]]:
        """The content of a block with its texts rendered, and what is wrong with them."""
        if not model.go_templates:
            return body, []
        found: list[Diagnostic] = []
        attributes = {}
        for name, value in body.attributes.items():
            try:
                attributes[name] = (
                    value if name in model.verbatim else _rendered(value, self.functions)
                )
            except GoTemplateError as e:
                attributes[name] = value
                detail = f"{name}: {e}." + (f" {e.hint}." if e.hint else "")
                where = value.range or component.range
                found.append(Diagnostic("Invalid template in an argument", detail, where,
                                        subject=subject))  # fmt: skip
        return replace(body, attributes=attributes), found


def _rendered(value: Value, functions: Callable[[SourceRange | None], Functions]) -> Value:
    """The value with every text in it rendered."""
    match value.raw:
        case str() if _OPENING in value.raw:
            template = Template.parse(value.raw, functions(value.range))
            return replace(value, raw=template.render({}))
        case tuple():
            return replace(value, raw=tuple(_rendered(item, functions) for item in value.raw))
        case dict():
            items = {key: _rendered(item, functions) for key, item in value.raw.items()}
            return replace(value, raw=items)
        case _:
            return value
