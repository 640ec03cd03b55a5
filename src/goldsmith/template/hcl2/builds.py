"""From source and build blocks to core builds: one for each source that a build block names."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from goldsmith.core.build import Build, Component
from goldsmith.core.deferred import DeferredConfig
from goldsmith.core.options import did_you_mean
from goldsmith.errors import Diagnostics, SourceRange, TemplateError
from goldsmith.template.hcl2.ast import Attribute, Block, Body, Expression
from goldsmith.template.hcl2.blocks import BUILD, CHAIN, checked
from goldsmith.template.hcl2.components import BuildContext, post_processor, provisioner
from goldsmith.template.hcl2.config import HclConfig, with_subject
from goldsmith.template.hcl2.dynamic import expanded
from goldsmith.template.hcl2.evaluator import evaluate
from goldsmith.template.hcl2.hooks import CLEANUP, PROVISION, hooks
from goldsmith.template.hcl2.references import references, source_name
from goldsmith.template.hcl2.scope import Scope
from goldsmith.values.convert import ConversionError, convert
from goldsmith.values.types import STRING, ListType
from goldsmith.values.value import object_of, string

SourceKey = tuple[str, str]


def declare_sources(blocks: Iterable[Block], found: Diagnostics) -> dict[SourceKey, Block]:
    """The source blocks by type and name."""
    declared: dict[SourceKey, Block] = {}
    for block in blocks:
        kind, name = (label.text for label in block.labels)
        if earlier := declared.get((kind, name)):
            detail = f"This source was already declared at {earlier.range}."
            found.error("Duplicate source", detail, block.range, block.header)
        else:
            declared[kind, name] = block
    return declared


@dataclass(frozen=True, slots=True)
class SourceUse:
    """A source as a build uses it: under a name of its own, with what the build adds."""

    block: Block
    name: str
    addition: Block | None = None

    @property
    def type(self) -> str:
        """The builder's type."""
        return self.block.labels[0].text


