"""The input of `fa-build-image` as the one build that it asks for: an image set and its place."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Final

from goldsmith.core.build import Build, Component, Template
from goldsmith.core.deferred import RawBody
from goldsmith.errors import Position, SourceRange
from goldsmith.template.dib.build import plain_value
from goldsmith.template.fuel import bootstrap
from goldsmith.template.fuel.bootstrap_input import BootstrapInput
from goldsmith.template.fuel.build_input import BuildInput, RepositoryData, repository_name
from goldsmith.values.value import Value

BUILDER: Final = "image"
_HTTPS_BY_PACKAGE: Final = frozenset({"jessie", "stretch", "precise", "trusty", "xenial"})
"""Releases whose APT learns https from a package of its own."""


@dataclass(frozen=True, slots=True)
class DataConfig:
    """A configuration without expressions, in which maps stand for blocks."""

    options: Mapping[str, Any]
    range: SourceRange

    def resolve(
        self, run_values: Mapping[str, Value] | None, announced: Iterable[str] = ()
    ) -> RawBody:
        """The options, whatever the run."""
        given = {name: plain_value(value) for name, value in self.options.items()
                 if value is not None}  # fmt: skip
        return RawBody(given, range=self.range, objects_as_blocks=True)


def template_of(
    path: str,
    origin: str,
    given: BuildInput,
    *,
    build_directory: str,
    password_hash: str | None,
    secrets: frozenset[str],
) -> Template:
    """The build of an input; `origin` names that in messages, `password_hash` is root's.

    An output that is no directory is published to, from a directory of its own below
    `build_directory`; the parts of a bootstrap image are made in `build_directory` itself.
    """
    start = Position(1, 1, 0)
    where = SourceRange(origin, start, start)

    def component(kind: str, type: str, options: Mapping[str, Any]) -> Component:
        return Component(kind=kind, type=type, name=given.name if kind == "builder" else type,
                         config=DataConfig(options, where), range=where)  # fmt: skip

    staging = staging_directory(given, build_directory)
    directory, destination = _output(given.output) or "", None
    if isinstance(given, BootstrapInput):
        directory = build_directory
    elif staging is not None:
        directory, destination = str(staging), given.output
    published = () if destination is None else (
        (component("post-processor", "publish", {"destination": destination}),),
    )  # fmt: skip
    prepared = [component("provisioner", "fuel-target", {"root_password_hash": password_hash})]
    if isinstance(given, BootstrapInput):
        prepared += [component("provisioner", *one) for one in bootstrap.provisioners(given)]
    build = Build(
        name=given.name, build_name="", source_type=BUILDER, source_name=given.name,
        source=component("builder", BUILDER, _image_options(given, directory)),
        provisioners=tuple(prepared), post_processors=published,
    )  # fmt: skip
    return Template(path=path, builds=(build,), sources={}, secrets=secrets)


def staging_directory(given: BuildInput, build_directory: str) -> PurePosixPath | None:
    """Where images lie that are published elsewhere; None where they are made in their place."""
    if isinstance(given, BootstrapInput) or _output(given.output) is not None:
        return None
    return PurePosixPath(build_directory, f"{given.name}.fuel-agent-image-set")


def _output(output: str) -> str | None:
    """The directory that an output names; None for an address of something else."""
    if output.startswith("file://"):
        return output.removeprefix("file://")
    return None if "://" in output else output


def _image_options(given: BuildInput, directory: str) -> dict[str, Any]:
    if isinstance(given, BootstrapInput):
        images = bootstrap.image_set(given)
    else:
        images = {"metadata": given.name, "image": _images(given)}
    return {
        "bootstrap": _bootstrap(given), "output_directory": directory, "image_name": given.name,
        "image_set": images,
    }  # fmt: skip


def _images(given: BuildInput) -> dict[str, Any]:
    return {
        mount: {"filesystem": image.format, "container": image.container, "file": image.file_name}
        for mount, image in given.image_data.items()
    }


def _bootstrap(given: BuildInput) -> dict[str, Any]:
    first = given.repos[0]
    blocks = [repo for repo in given.repos if repo.uri]
    options: dict[str, Any] = {
        "suite": first.suite, "packages": list(_packages(given)),
        "proxies": dict(given.proxies.protocols),
        "direct_hosts": list(given.proxies.direct_repo_addr_list),
        "repository": {
            repository_name(repo.name): _repository(repo, given.allow_unsigned) for repo in blocks
        },
    }  # fmt: skip
    if first.uri:
        options["base"] = repository_name(first.name)
    else:
        options["components"] = first.section.split()
    return options


def _packages(given: BuildInput) -> Iterable[str]:
    """The packages asked for, and those by which APT in the image reads its repositories."""
    own = ["ca-certificates"]
    if given.repos[0].suite in _HTTPS_BY_PACKAGE:
        own.append("apt-transport-https")
    return dict.fromkeys([*given.packages, *own])


def _repository(repo: RepositoryData, allow_unsigned: bool) -> dict[str, Any]:
    options: dict[str, Any] = {
        "uri": repo.uri, "suite": repo.suite, "build_only": False,
        "trusted": repo.trusted or (allow_unsigned and not repo.signed_by),
    }  # fmt: skip
    if repo.section:
        options["components"] = repo.section.split()
    if repo.priority is not None:
        options["priority"] = repo.priority
    options |= {name: text for name, text in (("signed_by", repo.signed_by), ("pin", repo.pin))
                if text}  # fmt: skip
    return options
