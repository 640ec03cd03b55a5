"""What changes a tree before it becomes an image: one file per name that a template can say."""

from goldsmith.core.registry import Registry

_PLACES = {
    "ansible": "goldsmith.provisioners.ansible.provisioner:AnsibleProvisioner",
    "breakpoint": "goldsmith.provisioners.breakpoint:BreakpointProvisioner",
    "elements": "goldsmith.provisioners.elements:ElementsProvisioner",
    "file": "goldsmith.provisioners.file:FileProvisioner",
    "fuel-target": "goldsmith.provisioners.fuel_target:FuelTargetProvisioner",
    "powershell": "goldsmith.provisioners.powershell:PowershellProvisioner",
    "shell": "goldsmith.provisioners.shell:ShellProvisioner",
    "shell-local": "goldsmith.provisioners.shell_local:ShellLocalProvisioner",
    "sleep": "goldsmith.provisioners.sleep:SleepProvisioner",
    "windows-restart": "goldsmith.provisioners.windows_restart:WindowsRestartProvisioner",
    "windows-shell": "goldsmith.provisioners.windows_shell:WindowsShellProvisioner",
}
_LATER = {
    **{
        name: "use a shell or file provisioner for now"
        for name in (
            "ansible-local", "puppet-masterless", "puppet-server", "chef-solo",
            "chef-client", "salt-masterless", "converge", "inspec",
        )
    },
}  # fmt: skip
_REFUSED = {
    "hcp-sbom": "it fills a registry of HCP Packer, to which goldsmith sends nothing; the manifest "
    "beside an image lists its packages, and a shell provisioner can run a scanner in the tree",
}


def register(registry: Registry) -> None:
    """Add the provisioners of this room."""
    registry.register("provisioner", _PLACES)
    registry.plan("provisioner", _LATER)
    registry.refuse("provisioner", _REFUSED)
