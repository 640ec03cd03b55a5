"""From the outline of a JSON template to core builds: one for each builder."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from goldsmith.core.build import Build, Component, GoNames
from goldsmith.core.options import did_you_mean
from goldsmith.errors import Diagnostics, SourceRange
from goldsmith.gotemplate.errors import GoTemplateError
from goldsmith.gotemplate.packer_functions import PackerContext, packer_functions
from goldsmith.gotemplate.template import Template
from goldsmith.template.hcl2.config import RUN_NAMES
from goldsmith.template.hcl2.scope import PACKER_VERSION
from goldsmith.template.legacy_json.config import JsonConfig
from goldsmith.template.legacy_json.document import Member, Node
from goldsmith.template.legacy_json.outline import Entry, Outline
from goldsmith.units import UnitError, parse_wait_s
from goldsmith.values.numbers import Number
from goldsmith.values.world import World

_WHOLE_NUMBER = re.compile(r"[+-]?[0-9]+")
_NANOSECONDS = 10**9


@dataclass(frozen=True, slots=True)
class _Common:
    """The keys that every provisioner has, whatever it is."""

    pause_before_s: float
    max_retries: int
    timeout_s: float | None


@dataclass(slots=True)
class BuildAssembly:
    """Makes the builds of a template; findings are added to `found`."""

    outline: Outline
    variables: Mapping[str, str]
    template_path: str
    world: World
    found: Diagnostics

    def builds(self) -> list[Build]:
        """One build for each builder, in the order in which they were written."""
        names = self._names()
        pairs = []
        for entry in self.outline.provisioners:
            self._check_names(entry, names)
            pairs.append((entry, self._common(entry)))
        for entry in (entry for chain in self.outline.chains for entry in chain):
            self._check_names(entry, names)
        cleanup = None
        if (last := self.outline.error_cleanup) is not None:
            self._check_names(last, names)
            cleanup = (last, self._common(last))
        return [
            self._build(entry, name, pairs, cleanup)
            for entry, name in zip(self.outline.builders, names, strict=True)
        ]

    def _names(self) -> list[str]:
        """The name of each builder: its own, else its type; two of one name are a finding."""
        names: list[str] = []
        first: dict[str, SourceRange] = {}
        for entry in self.outline.builders:
            member = entry.own.get("name")
            name = self._rendered(member.node, "name", entry) if member else ""
            name = name or entry.type
            if name in first:
                detail = (
                    f'There is a builder "{name}" already, at {first[name]}. Give each a "name" '
                    "of its own; without one it is called by its type."
                )
                where = member.node.range if member else entry.range
                self.found.error(f'Duplicate builder "{name}"', detail, where, entry.subject)
            first.setdefault(name, entry.range)
            names.append(name)
        return names

    def _rendered(self, node: Node, key: str, entry: Entry) -> str:
        """A text or number with the variables in it."""
        if isinstance(node.content, Number):
            return node.content.to_text()
        if not isinstance(node.content, str):
            if node.content is not None:
                detail = f'"{key}" is a text; this is {node.kind}.'
                self.found.error(f'Wrong type of "{key}"', detail, node.range, entry.subject)
            return ""
        context = PackerContext(
            template_path=self.template_path, packer_version=PACKER_VERSION,
            user_variables=self.variables, at=node.range,
        )  # fmt: skip
        try:
            functions = packer_functions(self.world, context)
            return Template.parse(node.content, functions).render(None)
        except GoTemplateError as error:
            detail = f"{key}: {error}." + (f" {error.hint}." if error.hint else "")
            summary = "Invalid template in an argument"
            self.found.error(summary, detail, node.range, entry.subject)
            return ""

    def _check_names(self, entry: Entry, names: Sequence[str]) -> None:
        """Every builder that `only`, `except` and `override` name must be there."""
        named: list[tuple[str, str, SourceRange]] = []
        for key in ("only", "except"):
            if member := entry.own.get(key):
                nodes = member.node.elements() or [member.node]
                named += [
                    (key, node.content, node.range)
                    for node in nodes
                    if isinstance(node.content, str)
                ]
        if override := entry.own.get("override"):
            if not isinstance(override.node.content, dict | None):
                self._bad_override("override", override.node, entry)
            for name, member in override.node.members():
                named.append(("override", name, member.key_range))
                if not isinstance(member.node.content, dict):
                    self._bad_override(name, member.node, entry)
        for key, name, where in named:
            if name not in names:
                known = did_you_mean(name, names) or f" Known: {', '.join(names) or 'none'}."
                detail = f'"{key}" names the builder "{name}", which does not exist.{known}'
                self.found.error(f'Unknown builder "{name}"', detail, where, entry.subject)

    def _bad_override(self, name: str, node: Node, entry: Entry) -> None:
        detail = (
            f'"override" gives an object of arguments for each builder; "{name}" is {node.kind}.'
        )
        self.found.error("Invalid override", detail, node.range, entry.subject)

    def _build(
        self,
        entry: Entry,
        name: str,
        provisioners: Sequence[tuple[Entry, _Common]],
        cleanup: tuple[Entry, _Common] | None,
    ) -> Build:
        subject = name if name == entry.type else f"{entry.type}.{name}"
        source = Component(
            kind="builder", type=entry.type, name=name, range=entry.range,
            config=JsonConfig(entry.arguments, entry.range),
        )  # fmt: skip
        chains = (
            tuple(self._post_processor(one) for one in chain if _applies(one, name))
            for chain in self.outline.chains
        )
        return Build(
            name=subject, build_name="", source_type=entry.type, source_name=name,
            source=source,
            provisioners=tuple(
                _provisioner(one, common, name)
                for one, common in provisioners
                if _applies(one, name)
            ),
            error_cleanup=(
                _provisioner(*cleanup, name) if cleanup and _applies(cleanup[0], name) else None
            ),
            post_processors=tuple(chain for chain in chains if chain),
            selected_by=name,
            go_names=GoNames(self.variables, frozenset(RUN_NAMES), PACKER_VERSION),
        )  # fmt: skip

    def _common(self, entry: Entry) -> _Common:
        pause_s = self._duration_s(entry, "pause_before") or 0.0
        return _Common(pause_s, self._retries(entry), self._duration_s(entry, "timeout"))

    def _post_processor(self, entry: Entry) -> Component:
        name = entry.own.get("name")
        keep = entry.own.get("keep_input_artifact")
        kept = keep.node.content if keep else None
        shown = self._rendered(name.node, "name", entry) if name else ""
        return Component(
            kind="post-processor", type=entry.type, name=shown, range=entry.range,
            config=JsonConfig(entry.arguments, entry.range),
            keep_input_artifact=kept if isinstance(kept, bool) else None,
            title="" if shown else entry.type,
        )  # fmt: skip

    def _duration_s(self, entry: Entry, key: str) -> float | None:
        member = entry.own.get(key)
        if member is None or member.node.content is None:
            return None
        content = member.node.content
        if isinstance(content, Number):
            # As Go's decoder takes it.
            return float(content.to_text()) / _NANOSECONDS
        problem = f"a duration is a text such as 90s; this is {member.node.kind}"
        if isinstance(content, str):
            try:
                return parse_wait_s(content)
            except UnitError as error:
                problem = f"{error.message}; {error.hint}" if error.hint else error.message
        detail = f'Inappropriate value for "{key}": {problem}.'
        self.found.error("Invalid duration", detail, member.node.range, entry.subject)
        return None

    def _retries(self, entry: Entry) -> int:
        member = entry.own.get("max_retries")
        if member is None or member.node.content is None:
            return 0
        if isinstance(member.node.content, bool):
            return int(member.node.content)
        text = self._rendered(member.node, "max_retries", entry)
        if _WHOLE_NUMBER.fullmatch(text) and len(text) < 10 and int(text) >= 0:
            return int(text)
        detail = f'"max_retries" must be a valid integer, not negative; it is {text!r}.'
        where = member.node.range
        self.found.error("Invalid number of retries", detail, where, entry.subject)
        return 0


def _provisioner(entry: Entry, common: _Common, builder: str) -> Component:
    override: Mapping[str, Member] = {}
    if member := entry.own.get("override"):
        mine = dict(member.node.members()).get(builder)
        override = dict(mine.node.members()) if mine else {}
    return Component(
        kind="provisioner", type=entry.type, name="", range=entry.range,
        config=JsonConfig(entry.arguments, entry.range, override),
        pause_before_s=common.pause_before_s, max_retries=common.max_retries,
        timeout_s=common.timeout_s,
    )  # fmt: skip


def _applies(entry: Entry, builder: str) -> bool:
    """Whether `only` and `except` let an entry take part in the build of that builder."""
    named = {
        key: [one.content for one in (member.node.elements() or [member.node])]
        for key, member in entry.own.items()
        if key in ("only", "except") and member.node.content not in (None, [])
    }
    if "only" in named:
        return builder in named["only"]
    return builder not in named.get("except", [])
