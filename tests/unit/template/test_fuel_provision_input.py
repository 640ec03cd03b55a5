"""fuel-agent's input for provisioning, its simple schemes, and its configuration file."""

from pathlib import Path

import pytest

from goldsmith.deploy.scheme_check import check_scheme
from goldsmith.disk.image_set import ImageSet, SetImage
from goldsmith.errors import GoldsmithError
from goldsmith.template.fuel.config import FuelConfig, read_config
from goldsmith.template.fuel.provision_input import (
    image_requests,
    read_provision_input,
    to_deployment,
    to_scheme,
)
from goldsmith.units import MIB

SPACES = [
    {"type": "disk", "id": "a", "name": "sda", "size": 9999, "extra": [], "free_space": 0,
     "volumes": [{"type": "partition", "mount": "/boot", "size": 100},
                 {"type": "partition", "mount": "/", "size": 1000}]},
]  # fmt: skip
DATA = {
    "profile": "ubuntu_1604_x86_64", "hostname": "node-1.domain.tld", "uid": "1",
    "name_servers": '"10.20.0.2, 10.20.0.3"', "name_servers_search": '"domain.tld"',
    "interfaces": {
        "eth0": {"mac_address": "08:00:27:79:DA:80", "ip_address": "10.20.0.3",
                 "netmask": "255.255.255.0", "static": "0"},
        "eth1": {"mac_address": "08:00:27:79:da:81"},
    },
    "kernel_options": {"netcfg/choose_interface": "08:00:27:79:da:80", "netcfg/x": "y",
                       "udevrules": "08:00:27:79:da:80_eth0,08:00:27:79:da:81_eth1"},
    "ks_meta": {
        "pm_data": {"kernel_params": "console=ttyS0 quiet", "ks_spaces": SPACES, "other": 1},
        "image_data": {
            "/": {"uri": "http://10.20.0.2/t/env_1.img.gz", "format": "ext4", "container": "gzip"},
            "/boot": {"uri": "http://10.20.0.2/t/env_1-boot.img.gz", "format": "ext2",
                      "container": "gzip"},
        },
        "auth_key": "ssh-rsa KEY", "authorized_keys": ["ssh-rsa TWO"], "master_ip": "10.20.0.2",
        "gw": "10.20.0.1", "timezone": "Etc/UTC", "mco_password": "marionette", "mco_enable": 1,
        "puppet_enable": 0, "repo_setup": {"repos": [{"name": "a", "uri": "u"}]},
        "user_accounts": [{"name": "ops", "password": "geheimnis", "sudo": "ALL=(ALL) ALL"}],
    },
}  # fmt: skip
CONFIG = FuelConfig()


def read(data=DATA, driver="nailgun"):
    return read_provision_input(data, "input", driver)


def scheme_of(given, driver="nailgun", config=CONFIG):
    return to_scheme(given, "input", driver, config, lambda disk: f"/dev/{disk.name}")


def described(*names):
    images = [SetImage(name, "gzip", "ext4", 5, raw_md5="0" * 32) for name in names]
    return ImageSet(tuple(images))


def test_the_images_get_what_the_metadata_says():
    given, asked = read(), []

    def fetch(address):
        asked.append(address)
        return described("env_1.img.gz", "env_1-boot.img.gz")

    requests = image_requests(given, scheme_of(given), fetch)
    assert asked == ["http://10.20.0.2/t/env_1.yaml"]
    assert [(r.node, r.mount, r.format, r.container, r.raw_md5) for r in requests] == [
        ("/dev/sda4", "/", "ext4", "gzip", "0" * 32),
        ("/dev/sda3", "/boot", "ext2", "gzip", "0" * 32),
    ]  # fmt: skip
    # A root without a type of its own is what its image is.
    assert scheme_of(given).root().type == "ext4"


def test_an_image_that_cannot_be_checked_is_refused():
    given = read()
    with pytest.raises(GoldsmithError, match=r"says nothing of env_1-boot\.img\.gz"):
        image_requests(given, scheme_of(given), lambda address: described("env_1.img.gz"))


