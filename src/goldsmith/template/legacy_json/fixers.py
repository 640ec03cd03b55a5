"""What `fix` changes in old JSON templates: 34 fixers, in the order in which they run.

Each takes the parts that it is about and changes them in place. Values of an unexpected kind stay
as they are, as in Packer: they are not what the fixer is for.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

Part = dict[str, Any]
Template = dict[str, Any]

_CREATE_TIME = re.compile(r"\{\{\s*\.CreateTime\s*\}\}")
_CLEAN_NAME = re.compile(r"clean_(?:image|ami)_name")
_POWERSHELL_ESCAPE = re.compile(r"`([`$\"'])")


@dataclass(frozen=True, slots=True)
class Fixer:
    """A change to templates; `summary` is its line in the help."""

    name: str
    summary: str
    fix: Callable[[Template], None]


def fix_template(template: Template) -> Template:
    """Run every fixer over a template, which is changed, and returned."""
    for fixer in FIXERS:
        fixer.fix(template)
    template.setdefault("builders", None)
    return template


def _parts(template: Template, key: str, *types: str) -> Iterator[Part]:
    """The objects of a list of the template, of these types if any are named."""
    for part in template.get(key) or []:
        if isinstance(part, dict) and (not types or part.get("type") in types):
            yield part


def _builders(*types: str) -> Callable[[Template], Iterator[Part]]:
    return lambda template: _parts(template, "builders", *types)


def _amazon(template: Template) -> Iterator[Part]:
    for part in _parts(template, "builders"):
        if isinstance(part.get("type"), str) and part["type"].startswith("amazon"):
            yield part


def _provisioners(*types: str) -> Callable[[Template], Iterator[Part]]:
    return lambda template: _parts(template, "provisioners", *types)


def _post_processors(*types: str) -> Callable[[Template], Iterator[Part]]:
    """Those that stand alone and those of chains."""

    def found(template: Template) -> Iterator[Part]:
        for entry in template.get("post-processors") or []:
            for part in entry if isinstance(entry, list) else [entry]:
                if isinstance(part, dict) and (not types or part.get("type") in types):
                    yield part

    return found


def _each(
    parts: Callable[[Template], Iterator[Part]], change: Callable[[Part], None]
) -> Callable[[Template], None]:
    def fix(template: Template) -> None:
        for part in list(parts(template)):
            change(part)

    return fix


def _rename(old: str, new: str, *kinds: type, keep: bool = False) -> Callable[[Part], None]:
    """Rename a key whose value is of these kinds; with `keep` an existing new one wins."""

    def change(part: Part) -> None:
        if old not in part or (kinds and not isinstance(part[old], kinds)):
            return
        value = part.pop(old)
        if not (keep and new in part):
            part[new] = value

    return change


def _drop(key: str, *kinds: type) -> Callable[[Part], None]:
    def change(part: Part) -> None:
        if not kinds or isinstance(part.get(key), kinds):
            part.pop(key, None)

    return change


def _retype(new: str) -> Callable[[Part], None]:
    return lambda part: part.update(type=new)


def _all(*changes: Callable[[Part], None]) -> Callable[[Part], None]:
    def change(part: Part) -> None:
        for one in changes:
            one(part)

    return change


def _iso_md5(part: Part) -> None:
    if isinstance(part.get("iso_md5"), str):
        part["iso_checksum"], part["iso_checksum_type"] = part.pop("iso_md5"), "md5"


def _create_time(part: Part) -> None:
    for key in ("ami_name", "bundle_prefix", "snapshot_name"):
        if isinstance(part.get(key), str):
            part[key] = _CREATE_TIME.sub("{{timestamp}}", part[key])


def _guest_additions(part: Part) -> None:
    if isinstance(part.get("guest_additions_attach"), bool):
        attach = part.pop("guest_additions_attach")
        part["guest_additions_mode"] = "attach" if attach else "upload"


def _vagrant_override(part: Part) -> None:
    providers = [k for k in ("aws", "digitalocean", "virtualbox", "vmware") if k in part]
    if providers:
        part["override"] = {key: part.pop(key) for key in providers}


def _private_ip(part: Part) -> None:
    given = part.get("ssh_private_ip")
    known = isinstance(given, bool) or given in ("true", "false")
    if "ssh_interface" in part or not known:
        return
    part.pop("ssh_private_ip")
    part["ssh_interface"] = "private_ip" if given in (True, "true") else "public_ip"


def _source_cidrs(part: Part) -> None:
    if isinstance(part.get("temporary_security_group_source_cidr"), str):
        given = part.pop("temporary_security_group_source_cidr")
        part["temporary_security_group_source_cidrs"] = [given]


def _docker_tags(part: Part) -> None:
    given, tags = part.pop("tag", None), part.get("tags")
    found = given if isinstance(given, list) else []
    if isinstance(given, str):
        found = [one.strip() for one in given.split(",")]
    part["tags"] = [*found, *(tags if isinstance(tags, list) else [])]


def _powershell(part: Part) -> None:
    def unescaped(value: Any) -> Any:
        return _POWERSHELL_ESCAPE.sub(r"\1", value) if isinstance(value, str) else value

    if isinstance(part.get("environment_vars"), list):
        part["environment_vars"] = [unescaped(one) for one in part["environment_vars"]]
    for key in ("elevated_user", "elevated_password"):
        if key in part:
            part[key] = unescaped(part[key])


def _compaction(part: Part) -> None:
    if part.get("remote_type") != "esx5":
        return
    if part.setdefault("disk_type_id", "zeroedthick") != "thin":
        part["skip_compaction"] = True


def _clean_names(template: Template) -> None:
    if template.get("builders"):
        template["builders"] = _with_clean_names(template["builders"])


def _with_clean_names(value: Any) -> Any:
    match value:
        case str():
            return _CLEAN_NAME.sub("clean_resource_name", value)
        case list():
            return [_with_clean_names(one) for one in value]
        case dict():
            return {_with_clean_names(key): _with_clean_names(one) for key, one in value.items()}
        case _:
            return value


def _disk_size(part: Part) -> None:
    if isinstance(part.get("disk_size"), float):
        part["disk_size"] = f"{int(part['disk_size'])}M"


def _network_and_disk(part: Part) -> None:
    network = {
        new: part.pop(old)
        for old, new in (
            ("network", "network"), ("networkCard", "network_card"),
            ("network_card", "network_card"),
        )
        if old in part
    }  # fmt: skip
    sizes = ("disk_size", "disk_thin_provisioned", "disk_eagerly_scrub")
    storage = {key: part.pop(key) for key in sizes if key in part}
    for key, first in (("network_adapters", network), ("storage", storage)):
        if first:
            part[key] = [first, *(part[key] if isinstance(part.get(key), list) else [])]


def _checksum(part: Part) -> None:
    url, kind = part.pop("iso_checksum_url", None), part.pop("iso_checksum_type", None)
    given = part.get("iso_checksum")
    if url and isinstance(url, str):
        part["iso_checksum"] = f"file:{url}"
    elif kind and isinstance(kind, str) and given and isinstance(given, str):
        part["iso_checksum"] = f"{kind}:{given}"


def _azure(part: Part) -> None:
    destination = part.get("shared_image_destination")
    if isinstance(destination, dict):
        _rename("exlude_from_latest", "exclude_from_latest")(destination)


_VIRTUALBOX = ("virtualbox-iso", "virtualbox-ovf", "virtualbox-vm")
_PARALLELS = ("parallels-iso", "parallels-pvm")
_PORTS = _all(
    _rename("ssh_host_port_min", "host_port_min"), _rename("ssh_host_port_max", "host_port_max")
)
_SPOT = ("amazon-ebs", "amazon-ebssurrogate", "amazon-ebsvolume", "amazon-instance")
_TYPO = ("hyperv-iso", "hyperv-vmcx")

FIXERS = (
    Fixer("iso-md5", 'Replaces "iso_md5" in builders with "iso_checksum"',
          _each(_builders(), _iso_md5)),
    Fixer("createtime", 'Replaces ".CreateTime" in builders with "{{timestamp}}"',
          _each(_builders(), _create_time)),
    Fixer("virtualbox-gaattach",
          'Replaces "guest_additions_attach" of VirtualBox builders with "guest_additions_mode"',
          _each(_builders("virtualbox"), _guest_additions)),
    Fixer("pp-vagrant-override", "Moves what is for one provider of Vagrant into \"override\"",
          _each(_post_processors("vagrant"), _vagrant_override)),
    Fixer("virtualbox-rename", 'Renames the builder "virtualbox" to "virtualbox-iso"',
          _each(_builders("virtualbox"), _retype("virtualbox-iso"))),
    Fixer("vmware-rename", 'Renames the builder "vmware" to "vmware-iso"',
          _each(_builders("vmware"), _retype("vmware-iso"))),
    Fixer("parallels-headless", 'Removes "headless" from Parallels builders',
          _each(_builders(*_PARALLELS), _drop("headless"))),
    Fixer("parallels-deprecations",
          'Removes "parallels_tools_host_path" from Parallels builders; "guest_os_distribution" '
          'becomes "guest_os_type"',
          _each(_builders(*_PARALLELS), _all(
              _drop("parallels_tools_host_path"),
              _rename("guest_os_distribution", "guest_os_type")))),
    Fixer("sshkeypath", 'Replaces "ssh_key_path" in builders with "ssh_private_key_file"',
          _each(_builders(), _rename("ssh_key_path", "ssh_private_key_file", str, keep=True))),
    Fixer("sshdisableagent",
          'Replaces "ssh_disable_agent" in builders with "ssh_disable_agent_forwarding"',
          _each(_builders(), _rename("ssh_disable_agent", "ssh_disable_agent_forwarding",
                                     bool, keep=True))),
    Fixer("scaleway-access-key",
          'Replaces "access_key" in Scaleway builders with "organization_id"',
          _each(_builders("scaleway"), _rename("access_key", "organization_id", keep=True))),
    Fixer("manifest-filename", 'Replaces "filename" of the manifest with "output"',
          _each(_post_processors("manifest"), _rename("filename", "output", str))),
    Fixer("amazon-shutdown_behavior",
          'Replaces "shutdown_behaviour" in Amazon builders with "shutdown_behavior"',
          _each(_amazon, _rename("shutdown_behaviour", "shutdown_behavior"))),
    Fixer("amazon-enhanced-networking",
          'Replaces "enhanced_networking" in Amazon builders with "ena_support"',
          _each(_amazon, _rename("enhanced_networking", "ena_support"))),
    Fixer("amazon-private-ip", 'Replaces "ssh_private_ip" in Amazon builders with "ssh_interface"',
          _each(_amazon, _private_ip)),
    Fixer("amazon-temp-sec-cidrs",
          'Makes "temporary_security_group_source_cidr" in Amazon builders a list, …_cidrs',
          _each(_amazon, _source_cidrs)),
    Fixer("docker-email", 'Removes "login_email" of Docker\'s post-processors',
          _each(_post_processors(), _drop("login_email"))),
    Fixer("docker-tag-tags", 'Replaces "tag" of docker-tag with "tags"',
          _each(_post_processors("docker-tag"), _docker_tags)),
    Fixer("powershell-escapes",
          "Removes PowerShell's escapes from variables, users and passwords of powershell",
          _each(_provisioners("powershell"), _powershell)),
    Fixer("vmware-compaction",
          'Adds "skip_compaction" to vmware-iso builders whose disks cannot be compacted',
          _each(_builders("vmware-iso"), _compaction)),
    Fixer("hyperv-deprecations", 'Removes "vhd_temp_path" from hyperv-iso builders',
          _each(_builders("hyperv-iso"), _drop("vhd_temp_path"))),
    Fixer("hyperv-vmxc-typo",
          'Replaces "clone_from_vmxc_path" in hyperv-vmcx builders with "clone_from_vmcx_path"',
          _each(_builders("hyperv-vmcx"),
                _rename("clone_from_vmxc_path", "clone_from_vmcx_path"))),
    Fixer("hyperv-cpu-and-ram",
          'Replaces "cpu" and "ram_size" in Hyper-V builders with "cpus" and "memory"',
          _each(_builders(*_TYPO), _all(_rename("cpu", "cpus"), _rename("ram_size", "memory")))),
    Fixer("clean-image-name",
          'Replaces "clean_image_name" and "clean_ami_name" in builders with '
          '"clean_resource_name"', _clean_names),
    Fixer("spot-price-auto-product", 'Removes "spot_price_auto_product" from Amazon builders',
          _each(_builders(*_SPOT), _drop("spot_price_auto_product"))),
    Fixer("qemu-disk-size", 'Makes "disk_size" of QEMU builders a text',
          _each(_builders("qemu"), _disk_size)),
    Fixer("galaxy-command", 'Replaces "galaxycommand" of ansible-local with "galaxy_command"',
          _each(_provisioners("ansible-local"),
                _rename("galaxycommand", "galaxy_command", str, keep=True))),
    Fixer("comm-config",
          'Removes "ssh_" from host_port_min, host_port_max and skip_nat_mapping in VirtualBox '
          "builders",
          _each(_builders(*_VIRTUALBOX), _all(
              _PORTS, _rename("ssh_skip_nat_mapping", "skip_nat_mapping")))),
    Fixer("ssh-wait-timeout", 'Replaces "ssh_wait_timeout" in builders with "ssh_timeout"',
          _each(_builders(), _rename("ssh_wait_timeout", "ssh_timeout", str, keep=True))),
    Fixer("vsphere-iso-net-disk",
          'Moves options of network and disk in vsphere-iso into "network_adapters" and "storage"',
          _each(_builders("vsphere-iso"), _network_and_disk)),
    Fixer("iso-checksum-type-and-url",
          'Puts "iso_checksum_type" and "iso_checksum_url" into "iso_checksum"',
          _each(_builders(), _checksum)),
    Fixer("qemu-host-port",
          'Removes "ssh_" from host_port_min and host_port_max in QEMU builders',
          _each(_builders("qemu"), _PORTS)),
    Fixer("azure-exclude_from_latest",
          'Replaces "exlude_from_latest" in azure-chroot builders with "exclude_from_latest"',
          _each(_builders("azure-chroot"), _azure)),
    Fixer("proxmox-type", 'Renames the builder "proxmox" to "proxmox-iso"',
          _each(_builders("proxmox"), _retype("proxmox-iso"))),
)  # fmt: skip
