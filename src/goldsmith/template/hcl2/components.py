"""From provisioner and post-processor blocks to components: the keys that all of them share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from goldsmith.core.build import Component
from goldsmith.core.caching import Caching
from goldsmith.errors import Diagnostics, TemplateError
from goldsmith.template.hcl2.ast import Attribute, Block
from goldsmith.template.hcl2.config import HclConfig, with_subject
from goldsmith.template.hcl2.evaluator import evaluate
from goldsmith.template.hcl2.scope import Scope
from goldsmith.units import UnitError, parse_duration_s, parse_wait_s
from goldsmith.values.convert import ConversionError, convert
from goldsmith.values.types import BOOL, NUMBER, STRING, ListType, Type
from goldsmith.values.value import Value, object_of, string

PROVISIONER_KEYS = frozenset(
    {"name", "pause_before", "max_retries", "timeout", "only", "except", "override",
     "continue_on_error", "cache", "cache_key", "cache_ttl"}
)  # fmt: skip
POST_PROCESSOR_KEYS = frozenset({"name", "only", "except", "keep_input_artifact"})

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class BuildContext:
    """What the components of one build share: names of build and source, and the scope."""

    scope: Scope
    build_name: str
    source_name: str
    announced: frozenset[str] = frozenset()
    source_type: str = ""

    def config(
        self, block: Block, reserved: frozenset[str], override: Attribute | None = None
    ) -> HclConfig:
        """The configuration of a component that runs in this build."""
        return HclConfig(
            (block.body,),
            self.scope,
            block.range,
            block.header,
            self.build_name,
            self.source_name,
            reserved,
            override.expression if override else None,
            self.announced,
        )


def provisioner(block: Block, context: BuildContext, found: Diagnostics) -> Component:
    """The provisioner of a block; findings are added to `found`."""
    keys = CommonKeys(block, context, found)
    override = block.body.attributes.get("override")
    return Component(
        kind="provisioner",
        type=block.labels[0].text,
        name=keys.read("name", STRING, lambda value: value.text, ""),
        config=context.config(block, PROVISIONER_KEYS, override),
        range=block.range,
        pause_before_s=keys.read("pause_before", STRING, _duration_s, 0.0),
        max_retries=keys.read("max_retries", NUMBER, _count, 0),
        timeout_s=keys.read("timeout", STRING, _duration_s, None),
        continue_on_error=keys.read("continue_on_error", BOOL, lambda value: value.truth, False),
        only=keys.names("only"),
        except_=keys.names("except"),
        caching=Caching(
            reuse=keys.read("cache", BOOL, lambda value: value.truth, True),
            key=keys.read("cache_key", STRING, lambda value: value.text, None),
            ttl_s=keys.read("cache_ttl", STRING, _age_s, None),
        ),
    )


def post_processor(block: Block, context: BuildContext, found: Diagnostics) -> Component:
    """The post-processor of a block; findings are added to `found`."""
    keys = CommonKeys(block, context, found)
    return Component(
        kind="post-processor",
        type=block.labels[0].text,
        name=keys.read("name", STRING, lambda value: value.text, ""),
        config=context.config(block, POST_PROCESSOR_KEYS),
        range=block.range,
        only=keys.names("only"),
        except_=keys.names("except"),
        keep_input_artifact=keys.read("keep_input_artifact", BOOL, lambda value: value.truth, None),
    )


def _duration_s(value: Value) -> float:
    return parse_wait_s(value.text)


def _age_s(value: Value) -> float:
    age_s = parse_duration_s(value.text)
    if age_s < 0:
        raise UnitError("a duration that is not negative is required")
    return age_s


def _count(value: Value) -> int:
    if not value.number.is_integer or value.number.sign < 0:
        raise UnitError("a whole number, not negative, is required")
    return value.number.to_int()


class CommonKeys:
    """Reads the keys that the component itself understands, before anything runs."""

    def __init__(self, block: Block, context: BuildContext, found: Diagnostics) -> None:
        self.block = block
        self.found = found
        # These keys steer the build, so they cannot come from it: build has only its name here.
        build = object_of({"name": string(context.build_name)})
        self.scope = context.scope.child({"build": build})
        attributes = block.body.attributes
        if "only" in attributes and "except" in attributes:
            where = attributes["except"].name_range
            detail = 'Only one of "only" and "except" may be specified.'
            found.error("Conflicting arguments", detail, where, block.header)

    def read(self, name: str, wanted: Type, take: Callable[[Value], T], absent: T) -> T:
        """The value of a key, `absent` where it is not set or has a finding."""
        attribute = self.block.body.attributes.get(name)
        if attribute is None:
            return absent
        try:
            value = convert(evaluate(attribute.expression, self.scope), wanted)
            return absent if value.is_null or not value.is_wholly_known else take(value)
        except TemplateError as error:
            self.found.extend(with_subject(error.diagnostics, self.block.header))
            return absent
        except ConversionError as error:
            problem = error.message
        except UnitError as error:
            problem = error.message + (f"; {error.hint}" if error.hint else "")
        detail = f'Inappropriate value for attribute "{name}": {problem}.'
        where = attribute.expression.range
        self.found.error("Incorrect attribute value", detail, where, self.block.header)
        return absent

    def names(self, name: str) -> tuple[str, ...]:
        """The value of `only` or `except`."""
        return self.read(
            name,
            ListType(STRING),
            lambda value: tuple(one.text for one in value.elements if not one.is_null),
            (),
        )