def test_the_deployment_of_an_input():
    given = read()
    deployment = to_deployment(given, scheme_of(given), (), CONFIG, "nailgun")
    data = deployment.config_drive
    assert deployment.firmware == ("bios",)
    assert deployment.kernel_cmdline == "console=ttyS0 quiet"
    assert (data.hostname, data.fqdn) == ("node-1", "node-1.domain.tld")
    assert data.name_servers == ("10.20.0.2", "10.20.0.3")
    assert data.search_domain == "domain.tld"
    assert data.ssh_auth_keys == ("ssh-rsa TWO", "ssh-rsa KEY")
    assert (data.admin.name, data.admin.address) == ("eth0", "10.20.0.3")
    assert dict(data.values)["mcollective"] == {"password": "marionette", "enable": 1}
    assert [(i.name, i.mac) for i in deployment.interfaces] == [
        ("eth1", "08:00:27:79:da:81"), ("eth0", "08:00:27:79:da:80"),
    ]  # fmt: skip
    assert set(deployment.secrets) == {"geheimnis", "marionette"}
    assert not deployment.seed and deployment.scheme.config_drive_node() == "/dev/sda5"


def test_the_driver_and_the_configuration_choose_where_the_configuration_goes(tmp_path):
    given = read()
    seed = FuelConfig(use_configdrive=False)
    scheme = scheme_of(given, config=seed)
    assert scheme.config_drive_node() is None
    assert to_deployment(given, scheme, (), seed, "nailgun").seed
    ironic = to_deployment(given, scheme_of(given, "ironic"), (), CONFIG, "ironic")
    assert ironic.config_drive is None and not ironic.seed
    ready = tmp_path / "drive.img"
    ready.touch()
    config = FuelConfig(prepare_configdrive=False, config_drive_path=str(ready))
    made = to_deployment(given, scheme_of(given), (), config, "nailgun")
    assert made.config_drive is None and made.config_drive_file == str(ready)


def test_the_configuration_says_which_disks_are_disks_of_their_own():
    given = read()
    config = FuelConfig(distinct_disks="/dev/sda, /dev/sdb,")
    made = to_deployment(given, scheme_of(given), (), config, "nailgun")
    assert made.distinct_disks == ("/dev/sda", "/dev/sdb")
    assert to_deployment(given, scheme_of(given), (), CONFIG, "nailgun").distinct_disks == ()


def test_old_centos_has_old_kernels():
    given = read({**DATA, "profile": "centos_65_x86_64"})
    assert to_deployment(given, scheme_of(given), (), CONFIG, "nailgun").kernel.startswith(
        r"^vmlinuz-2"
    )
    newer = {**DATA["ks_meta"], "kernel_lt": 1}
    given = read({**DATA, "profile": "centos_65_x86_64", "ks_meta": newer})
    assert "3" in to_deployment(given, scheme_of(given), (), CONFIG, "nailgun").kernel


def partition(number, begin, end, **more):
    return {"name": f"/dev/loop5p{number}", "count": number, "device": "/dev/loop5", "begin": begin,
            "end": end, "type": "primary", "flags": [], "guid": None, "configdrive": False,
            "keep_data": False, **more}  # fmt: skip


SIMPLE = {
    "parteds": [{"name": "/dev/loop5", "label": "msdos", "install_bootloader": True, "partitions": [
        partition(1, 1, 25), partition(2, 26, 226, flags=["lvm"]),
        partition(3, 227, 300, type="extended", name=None),
        partition(5, 228, 290, type="logical"),
    ]}],
    "pvs": [{"name": "/dev/loop5p2", "metadatasize": 16, "metadatacopies": 2, "keep_data": False}],
    "vgs": [{"name": "os", "pvnames": ["/dev/loop5p2"], "keep_data": False}],
    "lvs": [{"name": "root", "vgname": "os", "size": 100, "keep_data": False}],
    "mds": [],
    "fss": [{"device": "/dev/mapper/os-root", "mount": "/", "fs_type": "ext4", "fs_options": "",
             "fs_label": "root", "keep_data": False},
            {"device": "/dev/loop5p5", "mount": "swap", "fs_type": "swap", "fs_options": None,
             "fs_label": None, "keep_data": False}],
}  # fmt: skip


