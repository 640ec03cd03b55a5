"""Names and addresses of the target's network interfaces, as fuel-agent's data has them."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from goldsmith.deploy.scheme import Deployment, Interface
from goldsmith.errors import GoldsmithError
from goldsmith.host.confined import confined, make_directory, write_confined

RULES: Final = "/etc/udev/rules.d/70-persistent-net.rules"
_MAC: Final = re.compile(r"[0-9a-f]{2}(?::[0-9a-f]{2}){5}")
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,14}")
_IFCFG_DIRECTORY: Final = "/etc/sysconfig/network-scripts"


def write_network_files(deployment: Deployment, chroot: Path) -> None:
    """Write the rules that name interfaces, and the configuration of the one for administration.

    Nothing is written that the deployment says nothing of. Raises GoldsmithError for a name or
    address that is none.
    """
    named = [interface for interface in deployment.interfaces if interface.mac]
    if named:
        write_confined(chroot, RULES, naming_rules(named).encode())
    for interface in deployment.interfaces:
        if interface.is_admin and interface.address:
            _write_address(interface, chroot)


def naming_rules(interfaces: Sequence[Interface]) -> str:
    """The text of udev's rules that give interfaces their names by their MAC addresses."""
    lines = ["# Made when the machine was deployed."]
    for interface in interfaces:
        mac = interface.mac.lower()
        if not _MAC.fullmatch(mac) or not _NAME.fullmatch(interface.name):
            raise GoldsmithError(
                f"the interface {interface.name!r} with the address {interface.mac!r} "
                "cannot be named: a name has at most 15 letters and digits, a MAC six pairs"
            )
        lines.append(
            'SUBSYSTEM=="net", ACTION=="add", DRIVERS=="?*", '
            f'ATTR{{address}}=="{mac}", ATTR{{type}}=="1", NAME="{interface.name}"'
        )
    return "\n".join([*lines, ""])


def _write_address(interface: Interface, chroot: Path) -> None:
    try:
        network = ipaddress.ip_interface(f"{interface.address}/{interface.netmask or 32}")
    except ValueError as e:
        raise GoldsmithError(f"the address of {interface.name} is none: {e}") from e
    if not _NAME.fullmatch(interface.name):
        raise GoldsmithError(f"{interface.name!r} is no name of an interface")
    if confined(chroot, _IFCFG_DIRECTORY, follow_last=True).is_dir():
        path, text = f"{_IFCFG_DIRECTORY}/ifcfg-{interface.name}", _ifcfg(interface, network)
    else:
        path = f"/etc/network/interfaces.d/ifcfg-{interface.name}"
        text = _interfaces(interface, network)
    make_directory(chroot, str(Path(path).parent))
    write_confined(chroot, path, text.encode())


Address = ipaddress.IPv4Interface | ipaddress.IPv6Interface


def _interfaces(interface: Interface, network: Address) -> str:
    family = "inet" if network.version == 4 else "inet6"
    return (
        f"auto {interface.name}\niface {interface.name} {family} static\n"
        f"    address {network.ip}\n    netmask {_mask(network)}\n"
    )


def _mask(network: Address) -> str:
    return str(network.netmask) if network.version == 4 else str(network.network.prefixlen)


def _ifcfg(interface: Interface, network: Address) -> str:
    return (
        f"DEVICE={interface.name}\nIPADDR={network.ip}\nNETMASK={network.netmask}\n"
        "BOOTPROTO=none\nONBOOT=yes\nUSERCTL=no\n"
    )
