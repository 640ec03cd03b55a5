"""The input of `fa-build-image`, as fuel-agent's data driver `nailgun_build_image` reads it.

fuel-agent has no schema: what its code reads is the contract, and unknown keys are refused here.
Keys of our own stand beside its own: `allow_unsigned`, and of a repository `signed_by`, `trusted`
and `pin`.
"""

from __future__ import annotations

import re
import urllib.parse
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Annotated, Any, Final, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import PydanticCustomError

from goldsmith.core.options import did_you_mean
from goldsmith.disk.layout import FILE_SYSTEM_TYPES
from goldsmith.errors import GoldsmithError
from goldsmith.packages.apt_request import PACKAGE_NAME

M = TypeVar("M", bound=BaseModel)

_FILE_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+:@~-]{0,199}")
_MOST_ERRORS: Final = 50


class InputError(GoldsmithError):
    """The input is not what it has to be; the message has every finding, each with its path."""


def wrong(text: str) -> PydanticCustomError:
    """The error of one value; its text must have no value that may be a password."""
    # Their messages have no values: some values are passwords.
    return PydanticCustomError("input", "{text}", {"text": text})


def _is_package(name: str) -> str:
    if not PACKAGE_NAME.fullmatch(name):
        raise wrong(f"{name!r} is not the name of a package")
    return name


def _is_file_system(name: str) -> str:
    if name not in FILE_SYSTEM_TYPES or name == "swap":
        known = [one for one in FILE_SYSTEM_TYPES if one != "swap"]
        raise wrong(f"{name!r} is none of {', '.join(known)}.{did_you_mean(name, known)}")
    return name


def _is_mount(place: str) -> str:
    if not place.startswith("/") or (place != "/" and (place.endswith("/") or "//" in place)):
        raise wrong(f"{place!r} is not a mount point: an absolute path without a slash at its end")
    return place


def _is_password(text: str) -> str:
    if not text or not text.isprintable():
        raise wrong("a password is a text of one line, and not empty")
    return text


def _is_hash(text: str) -> str:
    if not re.fullmatch(r"\$[0-9a-z]{1,8}\$[^:\s]{8,500}|[./0-9A-Za-z]{13}", text):
        raise wrong("it is not a hash that shadow(5) takes, as `openssl passwd -6` makes")
    return text


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class ImageData(_Model):
    """One image; of `uri` only the file name at its end counts."""

    uri: str
    format: Annotated[str, AfterValidator(_is_file_system)]
    container: Literal["raw", "gzip", "zstd"]

    @property
    def file_name(self) -> str:
        """The name of the output file."""
        return PurePosixPath(urllib.parse.urlsplit(self.uri).path).name


class RepositoryData(_Model):
    """A repository; section "" is a flat one, uri "" stands for this host's own APT sources."""

    name: str
    type: Literal["deb"] = "deb"
    uri: str
    suite: str
    section: str = ""
    priority: int | None = None
    signed_by: str = Field(
        "", description="A keyring, or the armored key itself; by default the distribution's."
    )
    trusted: bool = Field(False, description="Take its packages without a signature.")
    pin: str = Field("", description="What the priority holds for, as in apt_preferences(5).")


class ProxyData(_Model):
    """Proxies by protocol, and hosts that are asked directly."""

    protocols: dict[Literal["http", "https", "ftp"], str] = {}
    direct_repo_addr_list: tuple[str, ...] = ()


class BuildInput(_Model):
    """What a set of images is to be made of, and where it goes."""

    image_data: dict[Annotated[str, AfterValidator(_is_mount)], ImageData]
    output: str = Field(min_length=1)
    repos: tuple[RepositoryData, ...] = Field(min_length=1)
    packages: tuple[Annotated[str, AfterValidator(_is_package)], ...] = ()
    codename: str | None = None
    root_password: Annotated[str, AfterValidator(_is_password)] | None = Field(None, repr=False)
    hashed_root_password: Annotated[str, AfterValidator(_is_hash)] | None = Field(None, repr=False)
    proxies: ProxyData = ProxyData()
    allow_unsigned: bool = Field(
        False, description="Take packages of every repository without a signature."
    )

    @property
    def name(self) -> str:
        """What the metadata are called: the root image's file name up to its first dot."""
        return self.image_data["/"].file_name.partition(".")[0]

    def findings(self) -> Iterator[str]:
        """What only shows when the parts are seen together, each with its path."""
        if "/" not in self.image_data:
            yield 'image_data: there is no image of "/", whose name the metadata get'
        names = Counter(image.file_name for image in self.image_data.values())
        for mount, image in self.image_data.items():
            if not _FILE_NAME.fullmatch(image.file_name):
                yield f"image_data.{mount}.uri: it does not end in a plain file name"
            elif names[image.file_name] > 1:
                yield f"image_data.{mount}.uri: another image has the same file name"
        yield from self.repository_findings()

    def repository_findings(self) -> Iterator[str]:
        """What is wrong with the repositories, each with its path."""
        first = self.repos[0]
        if first.section == "" and first.uri:
            yield "repos.0.section: the base system comes from this repository, and from a flat " \
                  "one it cannot"  # fmt: skip
        if self.codename is not None and self.codename != first.suite:
            yield f"codename: it is {self.codename!r}, and the first repository has the suite " \
                  f"{first.suite!r}"  # fmt: skip
        taken = Counter(repository_name(repo.name) for repo in self.repos)
        for number, repo in enumerate(self.repos):
            at = f"repos.{number}"
            if taken[repository_name(repo.name)] > 1:
                yield f"{at}.name: another repository has the same name"
            if number and not repo.uri:
                yield f"{at}.uri: only the first repository can be this host's own sources"
            if not repo.uri and (repo.signed_by or repo.trusted or repo.priority is not None):
                yield f"{at}: this host's own sources have their own keys and priorities"
            if repo.section == "" and repo.uri and not repo.suite.endswith("/"):
                yield f"{at}.suite: a repository without sections is flat, and its suite ends in " \
                      f'a slash: "{repo.suite}/"'  # fmt: skip
            if repo.pin and repo.priority is None:
                yield f"{at}.pin: it belongs to a priority"
            if repo.trusted and repo.signed_by:
                yield f"{at}: trusted and signed_by exclude each other"


