"""Options of the `ansible` provisioner."""

from __future__ import annotations

from typing import ClassVar, Final

from pydantic import Field, field_validator, model_validator

from goldsmith.core.options import Options
from goldsmith.core.script_environment import VariablePairs
from goldsmith.gotemplate.errors import GoTemplateError
from goldsmith.gotemplate.template import Template

DEFAULT_COMMAND: Final = "ansible-playbook"
DEFAULT_GALAXY_COMMAND: Final = "ansible-galaxy"

_NO_SSH: Final = "No effect: there is no SSH between goldsmith and Ansible."


class SshOptions(Options):
    """Options that set up the SSH server between Packer and Ansible; here there is none."""

    ansible_proxy_bind_address: str | None = Field(None, description=_NO_SSH)
    ansible_proxy_host_key_type: str | None = Field(None, description=_NO_SSH)
    ansible_proxy_key_type: str | None = Field(None, description=_NO_SSH)
    ansible_ssh_extra_args: tuple[str, ...] | None = Field(None, description=_NO_SSH)
    ansible_winrm_use_http: bool | None = Field(None, description=_NO_SSH)
    keep_inventory_file: bool | None = Field(None, description=_NO_SSH)
    local_port: int | None = Field(None, description=_NO_SSH)
    sftp_command: str | None = Field(None, description=_NO_SSH)
    skip_version_check: bool | None = Field(None, description=_NO_SSH)
    ssh_authorized_key_file: str | None = Field(None, description=_NO_SSH)
    ssh_host_key_file: str | None = Field(None, description=_NO_SSH)
    use_proxy: bool | None = Field(None, description=_NO_SSH)
    use_sftp: bool | None = Field(None, description=_NO_SSH)


class AnsibleOptions(SshOptions):
    """Options of the `ansible` provisioner."""

    go_templates: ClassVar[bool] = True
    verbatim: ClassVar[frozenset[str]] = frozenset({"inventory_file_template"})

    playbook_file: str = Field(min_length=1, description="The playbook, on this host.")
    extra_arguments: tuple[str, ...] = Field(
        (), description="Further arguments of ansible-playbook; they stand on no list of processes."
    )
    extra_vars: dict[str, str] = Field(
        default_factory=dict, description="Variables that win over all others (goldsmith's own)."
    )
    ansible_env_vars: VariablePairs = Field(
        (), description='Variables for Ansible itself, each "NAME=value".'
    )
    host_alias: str = Field(
        "default", description="What the inventory calls the machine.", min_length=1
    )
    user: str = Field(
        "root",
        description="Who tasks run as; in a tree they start as root, on a machine as who logs in.",
    )
    groups: tuple[str, ...] = Field((), description="Groups of the inventory that it is in.")
    empty_groups: tuple[str, ...] = Field((), description="Groups that are there, with no host.")
    inventory_file: str | None = Field(
        None, description="An inventory of yours; what it says of `host_alias` counts."
    )
    inventory_directory: str | None = Field(
        None, description="A directory with inventories, group_vars and host_vars."
    )
    inventory_file_template: str | None = Field(
        None,
        description="The inventory's line for the machine: {{ .HostAlias }}, {{ .User }}.",
    )
    roles_path: str | None = Field(
        None, description="Where roles lie: directories with colons between them."
    )
    collections_path: str | None = Field(
        None, description="Where collections lie: directories with colons between them."
    )
    galaxy_file: str | None = Field(
        None, description="Requirements that ansible-galaxy installs, for this run only."
    )
    galaxy_force_install: bool = Field(
        False, description="No effect: what galaxy_file names is installed anew for each run."
    )
    galaxy_force_with_deps: bool = Field(False, description="No effect, for the same reason.")
    galaxy_command: str = Field(
        DEFAULT_GALAXY_COMMAND, min_length=1, description="Another ansible-galaxy."
    )
    command: str = Field(
        DEFAULT_COMMAND,
        min_length=1,
        description="Another ansible-playbook than that of goldsmith's own Python; its arguments "
        "are for every user to see, so none may be secret.",
    )
    inputs: tuple[str, ...] = Field(
        (),
        description="Further files and directories that the playbook reads: they belong to the "
        "key of the step (goldsmith's own).",
    )
    needs_python: bool = Field(
        True,
        description="Whether to stop at once where the tree has no Python; false for a playbook "
        "that installs it by `raw` (goldsmith's own).",
    )
    network: bool = Field(
        True, description="Whether tasks in the tree see the host's network, or an empty one."
    )

    @field_validator("host_alias", "user")
    @classmethod
    def _is_a_word(cls, given: str) -> str:
        if not given or any(c.isspace() or c in "'\"#=[]{}:" for c in given):
            raise ValueError(f"{given!r} cannot stand in an inventory")
        return given

    @field_validator("groups", "empty_groups")
    @classmethod
    def _are_names(cls, given: tuple[str, ...]) -> tuple[str, ...]:
        for name in given:
            if not name or any(c.isspace() or c in "'\"#=[]{}" for c in name):
                raise ValueError(f"{name!r} cannot be the name of a group")
        return given

    @field_validator("inventory_file_template")
    @classmethod
    def _renders(cls, given: str | None) -> str | None:
        try:
            if given is not None:
                render_host(given, "name", "user")
        except GoTemplateError as e:
            raise ValueError(str(e)) from e
        return given

    @model_validator(mode="after")
    def _one_inventory(self) -> AnsibleOptions:
        if self.inventory_file is not None and self.inventory_directory is not None:
            raise ValueError("give inventory_file or inventory_directory, not both")
        return self


def render_host(template: str, host_alias: str, user: str) -> str:
    """The inventory's line for the machine, of `inventory_file_template`."""
    data = {"HostAlias": host_alias, "Host": host_alias, "ID": host_alias, "User": user, "Port": 22}
    return Template.parse(template, {}).render(data)


def given_ssh_options(options: AnsibleOptions) -> list[str]:
    """The names of given options that have no effect here."""
    return [name for name in SshOptions.model_fields if getattr(options, name) is not None]
