"""What a template can say of the tree in `bootstrap` of `source "image"`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, ClassVar, Final, Literal

from pydantic import AfterValidator, Field, field_validator, model_validator

from goldsmith.core.options import Options
from goldsmith.elements.option_types import ElementDirectory, ElementName, ElementVariables
from goldsmith.packages import repositories
from goldsmith.packages.apt_request import PACKAGE_NAME
from goldsmith.packages.apt_sources import AptSource
from goldsmith.packages.keyrings import keyring_for, read_key

_MIRROR = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:\S+")
_COMPONENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/+-]*")
_REPOSITORY_SUITE = re.compile(r"[A-Za-z0-9./][A-Za-z0-9._/+~-]*")
_PINNED = re.compile(r"[A-Za-z0-9*?/^$\[\].+:~-]+")
_OF_ELEMENTS: Final = frozenset(
    {"elements", "elements_path", "environment", "skip_base", "compat_elements"}
)


def _listed(names: Iterable[str]) -> str:
    *first, last = sorted(names)
    return f"{', '.join(first)} and {last}"


def _require_uri(given: str) -> None:
    if not (_MIRROR.fullmatch(given) and given.isprintable()):
        raise ValueError('a mirror is one URI without blanks: "http://HOST/PATH", "file:/PATH"')


def _is_package(name: str) -> str:
    if not PACKAGE_NAME.fullmatch(name):
        raise ValueError(f"{name!r} is not the name of a package")
    return name


def _is_component(name: str) -> str:
    if not _COMPONENT.fullmatch(name):
        raise ValueError(f"{name!r} is not the name of an archive component")
    return name


PackageName = Annotated[str, AfterValidator(_is_package)]
ComponentName = Annotated[str, AfterValidator(_is_component)]


class Repository(Options):
    """A further repository of packages, besides those of the suite."""

    labels: ClassVar[tuple[str, ...]] = ("name",)

    name: str = Field(description="The block's label.")
    uri: str = Field(description="Its address.")
    suite: str = Field(
        description='Its suite; one that ends in a slash, "./", is a flat repository.'
    )
    components: tuple[ComponentName, ...] | None = Field(
        None, description="Its components; by default main, and none of a flat repository."
    )
    signed_by: str = Field(
        "",
        description="The keyring that it is signed with, or the armored key itself; by default "
        "that of the distribution.",
    )
    priority: int | None = Field(
        None, description="How its packages rank among other versions: apt_preferences(5)."
    )
    pin: str = Field(
        "",
        description='What the priority holds for, for example "release o=Debian"; by default '
        "this repository.",
    )
    pinned_packages: tuple[str, ...] = Field(
        ("*",), description="The packages that the priority holds for; names and patterns."
    )
    build_only: bool = Field(
        True, description="Whether the finished image is without it and its priority."
    )
    trusted: bool = Field(False, description="Take its packages without a signature.")

    @model_validator(mode="after")
    def _belongs_together(self) -> Repository:
        _require_uri(self.uri)
        if not repositories.REPOSITORY_NAME.fullmatch(self.name):
            raise ValueError(f"{self.name!r} cannot name a repository: letters, digits, _ and -")
        if not _REPOSITORY_SUITE.fullmatch(self.suite):
            raise ValueError(f"{self.suite!r} is not the name of a suite")
        if self.priority is None and (self.pin or self.pinned_packages != ("*",)):
            raise ValueError("pin and pinned_packages belong to a priority")
        if self.priority is not None and self.priority not in repositories.PRIORITIES:
            raise ValueError("a priority is a number from -32768 to 32767")
        if self.pin and not repositories.PIN_EXPRESSION.fullmatch(self.pin):
            raise ValueError(
                'a pin is "release CONDITIONS", "origin HOST" or "version PATTERN" on one line'
            )
        if not self.pinned_packages or any(not _PINNED.fullmatch(p) for p in self.pinned_packages):
            raise ValueError("pinned_packages are names and patterns without blanks")
        if self.trusted and self.signed_by:
            raise ValueError("trusted and signed_by exclude each other")
        if self.suite.endswith("/") and self.components:
            raise ValueError(f'the flat repository "{self.suite}" has no components')
        return self

    def to_repository(self, directory: Path) -> repositories.Repository:
        """The same repository with its key read; paths are relative to `directory`.

        Raises PackageError for a keyring that is not there, or is none.
        """
        flat = self.suite.endswith("/")
        components = self.components or (() if flat else ("main",))
        source = AptSource(("deb",), (self.uri,), (self.suite,), components, self._key(directory))
        return repositories.Repository(
            self.name, source, build_only=self.build_only, trusted=self.trusted,
            priority=self.priority, pin=self.pin, pinned_packages=self.pinned_packages,
        )  # fmt: skip

    def _key(self, directory: Path) -> str:
        if self.trusted:
            return ""
        if not self.signed_by:
            return keyring_for(self.suite)
        inline = "BEGIN PGP" in self.signed_by
        return self.signed_by if inline else read_key(directory / self.signed_by)


class Bootstrap(Options):
    """Where the tree comes from."""

    method: Literal["apt", "tar", "directory", "image", "elements"] = Field(
        "apt",
        description="apt installs packages; tar, directory and image take a finished tree; "
        "elements runs elements of diskimage-builder.",
    )
    elements: tuple[ElementName, ...] = Field(
        (), description='The elements, as disk-image-create takes them: "vm", "debian-minimal".'
    )
    elements_path: tuple[ElementDirectory, ...] = Field(
        (), description="Directories that hold elements of your own, before upstream's."
    )
    environment: ElementVariables = Field(
        {},
        description="The variables that elements see: DIB_RELEASE and so on. Of those of this host "
        "they see none.",
    )
    skip_base: bool = Field(False, description='Do without the element "base".')
    compat_elements: bool = Field(
        True,
        description="Add goldsmith's elements apt-keys and build-settings to images made by APT.",
    )
    suite: str | None = Field(None, description='The release, for example "bookworm".')
    mirror: str = Field(
        "", description="Where packages come from; by default this host's own APT sources."
    )
    keyring: str = Field(
        "",
        description="The keyring that the mirror is signed with; by default that of the "
        "distribution.",
    )
    components: tuple[ComponentName, ...] = Field(
        (), description="Archive components; by default what the sources say, else main."
    )
    repository: tuple[Repository, ...] = Field(
        (), description="Further repositories, for the build alone or for the image too."
    )
    base: str | None = Field(
        None,
        description="The repository block that the base system comes from, in place of a mirror "
        "and of this host's sources: then no other than the repository blocks are used.",
    )
    proxies: dict[str, str] = Field(
        {},
        description="The proxies for http, https and ftp by these names, in place of this host's.",
    )
    direct_hosts: tuple[str, ...] = Field(
        (), description="Hosts that are asked without the proxies."
    )
    packages: tuple[PackageName, ...] = Field(
        (),
        description="Packages besides the essential ones; with elements, those that are installed "
        "after the phase install.d.",
    )
    variant: Literal["minbase", "important", "standard"] = Field(
        "minbase", description="Which packages are installed without being named."
    )
    engine: Literal["mmdebstrap", "store"] | None = Field(
        None,
        description="Who unpacks packages: mmdebstrap, or goldsmith from packages that it has "
        "unpacked once, which dpkg then only configures. By default the store, and mmdebstrap "
        "where the packages or the user do not allow it.",
    )
    source: str | None = Field(
        None, description="The archive, directory or disk image (tar, directory, image)."
    )
    partition: int | None = Field(
        None, description="The number of the root's partition in the image; by default it is found."
    )
    apt_sources: str | None = Field(
        None, description="The finished image's APT sources, in deb822 form."
    )
    keep_build_sources: bool = Field(
        False, description="Let the finished image keep the sources that the build used."
    )

    @model_validator(mode="after")
    def _belongs_together(self) -> Bootstrap:
        if self.method == "apt" and not self.suite:
            raise ValueError('method "apt" needs a suite, for example suite = "bookworm"')
        if self.method in ("apt", "elements") and self.source:
            raise ValueError('source belongs to the methods "tar", "directory" and "image"')
        if self.method not in ("apt", "elements") and not self.source:
            raise ValueError(f'method "{self.method}" needs a source')
        self._require_own_options()
        if self.method != "image" and self.partition is not None:
            raise ValueError('partition belongs to the method "image"')
        if self.keyring and not self.mirror:
            raise ValueError("a keyring belongs to a mirror: this host's sources name their own")
        if self.base is not None:
            self._require_base(self.base)
        names = [repository.name for repository in self.repository]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f'there are two repositories "{name}"')
        return self

    def _require_base(self, name: str) -> None:
        """Raise ValueError when the base system cannot come from a repository of that name."""
        if self.mirror:
            raise ValueError("base and mirror exclude each other")
        block = next((block for block in self.repository if block.name == name), None)
        if block is None:
            raise ValueError(f'base = "{name}" needs a block repository "{name}" {{ … }}')
        if block.suite != self.suite:
            raise ValueError(f'the base repository has the suite "{block.suite}", the tree '
                             f'"{self.suite}"')  # fmt: skip

    def _require_own_options(self) -> None:
        """Raise ValueError for options of another method."""
        from_mirror = bool(self.mirror or self.suite or self.keyring or self.repository
                           or self.base or self.proxies or self.direct_hosts)  # fmt: skip
        if self.method == "elements":
            if not self.elements:
                raise ValueError(
                    'method "elements" needs elements, for example ["vm", "debian-minimal"]'
                )
            if from_mirror or self.apt_sources is not None or self.keep_build_sources:
                raise ValueError(
                    'with the method "elements" the elements say where packages come from, by '
                    "variables of the environment such as DIB_DISTRIBUTION_MIRROR: suite, mirror, "
                    "keyring, repository, apt_sources and keep_build_sources belong to others"
                )
            return
        if self.model_fields_set & _OF_ELEMENTS:
            raise ValueError(f'{_listed(_OF_ELEMENTS)} belong to the method "elements"')
        if self.method != "apt" and (self.packages or from_mirror):
            raise ValueError(
                f'method "{self.method}" installs nothing: packages, mirror, keyring, repository '
                'and suite belong to "apt"; install more in a shell provisioner'
            )

    def repositories(self, directory: Path) -> tuple[repositories.Repository, ...]:
        """The further repositories with their keys; raises PackageError."""
        first = sorted(self.repository, key=lambda block: block.name != self.base)
        return tuple(block.to_repository(directory) for block in first)

    def signed_by(self, directory: Path) -> str:
        """The mirror's key as text, "" for the distribution's own; raises PackageError."""
        return read_key(directory / self.keyring) if self.keyring else ""

    @field_validator("proxies")
    @classmethod
    def _are_proxies(cls, given: dict[str, str]) -> dict[str, str]:
        for name, uri in given.items():
            if name not in ("http", "https", "ftp"):
                raise ValueError(f"there are proxies for http, https and ftp, none for {name!r}")
            if '"' in uri or not (uri == "DIRECT" or _MIRROR.fullmatch(uri)) or not uri.isascii():
                raise ValueError(f'the proxy for {name} is an address: "http://HOST:PORT"')
        return given

    @field_validator("direct_hosts")
    @classmethod
    def _are_hosts(cls, given: tuple[str, ...]) -> tuple[str, ...]:
        for host in given:
            if not re.fullmatch(r"[A-Za-z0-9._:\[\]-]+", host):
                raise ValueError(f"{host!r} is not the name of a host")
        return given

    @field_validator("mirror")
    @classmethod
    def _is_uri(cls, given: str) -> str:
        # It becomes a line of deb822. It is not shown: it may have a password.
        if given:
            _require_uri(given)
        return given

    @field_validator("suite")
    @classmethod
    def _is_word(cls, given: str | None) -> str | None:
        if given is not None and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._/-]*", given):
            raise ValueError(f"{given!r} is not the name of a suite")
        return given
