"""The options of a plugin's component: the model, secrets in it, and its form as an HCL2 schema."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Final, get_args, get_origin

from goldsmith.core.options import Options as CoreOptions
from goldsmith.core.options import language_type, nested_options, option_fields
from goldsmith.plugin.wire.hcl_spec import AttributeSpec, BlockListSpec, BlockSpec, ObjectSpec, Spec
from goldsmith.values.types import ListType, MapType, PrimitiveType, Type

_DEEPEST: Final = 16


class Options(CoreOptions):
    """The options of a component, a pydantic model: a field is an argument, another model a block.

    Every text is a Go template first ("{{build_name}}"), but those named in `verbatim`. Types are
    str, int, float, bool, Literal, lists, tuples and dictionaries of them, sizes and durations; a
    tuple of models is a block that may be repeated.
    """

    go_templates: ClassVar[bool] = True


class _Secret:
    """Says in an annotation that a text must not be shown."""


Secret = Annotated[str, _Secret()]
"""A text that is masked wherever the component tells something."""


def secrets_in(options: CoreOptions) -> Iterator[str]:
    """The secret texts in options and in their blocks."""
    for name, field in type(options).model_fields.items():
        value = getattr(options, name)
        secret = any(isinstance(one, _Secret) for one in field.metadata)
        if not secret and get_origin(field.annotation) is not None:
            secret = _annotates_secret(field.annotation)
        for one in value if isinstance(value, (list, tuple)) else (value,):
            if secret and isinstance(one, str):
                yield one
            elif isinstance(one, CoreOptions):
                yield from secrets_in(one)


def _annotates_secret(annotation: Any) -> bool:
    arguments = get_args(annotation)
    if get_origin(annotation) is Annotated:
        return any(isinstance(one, _Secret) for one in arguments[1:])
    return any(_annotates_secret(one) for one in arguments if get_origin(one) is not None)


def spec_of(model: type[CoreOptions]) -> ObjectSpec:
    """The schema of a model; raises TypeError for what no host could be told."""
    return _spec(model, 0)


def _spec(model: type[CoreOptions], depth: int) -> ObjectSpec:
    if depth > _DEEPEST:
        raise TypeError(f"the blocks of {model.__name__} are nested too deeply, or for ever")
    if model.labels:
        raise TypeError(f"{model.__name__} has labels, which the protocol of plugins cannot tell")
    entries: dict[str, Spec] = {}
    for name, field in option_fields(model).items():
        if name.startswith("packer_"):
            raise TypeError(f"{model.__name__}.{name}: names with packer_ belong to Packer")
        nested = nested_options(field.annotation)
        if nested is None:
            wanted = language_type(field.annotation, field.metadata)
            if not _is_tellable(wanted):
                raise TypeError(
                    f"{model.__name__}.{name}: an option must be a text, number or truth value, or "
                    "a list or dictionary of them; for anything else write a model of its own"
                )
            entries[name] = AttributeSpec(name, wanted, field.is_required())
        elif nested[1]:
            least = 1 if field.is_required() else 0
            entries[name] = BlockListSpec(name, _spec(nested[0], depth + 1), least)
        else:
            entries[name] = BlockSpec(name, _spec(nested[0], depth + 1), field.is_required())
    return ObjectSpec(entries)


def _is_tellable(wanted: Type) -> bool:
    if isinstance(wanted, (ListType, MapType)):
        return _is_tellable(wanted.element)
    return isinstance(wanted, PrimitiveType)
