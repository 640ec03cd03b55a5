"""The YAML front end: a list of images, each a map of what `disk-image-create` takes.

Source: `specs/diskimage-builder.md`, A1.2.
"""

from __future__ import annotations

import functools
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from goldsmith.disk.block_devices.yaml_text import Item, read_yaml
from goldsmith.disk.findings import unknown
from goldsmith.elements.secret_variables import is_secret, without_secret_words
from goldsmith.errors import Diagnostics
from goldsmith.template.dib.request import TYPES

ARCHITECTURES: Final = ("aarch64", "amd64", "arm64", "armhf", "powerpc", "ppc64", "ppc64el",
                        "ppc64le", "s390x", "x86_64")  # fmt: skip


@dataclass(frozen=True, slots=True)
class ImageCommand:
    """A command that makes one image, with the variables that it is given.

    As a text it is for people to read: what is secret is not in it.
    """

    words: tuple[str, ...]
    environment: Mapping[str, str]

    def __str__(self) -> str:
        shown = functools.partial(without_secret_words, environment=self.environment)
        given = [f"{name}={'***' if is_secret(name) else shlex.quote(shown(value))}"
                 for name, value in self.environment.items()]  # fmt: skip
        return " ".join([*given, shlex.join(map(shown, self.words))])


Check = Callable[[Item], str]
"""Says what is wrong with a value, "" for nothing."""
Words = Callable[[Any], Sequence[str]]


_NO_WORD: Final = re.compile("[\0\ud800-\udfff]")


def _is_word(value: Any) -> bool:
    """Whether a program can be given it."""
    return isinstance(value, str) and not _NO_WORD.search(value)


def _text(item: Item) -> str:
    return "" if _is_word(item.value) else "it is a text (in UTF-8, without NUL)"


def _flag(item: Item) -> str:
    return "" if isinstance(item.value, bool) else "it is true or false"


def _whole(least: int, most: int | None = None) -> Check:
    def check(item: Item) -> str:
        value = item.value
        fits = isinstance(value, int) and not isinstance(value, bool) and value >= least
        if fits and (most is None or value <= most):
            return ""
        limit = f"from {least} to {most}" if most is not None else f"of at least {least}"
        return f"it is a whole number {limit}"

    return check


def _one_of(words: Sequence[str]) -> Check:
    def check(item: Item) -> str:
        if item.value in words:
            return ""
        return f"it is one of {', '.join(words)}"

    return check


def _texts(item: Item) -> str:
    values = item.value if isinstance(item.value, list) else None
    good = values is not None and all(_is_word(one.value) for one in values)
    return "" if good else "it is a list of texts (in UTF-8, without NUL)"


def _types(item: Item) -> str:
    return _texts(item) or next(
        (f'"{one.value}" is none of {", ".join(TYPES)}' for one in item.value
         if one.value not in TYPES), "",
    )  # fmt: skip


def _map(item: Item) -> str:
    told = "it is a map of texts (in UTF-8, without NUL)"
    if not isinstance(item.value, dict):
        return told
    for name, one in item.entries.items():
        if not isinstance(one.value, str):
            return f"{told}; put the value of {name} in quotes"
        if not (_is_word(name) and _is_word(one.value)):
            return told
    return ""


def _variables(item: Item) -> str:
    wrong = [name for name in item.entries if "=" in name]
    return _map(item) or (f'"{wrong[0]}" is no name of a variable' if wrong else "")


def _value(flag: str) -> Words:
    return lambda value: [] if value == "" else [flag, str(value)]


def _listed(flag: str) -> Words:
    return lambda value: [flag, ",".join(value)] if value else []


def _when(flag: str) -> Words:
    return lambda value: [flag] if value else []


