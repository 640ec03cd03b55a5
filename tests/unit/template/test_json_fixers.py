"""What `fix` does beyond the recorded cases: each fact was seen with Packer 1.6.6."""

import json

import pytest

from goldsmith.template.legacy_json.fixers import FIXERS, fix_template


def fixed(kind, part):
    template = json.loads(json.dumps({"builders": [], kind: [part]}), parse_int=float)
    (after,) = fix_template(template)[kind]
    return after


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"type": "virtualbox", "guest_additions_attach": False, "guest_additions_mode": "x"},
         {"type": "virtualbox-iso", "guest_additions_mode": "upload"}),
        ({"type": "q", "iso_checksum": "a", "iso_checksum_type": "none"},
         {"type": "q", "iso_checksum": "none:a"}),
        ({"type": "q", "iso_md5": "a", "iso_checksum": "b"},
         {"type": "q", "iso_checksum": "md5:a"}),
        ({"type": "q", "iso_checksum": 5, "iso_checksum_type": "md5"},
         {"type": "q", "iso_checksum": 5}),
        ({"type": "parallels-pvm", "guest_os_distribution": "d", "guest_os_type": "t"},
         {"type": "parallels-pvm", "guest_os_type": "d"}),
        ({"type": "scaleway", "access_key": "a", "organization_id": "o"},
         {"type": "scaleway", "organization_id": "o"}),
        ({"type": "x", "ssh_key_path": "k", "ssh_private_key_file": "z"},
         {"type": "x", "ssh_private_key_file": "z"}),
        ({"type": "amazon-ebs", "ssh_private_ip": "true", "ssh_interface": "z"},
         {"type": "amazon-ebs", "ssh_private_ip": "true", "ssh_interface": "z"}),
        ({"type": "amazon-ebs", "ssh_private_ip": "false"},
         {"type": "amazon-ebs", "ssh_interface": "public_ip"}),
        ({"type": "amazon-ebs", "temporary_security_group_source_cidr": ["x"]},
         {"type": "amazon-ebs", "temporary_security_group_source_cidr": ["x"]}),
        ({"type": "amazon-chroot", "spot_price_auto_product": "x"},
         {"type": "amazon-chroot", "spot_price_auto_product": "x"}),
        ({"type": "vmware-iso", "remote_type": "esx5"},
         {"type": "vmware-iso", "remote_type": "esx5", "disk_type_id": "zeroedthick",
          "skip_compaction": True}),
        ({"type": "vmware-iso", "remote_type": "esx5", "disk_type_id": "thin"},
         {"type": "vmware-iso", "remote_type": "esx5", "disk_type_id": "thin"}),
        ({"type": "virtualbox-iso", "ssh_skip_nat_mapping": True, "ssh_host_port_min": 1},
         {"type": "virtualbox-iso", "skip_nat_mapping": True, "host_port_min": 1}),
        ({"type": "x", "ssh_wait_timeout": 5, "ssh_timeout": "2"},
         {"type": "x", "ssh_wait_timeout": 5, "ssh_timeout": "2"}),
        ({"type": "qemu", "disk_size": 4096.5}, {"type": "qemu", "disk_size": "4096M"}),
        ({"type": "qemu", "disk_size": True}, {"type": "qemu", "disk_size": True}),
        ({"type": "vsphere-iso", "disk_size": 5, "storage": [{"disk_size": 6}]},
         {"type": "vsphere-iso", "storage": [{"disk_size": 5}, {"disk_size": 6}]}),
        ({"type": "azure-chroot", "shared_image_destination": {"exlude_from_latest": True}},
         {"type": "azure-chroot", "shared_image_destination": {"exclude_from_latest": True}}),
        ({"type": "amazon-ebs", "ami_name": "{{ .CreateTime }}", "x": "{{.CreateTime}}"},
         {"type": "amazon-ebs", "ami_name": "{{timestamp}}", "x": "{{.CreateTime}}"}),
        ({"type": "x", "c": {"d": ["{{clean_ami_name `a`}} clean_image_name"]}},
         {"type": "x", "c": {"d": ["{{clean_resource_name `a`}} clean_resource_name"]}}),
    ],
)  # fmt: skip
def test_builders(before, after):
    assert fixed("builders", before) == after


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"type": "vagrant", "aws": 1, "parallels": 2, "override": {"q": {}}},
         {"type": "vagrant", "override": {"aws": 1}, "parallels": 2}),
        ({"type": "docker-tag", "tag": "a, b", "tags": ["c"]},
         {"type": "docker-tag", "tags": ["a", "b", "c"]}),
        ({"type": "anything", "login_email": "e"}, {"type": "anything"}),
        ({"type": "manifest", "filename": 5}, {"type": "manifest", "filename": 5}),
        ([{"type": "manifest", "filename": "z"}, [{"type": "manifest", "filename": "z"}]],
         [{"type": "manifest", "output": "z"}, [{"type": "manifest", "filename": "z"}]]),
        ("vagrant", "vagrant"),
    ],
)  # fmt: skip
def test_post_processors(before, after):
    assert fixed("post-processors", before) == after


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"type": "powershell", "environment_vars": ["A=`a``b```c `$ `\"", "`'"]},
         {"type": "powershell", "environment_vars": ["A=`a`b``c $ \"", "'"]}),
        ({"type": "powershell", "elevated_user": "a`$b"},
         {"type": "powershell", "elevated_user": "a$b"}),
        ({"type": "windows-shell", "environment_vars": ["`$"]},
         {"type": "windows-shell", "environment_vars": ["`$"]}),
        ({"type": "ansible-local", "galaxycommand": "g", "galaxy_command": "h"},
         {"type": "ansible-local", "galaxy_command": "h"}),
    ],
)  # fmt: skip
def test_provisioners(before, after):
    assert fixed("provisioners", before) == after


def test_a_second_time_nothing_changes():
    builder = {"type": "vmware", "iso_md5": "a", "remote_type": "esx5", "ssh_wait_timeout": "5m"}
    once = fix_template({"builders": [builder], "post-processors": [{"type": "docker-tag"}]})
    assert fix_template(json.loads(json.dumps(once))) == once


def test_there_are_as_many_as_packer_has():
    assert len({fixer.name for fixer in FIXERS}) == len(FIXERS) == 34