def repository_name(name: str) -> str:
    """A repository's name as APT takes it for files."""
    return re.sub(r"[^A-Za-z0-9_-]", "-", name).lstrip("_-") or "repository"


def read_build_input(data: Any, origin: str) -> BuildInput:
    """Check plain data; raises InputError with everything that is wrong."""
    found = read_model(BuildInput, data, origin)
    findings = list(found.findings())
    if findings:
        raise input_error(findings, origin)
    return found


def read_model(model: type[M], data: Any, origin: str) -> M:
    """Plain data as a model; raises InputError with every path that is wrong, and no value."""
    if not isinstance(data, dict):
        raise input_error(["it is not a map"], origin)
    try:
        return model.model_validate(data)
    except ValidationError as e:
        errors = e.errors(include_input=False, include_url=False)
        # A list whose only entry is wrong counts as empty too.
        above = {error["loc"][:depth] for error in errors for depth in range(len(error["loc"]))}
        told = [
            _told(model, data, error["loc"], error["type"], error["msg"])
            for error in errors
            if error["type"] != "too_short" or error["loc"] not in above
        ]
        raise input_error(told, origin) from None


def input_error(findings: list[str], origin: str) -> InputError:
    """All findings as one error."""
    shown = findings[:_MOST_ERRORS]
    if len(findings) > len(shown):
        shown.append(f"and {len(findings) - len(shown)} more")
    return InputError("\n".join(f"{origin}: {finding}" for finding in shown),
                      hint="see docs/how-to/fuel-agent.md for the keys")  # fmt: skip


def _told(
    model: type[BaseModel], data: Any, place: tuple[int | str, ...], kind: str, text: str
) -> str:
    path = ".".join(str(part) for part in place if part != "[key]")
    if kind == "extra_forbidden":
        return f"{path}: there is no such key.{did_you_mean(str(place[-1]), _known(model, place))}"
    if kind == "missing":
        return f"{path}: it is missing"
    if kind == "too_short":
        return f"{path}: it is empty"
    if kind == "literal_error":
        text = text.replace("Input should be ", "it is ")
    return f"{path}: {text}"


def _known(model: type[BaseModel], place: tuple[int | str, ...]) -> list[str]:
    """The keys that could stand where an unknown one does."""
    current: Any = model
    for part in place[:-1]:
        if isinstance(current, type) and issubclass(current, BaseModel) and (
            field := current.model_fields.get(str(part))
        ):  # fmt: skip
            current = next(_models(field.annotation), None)
    is_model = isinstance(current, type) and issubclass(current, BaseModel)
    return list(current.model_fields) if is_model else []


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in getattr(annotation, "__args__", ()):
        yield from _models(argument)


def plain_passwords(data: Any) -> frozenset[str]:
    """What must not be told to anybody, wherever the rest of the data may be wrong."""
    if not isinstance(data, Mapping):
        return frozenset()
    found = {data.get("root_password")}
    proxies = data.get("proxies")
    protocols = proxies.get("protocols") if isinstance(proxies, Mapping) else None
    uris = list(protocols.values()) if isinstance(protocols, Mapping) else []
    repos = data.get("repos")
    for repo in repos if isinstance(repos, list) else []:
        if isinstance(repo, Mapping):
            uris.append(repo.get("uri"))
    for uri in uris:
        if isinstance(uri, str) and "@" in uri:
            user = urllib.parse.urlsplit(uri).netloc.rpartition("@")[0]
            password = user.partition(":")[2]
            found |= {password, urllib.parse.unquote(password)}
    return frozenset(text for text in found if isinstance(text, str) and text)
