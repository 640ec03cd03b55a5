"""The configuration of a component as a JSON template wrote it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from goldsmith.core.deferred import RawBody
from goldsmith.errors import SourceRange
from goldsmith.template.legacy_json.document import Member
from goldsmith.values.value import Value


@dataclass(frozen=True, slots=True)
class JsonConfig:
    """The arguments of a builder, provisioner or post-processor; `override` replaces some.

    Its texts are Go templates, which are rendered where the component's options are known.
    """

    arguments: Mapping[str, Member]
    range: SourceRange
    override: Mapping[str, Member] = field(default_factory=dict)

    def resolve(
        self, run_values: Mapping[str, Value] | None, announced: Iterable[str] = ()
    ) -> RawBody:
        """The arguments as they were written: the same whatever runs."""
        members = {**self.arguments, **self.override}
        attributes = {name: member.node.value() for name, member in members.items()}
        names = {name: member.key_range for name, member in members.items()}
        return RawBody(attributes, names, (), self.range, loose=True)
