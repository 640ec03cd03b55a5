"""The schemas of every builder inside the real packer 1.6, decoded."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from goldsmith.errors import GoldsmithError
from goldsmith.plugin.client import Client, ClientConfig
from goldsmith.plugin.described import describe
from goldsmith.plugin.remote.places import KIND_NAMES
from goldsmith.plugin.wire.hcl_spec import AttributeSpec

PACKER = shutil.which("packer")
ENTRIES = {
    "alicloud-ecs": 121, "amazon-chroot": 105, "amazon-ebs": 206, "amazon-ebssurrogate": 214,
    "amazon-ebsvolume": 173, "amazon-instance": 210, "azure-arm": 131, "azure-chroot": 50,
    "azure-dtl": 117, "cloudstack": 102, "digitalocean": 75, "docker": 86, "file": 11,
    "googlecompute": 112, "hcloud": 73, "hyperv-iso": 108, "hyperv-vmcx": 110, "jdcloud": 70,
    "lxc": 20, "lxd": 16, "ncloud": 69, "null": 57, "oneandone": 65, "openstack": 123,
    "oracle-classic": 126, "oracle-oci": 101, "parallels-iso": 93, "parallels-pvm": 76,
    "profitbricks": 69, "proxmox": 127, "proxmox-clone": 121, "proxmox-iso": 127, "qemu": 122,
    "scaleway": 73, "tencentcloud-cvm": 100, "triton": 92, "vagrant": 95, "virtualbox-iso": 118,
    "virtualbox-ovf": 105, "virtualbox-vm": 103, "vmware-iso": 134, "vmware-vmx": 115,
    "vsphere-clone": 164, "vsphere-iso": 152,
}  # fmt: skip
"""The builders of Debian's packer 1.6.6, with how many options each has, nested ones too."""


def component(kind, name):
    if PACKER is None:
        pytest.fail("packer 1.6.6 is not installed: apt-get install packer", pytrace=False)
    return Client(ClientConfig(command=(PACKER, "plugin", f"packer-{kind}-{name}")))


def count(schema):
    return sum(
        1 if isinstance(entry, AttributeSpec) else 1 + count(entry.nested)
        for entry in schema.entries.values()
    )


@pytest.mark.parametrize(("name", "entries"), ENTRIES.items())
def test_every_builder_of_packer_tells_its_options(name, entries):
    with component("builder", name) as client:
        assert count(client.builder().config_spec()) == entries


def test_what_packer_does_not_have_is_told_so():
    with component("builder", "nonsense") as client, pytest.raises(GoldsmithError) as raised:
        client.builder()
    assert "packer-builder-nonsense, start" in str(raised.value)
    assert client.exited()


def test_a_modern_plugin_that_is_installed_tells_its_options():
    """Runs what GOLDSMITH_PLUGIN names: any packer-plugin-NAME for Packer 1.7 or later."""
    program = os.environ.get("GOLDSMITH_PLUGIN")
    if program is None:
        pytest.skip("NO MODERN PLUGIN IS RUN: GOLDSMITH_PLUGIN does not name one")
    description = describe(Path(program))
    started = 0
    for kind, names in description.components.items():
        for name in names:
            if kind in ("hook", "command"):
                continue
            flag = ("--protobuf",) if description.protobuf else ()
            command = (program, "start", KIND_NAMES[kind], *flag, name)
            with Client(ClientConfig(command=command, protobuf=description.protobuf)) as client:
                opened = getattr(client, KIND_NAMES[kind].replace("-", "_"))()
                assert opened.config_spec().type is not None
                started += 1
    assert started