def simple(partitioning):
    return {"ks_meta": {"pm_data": {}}, "partitioning": partitioning}


def test_a_simple_scheme_is_taken_as_it_is():
    given = read(simple(SIMPLE), "nailgun_simple")
    scheme = scheme_of(given, "nailgun_simple")
    (disk,) = scheme.disks
    assert (disk.label, disk.boot_loader) == ("mbr", True)
    places = [(p.node, p.begin_bytes // MIB, p.size_bytes // MIB, p.type) for p in disk.partitions]
    assert places == [
        ("/dev/loop5p1", 1, 24, "data"), ("/dev/loop5p2", 26, 200, "lvm"),
        ("/dev/loop5p3", 227, 73, "extended"), ("/dev/loop5p5", 228, 62, "data"),
    ]  # fmt: skip
    assert scheme.root().node == scheme.volumes[0].node == "/dev/mapper/os-root"
    assert scheme.swaps()[0].mount == "swap"
    assert check_scheme(to_deployment(given, scheme, (), CONFIG, "nailgun_simple")) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"fss": [{"device": "/dev/x", "mount": "boot"}]}, '"boot" is not absolute'),
        ({"parteds": [{"name": "/dev/loop5", "label": "gpt",
                       "partitions": [partition(1, 5, 5)]}]}, "it lies before its begin"),
        ({"parteds": [{"name": "/dev/sda", "label": "gpt",
                       "partitions": [partition(1, 5, 9)]}]}, "it is /dev/loop5p1, and would be"),
        ({"parteds": [{"name": "/dev/loop5", "label": "sun"}]}, "gpt"),
        ({"lvs": [{"name": "x", "vgname": "os", "sise": 1}]}, "sise: there is no such key"),
    ],
)  # fmt: skip
def test_a_simple_scheme_that_cannot_be(change, words):
    with pytest.raises(GoldsmithError) as caught:
        scheme_of(read(simple({**SIMPLE, **change}), "nailgun_simple"), "nailgun_simple")
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ([], "not a map"),
        ({}, "ks_meta: it is missing"),
        ({"ks_meta": {}}, "pm_data: it is missing"),
        ({"ks_meta": {"pm_data": {}}}, "there is no disk"),
        ({**DATA, "ks_meta": {**DATA["ks_meta"], "image_data": {"boot": {"uri": "x"}}}},
         '"boot" is not a mount point'),
        ({**DATA, "ks_meta": {**DATA["ks_meta"], "user_accounts": [{"password": "geheimnis"}]}},
         "user_accounts.0.name: it is missing"),
    ],
)  # fmt: skip
def test_an_input_that_is_wrong(data, words):
    with pytest.raises(GoldsmithError) as caught:
        read(data)
    assert words in str(caught.value)
    assert "geheimnis" not in str(caught.value)


def config_file(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "fuel-agent.conf"
    path.write_text(text)
    return path


def test_a_configuration_file(tmp_path):
    path = config_file(tmp_path, "[DEFAULT]\nuse_configdrive=False\ngrub_timeout = 3\n"
                       "http_request_timeout=2.5\ndata_driver=ironic\nskip_md_containers=true\n"
                       "use_stderr=true\ngrub_timout=4\n[other]\nx=y\n")  # fmt: skip
    config, warnings = read_config([path])
    assert config == FuelConfig(use_configdrive=False, grub_timeout=3, http_request_timeout=2.5,
                                data_driver="ironic")  # fmt: skip
    assert ["skip_md_containers has no effect" in warnings[0], len(warnings)] == [True, 2]
    assert 'Did you mean "grub_timeout"?' in warnings[1]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[DEFAULT]\ngrub_timeout=soon\n", "grub_timeout = soon: it is a number"),
        ("[DEFAULT]\ndebug=maybe\n", "debug = maybe: it is true or false"),
        ("nothing\n", "is no configuration file"),
    ],
)
def test_a_configuration_file_that_is_wrong(tmp_path, text, words):
    with pytest.raises(GoldsmithError) as caught:
        read_config([config_file(tmp_path, text)])
    assert words in str(caught.value)
