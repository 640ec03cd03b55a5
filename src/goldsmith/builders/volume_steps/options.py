"""What templates say about mounting a volume, the same for every source that changes one."""

from __future__ import annotations

from typing import ClassVar, Final

from pydantic import Field, field_validator

from goldsmith.core.options import Options
from goldsmith.gotemplate.errors import GoTemplateError
from goldsmith.gotemplate.template import Template

PLAIN_WRAPPER: Final = "{{.Command}}"


class VolumeOptions(Options):
    """Options of every source that mounts a volume."""

    verbatim: ClassVar[frozenset[str]] = frozenset({
        "command_wrapper", "pre_mount_commands", "post_mount_commands",
    })  # fmt: skip

    mount_options: tuple[str, ...] = Field(
        (), description='Options for mounting the root, each as after "mount -o".'
    )
    pre_mount_commands: tuple[str, ...] = Field(
        (),
        description="Shell commands on this host before the root is mounted; {{.Device}} is the "
        "whole disk.",
    )
    post_mount_commands: tuple[str, ...] = Field(
        (),
        description="Shell commands on this host after the root is mounted, at {{.MountPath}}.",
    )
    command_wrapper: str = Field(
        PLAIN_WRAPPER,
        description="What these commands are wrapped in; {{.Command}} is the command.",
    )
    chroot_mounts: tuple[tuple[str, ...], ...] = Field(
        (),
        description="Further mounts for provisioners, each a list of type, source and path; the "
        'type "bind" shows a directory of this host.',
    )
    copy_files: tuple[str, ...] = Field(
        (),
        description="Files of this host that provisioners see at the same path; the image keeps "
        "its own.",
    )

    @field_validator("command_wrapper")
    @classmethod
    def _wraps(cls, given: str) -> str:
        try:
            rendered = Template.parse(given, {}).render({"Command": "\0"})
        except GoTemplateError as e:
            raise ValueError(str(e)) from e
        if "\0" not in rendered:
            raise ValueError("a wrapper without {{.Command}} would not run the command")
        return given

    @field_validator("pre_mount_commands")
    @classmethod
    def _knows_the_device(cls, given: tuple[str, ...]) -> tuple[str, ...]:
        return _rendering(given, {"Device": "/dev/x"})

    @field_validator("post_mount_commands")
    @classmethod
    def _knows_the_mount(cls, given: tuple[str, ...]) -> tuple[str, ...]:
        return _rendering(given, {"Device": "/dev/x", "MountPath": "/x"})

    @field_validator("chroot_mounts")
    @classmethod
    def _are_three(cls, given: tuple[tuple[str, ...], ...]) -> tuple[tuple[str, ...], ...]:
        for mount in given:
            if len(mount) != 3 or not all(mount):
                raise ValueError("each mount is three texts: type, source and path")
            if not mount[2].startswith("/"):
                raise ValueError(f"{mount[2]!r} is not an absolute path")
            if any("\0" in word for word in mount):
                raise ValueError("a mount holds no NUL")
        return given

    @field_validator("mount_options")
    @classmethod
    def _are_plain(cls, given: tuple[str, ...]) -> tuple[str, ...]:
        for option in given:
            if not option or not option.isprintable() or " " in option:
                raise ValueError(f"{option!r} is no option of mount")
        return given

    @field_validator("copy_files")
    @classmethod
    def _are_absolute(cls, given: tuple[str, ...]) -> tuple[str, ...]:
        for path in given:
            if not path.startswith("/") or not path.strip("/"):
                raise ValueError(f"{path!r} is not an absolute path of a file")
        return given


def _rendering(commands: tuple[str, ...], data: dict[str, str]) -> tuple[str, ...]:
    for command in commands:
        try:
            Template.parse(command, {}).render(data)
        except GoTemplateError as e:
            raise ValueError(str(e)) from e
    return commands
