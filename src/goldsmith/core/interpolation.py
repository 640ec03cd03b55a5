"""Go templates in the arguments of components: `{{build_name}}`, `{{timestamp}}` and their like.

Packer renders them in every language's templates, after the language's own expressions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from goldsmith.core.build import Component, GoNames
from goldsmith.core.deferred import RawBody
from goldsmith.core.options import Options
from goldsmith.errors import Diagnostic, SourceRange
from goldsmith.gotemplate.errors import GoTemplateError, TemplateFunctionError
from goldsmith.values.value import Value
from goldsmith.values.world import World

if TYPE_CHECKING:
    from goldsmith.gotemplate.packer_functions import Functions

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
    go_names: GoNames | None = None
    """What templates know besides, in a language that has no other expressions."""

    def functions(self, at: SourceRange | None) -> Functions:
        """Packer's functions for a text that stands there."""
        from goldsmith.gotemplate.packer_functions import PackerContext, packer_functions

        known = self.go_names
        context = PackerContext(
            build_name=self.build_name, build_type=self.build_type, at=at,
            template_path=self.template_path,
            announced=self.announced | known.build if known else self.announced,
            user_variables=known.user if known else None,
            packer_version=known.packer_version if known else None,
        )  # fmt: skip
        functions = packer_functions(self.world, context)
        if self.run_values is not None and known is None:
            functions["build"] = self._build
        return functions

    def _build(self, key: str) -> str:
        value = (self.run_values or {}).get(key)
        if value is None:
            raise TemplateFunctionError(f"the builder does not fill {key}")
        return value.text

    def _text(self, text: str, at: SourceRange | None) -> str:
        # Late: most templates have no Go template in them.
        from goldsmith.gotemplate.data import LenientMap
        from goldsmith.gotemplate.template import Template

        rendered = Template.parse(text, self.functions(at)).render({})
        # Only placeholders of `build` are left: a second pass gives them what the builder tells.
        if self.go_names is None or self.run_values is None or _OPENING not in rendered:
            return rendered
        told = LenientMap({name: value.text for name, value in self.run_values.items()})
        return Template.parse(rendered, self.functions(at)).render(told)

    def _with_variables(self, text: str, at: SourceRange | None) -> str:
        """A text that a component renders later, with the variables in it already."""
        from goldsmith.gotemplate.user_values import with_user_values

        return with_user_values(text, self.go_names.user) if self.go_names else text

    def body(
        self, body: RawBody, model: type[Options], component: Component, subject: str
    ) -> tuple[RawBody, list[Diagnostic]]:
        """The content of a block with its texts rendered, and what is wrong with them."""
        # A language without other expressions has its variables in them, whatever the component.
        if not model.go_templates and self.go_names is None:
            return body, []
        found: list[Diagnostic] = []
        attributes = {}
        for name, value in body.attributes.items():
            try:
                if name not in model.verbatim:
                    attributes[name] = _rendered(value, self._text)
                elif self.go_names is not None:
                    attributes[name] = _rendered(value, self._with_variables)
                else:
                    attributes[name] = value
            except GoTemplateError as e:
                attributes[name] = value
                detail = f"{name}: {e}." + (f" {e.hint}." if e.hint else "")
                where = value.range or component.range
                found.append(Diagnostic("Invalid template in an argument", detail, where,
                                        subject=subject))  # fmt: skip
        return replace(body, attributes=attributes), found


def _rendered(value: Value, render: Callable[[str, SourceRange | None], str]) -> Value:
    """The value with every text in it rendered."""
    match value.raw:
        case str() if _OPENING in value.raw:
            return replace(value, raw=render(value.raw, value.range))
        case tuple():
            return replace(value, raw=tuple(_rendered(item, render) for item in value.raw))
        case dict():
            items = {key: _rendered(item, render) for key, item in value.raw.items()}
            return replace(value, raw=items)
        case _:
            return value
