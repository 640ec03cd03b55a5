"""What changes a tree before it becomes an image: one file per name that a template can say."""

from goldsmith.core.registry import Registry

_PLACES = {
    "file": "goldsmith.provisioners.file:FileProvisioner",
    "shell": "goldsmith.provisioners.shell:ShellProvisioner",
    "shell-local": "goldsmith.provisioners.shell_local:ShellLocalProvisioner",
}
_LATER = {
    name: "use a shell or file provisioner for now"
    for name in (
        "breakpoint", "sleep", "powershell", "windows-shell", "windows-restart",
        "hcp-sbom", "ansible", "ansible-local", "puppet-masterless", "puppet-server", "chef-solo",
        "chef-client", "salt-masterless", "converge", "inspec",
    )
}  # fmt: skip


def register(registry: Registry) -> None:
    """Add the provisioners of this room."""
    registry.register("provisioner", _PLACES)
    registry.plan("provisioner", _LATER)