_KEYS: Final[Mapping[str, tuple[Check, Words]]] = {
    "imagename": (_text, _value("-o")),
    "arch": (_one_of(ARCHITECTURES), _value("-a")),
    "types": (_types, _listed("-t")),
    "environment": (_variables, lambda value: []),
    "ramdisk": (_flag, lambda value: []),
    "debug-trace": (_whole(0, 2), lambda value: ["-x"] * value),
    "uncompressed": (_flag, _when("-u")),
    "clear": (_flag, _when("-c")),
    "logfile": (_text, _value("--logfile")),
    "checksum": (_flag, _when("--checksum")),
    "image-size": (_whole(1), _value("--image-size")),
    "image-extra-size": (_whole(1), _value("--image-extra-size")),
    "image-cache": (_text, _value("--image-cache")),
    "max-online-resize": (_whole(1), _value("--max-online-resize")),
    "min-tmpfs": (_whole(1), _value("--min-tmpfs")),
    "mkfs-journal-size": (_whole(1), _value("--mkfs-journal-size")),
    "mkfs-options": (_text, _value("--mkfs-options")),
    "no-tmpfs": (_flag, _when("--no-tmpfs")),
    "offline": (_flag, _when("--offline")),
    "qemu-img-options": (
        _map,
        lambda value: _listed("--qemu-img-options")([f"{k}={v}" for k, v in value.items()]),
    ),
    "root-label": (_text, _value("--root-label")),
    "ramdisk-element": (_text, _value("--ramdisk-element")),
    "install-type": (_one_of(("source", "package")), _value("--install-type")),
    "docker-target": (_text, _value("--docker-target")),
    "packages": (_texts, _listed("-p")),
    "skip-base": (_flag, _when("-n")),
    "elements": (_texts, list),
}


def read_images(texts: Sequence[tuple[str, str]], findings: Diagnostics) -> list[ImageCommand]:
    """The commands of some files, as pairs of name and text, one for each image.

    Entries of one `imagename` are merged in order: a plain value is replaced, a list grows, a map
    is updated. An entry without a name belongs to the image before it; the first one is `image`, if
    the environment's IMAGE_NAME says nothing else.
    """
    images: dict[str, dict[str, Any]] = {}
    name = "image"
    for filename, text in texts:
        document = read_yaml(text, filename, findings)
        if document is None:
            continue
        if not isinstance(document.value, list):
            findings.error("the file is not a list of images", f"it is {document.kind}",
                           document.place)  # fmt: skip
            continue
        for entry in document.value:
            checked = _checked(entry, findings)
            name = checked.get("imagename", name)
            _merge(images.setdefault(name, {}), checked)
    return [_command(image) for image in images.values()]


def _checked(entry: Item, findings: Diagnostics) -> dict[str, Any]:
    """The plain values of an entry, without those that are wrong."""
    if not isinstance(entry.value, dict):
        findings.error("an image is a map", f"this one is {entry.kind}", entry.place)
        return {}
    found: dict[str, Any] = {}
    for key, item in entry.entries.items():
        if key not in _KEYS:
            meant = unknown(key, sorted(_KEYS)) or ""
            findings.error(f'there is no key "{key}"', meant, item.place)
            continue
        wrong = _KEYS[key][0](item)
        if wrong:
            findings.error(f"{key}: {wrong}", "", item.place)
        else:
            found[key] = _plain(item)
    return found


def _plain(item: Item) -> Any:
    if isinstance(item.value, list):
        return [_plain(one) for one in item.value]
    if isinstance(item.value, dict):
        return {name: _plain(one) for name, one in item.entries.items()}
    return item.value


def _merge(image: dict[str, Any], entry: Mapping[str, Any]) -> None:
    for key, value in entry.items():
        old = image.get(key)
        if isinstance(old, list):
            image[key] = old + value
        elif isinstance(old, dict):
            image[key] = old | value
        else:
            image[key] = value


def _command(image: Mapping[str, Any]) -> ImageCommand:
    program = "ramdisk-image-create" if image.get("ramdisk") else "disk-image-create"
    words = [word for key, (_, make) in _KEYS.items() if key in image for word in make(image[key])]
    return ImageCommand((program, *words), image.get("environment", {}))