class BuildAssembly:
    """Makes the builds of build blocks; findings are added to `found`."""

    def __init__(
        self,
        sources: Mapping[SourceKey, Block],
        scope: Scope,
        found: Diagnostics,
        announced: Callable[[str], Iterable[str]],
        foreign: Callable[[str], bool] = lambda source_type: False,
    ) -> None:
        self.sources = sources
        self.scope = scope
        self.found = found
        self.announced = announced
        self.foreign = foreign

    def builds(self, block: Block) -> list[Build]:
        """One build for each source of a build block."""
        errors_before = len(self.found.errors)
        body = expanded(block.body, self.scope, self.found)
        attributes, blocks = checked(body, BUILD, self.found, block)
        build_name = ""
        if name_attribute := attributes.get("name"):
            build_name = self._text(name_attribute.expression, block)
        if description := attributes.get("description"):
            self._text(description.expression, block)
        uses: list[SourceUse] = []
        if sources_attribute := attributes.get("sources"):
            uses += self._named_sources(sources_attribute.expression, block)
        for nested in blocks:
            if nested.type == "source":
                uses += self._nested_source(nested)
        if not uses and len(self.found.errors) == errors_before:
            detail = 'A build needs at least one source: sources = ["source.TYPE.NAME"].'
            self.found.error("Missing build source", detail, block.range, block.header)
        if not uses:
            self._components_alone(blocks, build_name)
        return [self._build(build_name, use, blocks) for use in uses]

    def _text(self, expression: Expression, block: Block) -> str:
        try:
            value = convert(evaluate(expression, self.scope), STRING)
        except TemplateError as error:
            self.found.extend(with_subject(error.diagnostics, block.header))
            return ""
        except ConversionError as error:
            detail = f"A text is required here: {error.message}."
            self.found.error("Incorrect attribute value", detail, expression.range, block.header)
            return ""
        return "" if value.is_null or not value.is_known else value.text

    def _named_sources(self, expression: Expression, block: Block) -> list[SourceUse]:
        for reference in references(expression):
            if reference.root == "source":
                detail = 'Sources are named by texts: write "source.TYPE.NAME" in quotes.'
                where = reference.range
                self.found.error("Invalid source reference", detail, where, block.header)
                return []
        try:
            value = evaluate(expression, self.scope)
            names = convert(value, ListType(STRING))
        except TemplateError as error:
            self.found.extend(with_subject(error.diagnostics, block.header))
            return []
        except ConversionError as error:
            detail = f"sources takes a list of texts: {error.message}."
            where = expression.range
            self.found.error("Incorrect attribute value", detail, where, block.header)
            return []
        if names.is_null or not names.is_wholly_known:
            return []
        uses = []
        for written, name in zip(value.items(), names.elements, strict=True):
            where = written.range or expression.range
            source = self._find("" if name.is_null else name.text, where, block)
            if source is not None:
                uses.append(SourceUse(source, source.labels[1].text))
        return uses

    def _find(self, reference: str, where: SourceRange, owner: Block) -> Block | None:
        parts = source_name(reference).split(".")
        if len(parts) != 2 or not all(parts):
            detail = f'"{reference}" does not name a source: write "TYPE.NAME" with one dot.'
            self.found.error("Invalid source reference", detail, where, owner.header)
            return None
        block = self.sources.get((parts[0], parts[1]))
        if block is None:
            known = [f"{kind}.{name}" for kind, name in self.sources]
            detail = f'There is no source "{parts[0]}" "{parts[1]}" in the template.'
            near = did_you_mean(".".join(parts), known)
            if not near and known:
                near = f" Known: {', '.join(sorted(known))}."
            self.found.error(f"Unknown source {reference}", detail + near, where, owner.header)
        return block

    def _nested_source(self, block: Block) -> list[SourceUse]:
        label = block.labels[0]
        source = self._find(label.text, label.range, block)
        if source is None:
            return []
        name = source.labels[1].text
        if name_attribute := block.body.attributes.get("name"):
            name = self._text(name_attribute.expression, block) or name
        earlier = source.body.attributes
        for argument, attribute in block.body.attributes.items():
            if argument in earlier and argument != "name":
                detail = (
                    f'The argument "{argument}" was already set at '
                    f"{earlier[argument].name_range}. A build can only add arguments to a source."
                )
                where = attribute.name_range
                self.found.error("Duplicate argument", detail, where, block.header)
        return [SourceUse(source, name, block)]

    def _context(self, build_name: str, source_type: str, source_name: str) -> BuildContext:
        source = object_of({"type": string(source_type), "name": string(source_name)})
        scope = self.scope.child({"source": source})
        announced = frozenset(self.announced(source_type))
        return BuildContext(scope, build_name, source_name, announced, source_type)

    def _build(self, build_name: str, use: SourceUse, blocks: list[Block]) -> Build:
        context = self._context(build_name, use.type, use.name)
        source = self._source_component(use, context)
        label = f"{use.type}.{use.name}"
        provisioners, chains = self._components(blocks, context)
        cleanup = self._error_cleanup(blocks, context)
        joining = [hooks(block, context, self.found) for block in blocks if block.type == "hook"]
        waiting = {
            event: [one[event] for one in joining if event in one and one[event].applies_to(label)]
            for event in (PROVISION, CLEANUP)
        }
        return Build(
            name=f"{build_name}.{label}" if build_name else label,
            build_name=build_name,
            source_type=use.type,
            source_name=use.name,
            source=source,
            provisioners=(
                *waiting[PROVISION],
                *(one for one in provisioners if one.applies_to(label)),
            ),
            cleanup_hooks=tuple(waiting[CLEANUP]),
            error_cleanup=cleanup if cleanup is not None and cleanup.applies_to(label) else None,
            post_processors=tuple(
                chain
                for whole in chains
                if (chain := tuple(one for one in whole if one.applies_to(label)))
            ),
        )

    def _source_component(self, use: SourceUse, context: BuildContext) -> Component:
        bodies: tuple[Body, ...] = (use.block.body,)
        if use.addition is not None:
            bodies += (_without_name(use.addition.body),)
        config = HclConfig(
            bodies,
            context.scope,
            use.block.range,
            use.block.header,
            context.build_name,
            context.source_name,
            runs=False,
        )
        self._try(config)
        return Component(
            kind="builder", type=use.type, name=use.name, config=config, range=use.block.range
        )

    def _components(
        self, blocks: list[Block], context: BuildContext
    ) -> tuple[list[Component], list[list[Component]]]:
        provisioners: list[Component] = []
        chains: list[list[Component]] = []
        for block in blocks:
            if block.type == "provisioner":
                provisioners.append(provisioner(block, context, self.found))
            elif block.type == "post-processor":
                chains.append([post_processor(block, context, self.found)])
            elif block.type == "post-processors":
                body = expanded(block.body, context.scope, self.found)
                _, links = checked(body, CHAIN, self.found, block)
                chains.append([post_processor(link, context, self.found) for link in links])
        for component in [*provisioners, *(one for chain in chains for one in chain)]:
            self._try(component.config, context)
        return provisioners, chains

    def _error_cleanup(self, blocks: list[Block], context: BuildContext) -> Component | None:
        """What runs when a provisioner has failed."""
        written = [block for block in blocks if block.type == "error-cleanup-provisioner"]
        for extra in written[1:]:
            detail = f"There is one already at {written[0].range}; a build has at most one."
            self.found.error(
                "Duplicate error-cleanup-provisioner", detail, extra.range, extra.header
            )
        if not written:
            return None
        component = provisioner(written[0], context, self.found)
        self._try(component.config, context)
        return component

    def _components_alone(self, blocks: list[Block], build_name: str) -> None:
        """Look for findings in the components of a build that has no usable source."""
        self._components(blocks, self._context(build_name, "", ""))

    def _try(self, config: DeferredConfig, context: BuildContext | None = None) -> None:
        if context is not None and self.foreign(context.source_type):
            return  # what such a builder announces only it knows, once it is prepared
        try:
            config.resolve(None)
        except TemplateError as error:
            self.found.extend(error.diagnostics)


def _without_name(body: Body) -> Body:
    """The body of a nested source without the local name, which is not the builder's."""
    items = tuple(
        item for item in body.items if not (isinstance(item, Attribute) and item.name == "name")
    )
    return Body(items, body.range, body.from_json)
