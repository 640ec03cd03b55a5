"""The one build that `disk-image-create` was asked for, as templates are told to the core."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from goldsmith.core.build import Build, Component, Template
from goldsmith.core.deferred import RawBody
from goldsmith.elements.description import DEFAULT_JOURNAL_MIB
from goldsmith.errors import Position, SourceRange
from goldsmith.template.dib.request import ImageRequest
from goldsmith.values.types import STRING
from goldsmith.values.value import Value, boolean, number, object_of, tuple_of

BUILDER: Final = "elements"
PLACE: Final = "the command line"
"""What stands for the file in findings about options."""


@dataclass(frozen=True, slots=True)
class PlainConfig:
    """A configuration without expressions, and without lines that findings could show."""

    options: Mapping[str, Any]

    def resolve(
        self, run_values: Mapping[str, Value] | None, announced: Iterable[str] = ()
    ) -> RawBody:
        """The options, whatever the run."""
        given = {name: value for name, value in self.options.items() if value is not None}
        return RawBody({name: plain_value(value) for name, value in given.items()})


def plain_value(plain: Any) -> Value:
    """Plain data as a value of templates; texts keep their form of Unicode."""
    if isinstance(plain, bool):
        return boolean(plain)
    if isinstance(plain, int):
        return number(plain)
    if isinstance(plain, Mapping):
        return object_of({name: plain_value(item) for name, item in plain.items()})
    if isinstance(plain, list | tuple):
        return tuple_of([plain_value(item) for item in plain])
    # A variable of the environment is not brought into another form of Unicode.
    return Value(STRING, str(plain))


def template_of(
    name: str, path: str, options: Mapping[str, Any], *, secrets: frozenset[str]
) -> Template:
    """A template with one build of the `elements` source; `options` are its options, plain."""
    start = Position(1, 1, 0)
    where = SourceRange(PLACE, start, start)
    source = Component(
        kind="builder", type=BUILDER, name=name, config=PlainConfig(options), range=where
    )
    build = Build(
        name=name, build_name="", source_type=BUILDER, source_name=name, source=source,
    )  # fmt: skip
    return Template(path=path, builds=(build,), sources={}, secrets=secrets)


def options_of(
    request: ImageRequest, environment: Mapping[str, str], arguments: str
) -> dict[str, Any]:
    """The options of the `elements` source for a request; `arguments` are the words given."""

    def size(size_bytes: int | None) -> str | None:
        return None if size_bytes is None else f"{size_bytes}B"

    return {
        "elements": list(request.elements), "skip_base": request.skip_base,
        "ramdisk": request.ramdisk, "ramdisk_element": request.ramdisk_element,
        "arch": request.arch, "image_name": request.name, "types": list(request.types),
        "packages": list(request.packages), "install_type": request.install_type,
        "environment": dict(environment), "offline": request.offline,
        "compat_elements": request.compat_elements, "image_size": size(request.size_bytes),
        "image_extra_size": size(request.extra_size_bytes), "image_cache": request.image_cache,
        "root_filesystem": request.root_filesystem, "root_label": request.root_label,
        "mkfs_options": list(request.mkfs_options),
        "journal_size": _journal(request.journal_size_mib),
        "max_online_resize": request.max_online_resize, "compress": request.compress,
        "qemu_img_options": request.qemu_img_options, "docker_target": request.docker_target,
        "checksums": list(request.checksums), "overwrite": request.overwrite,
        "trace": request.trace, "arguments": arguments,
    }  # fmt: skip


def _journal(size_mib: int) -> str | None:
    return None if size_mib == DEFAULT_JOURNAL_MIB else f"{size_mib}MiB"
