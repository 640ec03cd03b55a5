"""`goldsmith fa-provision` and its stages, by fuel-agent's input, onto loop devices."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from deploy_targets import attached, image_set, tool

from goldsmith.units import MIB

pytestmark = pytest.mark.root

PASSWORD = "geheimes-Wort-7"


@pytest.fixture
def target(tmp_path):
    with attached(tmp_path / "disk.img", 500) as made:
        yield made


def provision_data(directory: Path, target) -> dict:
    """An input for one disk; nothing of it boots: that needs a kernel in the image."""
    name = Path(target.device).name
    volumes = [
        {"type": "boot", "size": 300},
        {"type": "partition", "name": "Boot", "mount": "/boot", "size": 20},
        {"type": "partition", "name": "root", "mount": "/", "size": 60},
        {"type": "partition", "name": "home", "mount": "/home", "size": 40, "file_system": "ext4"},
        {"type": "pv", "vg": "none", "size": 0, "lvm_meta_size": 0},
    ]
    disk = {"type": "disk", "id": "disk/by-path/none", "name": name, "size": 500, "extra": [],
            "free_space": 0, "volumes": volumes}  # fmt: skip
    image = {"uri": f"file://{directory}/root.img.gz", "format": "ext4", "container": "gzip"}
    return {
        "profile": "ubuntu_1604_x86_64", "hostname": "node-1.domain.tld", "ks_meta": {
            "pm_data": {"kernel_params": "console=ttyS0", "ks_spaces": [disk]},
            "image_data": {"/": image}, "auth_key": "ssh-rsa KEY", "master_ip": "10.20.0.2",
            "user_accounts": [{"name": "ops", "password": PASSWORD}],
        },
    }  # fmt: skip


def test_the_stages_one_after_the_other(goldsmith, tmp_path, target):
    image_set(tmp_path, mount=None)
    path = tmp_path / "provision.json"
    path.write_text(json.dumps(provision_data(tmp_path, target)))
    log = tmp_path / "log"
    flags = ["--input_data_file", path, "--log-file", log, "--debug"]
    assert goldsmith("fa-copyimage", *flags).status == 255  # there is no table yet
    for verb in ("fa-partition", "fa-copyimage", "fa-configdrive"):
        done = goldsmith(verb, *flags)
        assert done.status == 0, (done, log.read_text())
    sizes = [(n, start // 2048, size // 2048) for n, start, size in target.partitions()]
    assert sizes == [(1, 1, 24), (2, 26, 200), (3, 227, 20), (4, 248, 60), (5, 309, 40),
                     (6, 350, 20)]  # fmt: skip
    kinds = [target.content(n)["TYPE"] for n in (3, 4, 5, 6)]
    assert kinds == ["ext2", "ext4", "ext4", "ext2"]
    assert target.content(6)["LABEL"] == "config-2"
    assert target.read(4, "/etc/motd") == "deployed\n"
    described = tool("dumpe2fs", "-h", f"{target.device}p4")
    assert any(line.split()[-1] == str(60 * MIB // 4096) for line in described.splitlines()
               if line.startswith("Block count")) or "1024" in described  # fmt: skip
    meta_data = json.loads(target.read(6, "/openstack/latest/meta_data.json"))
    assert meta_data["hostname"].startswith("node-1")
    # The image has no kernel: the last stage says so, and leaves nothing mounted.
    last = goldsmith("fa-bootloader", *flags)
    assert last.status == 255 and "kernel" in last.stderr
    assert PASSWORD not in log.read_text() and "Partitioning" in log.read_text()
    assert target.read(5, "/x/y") == "z\n"


def test_an_array_is_no_other_disk(goldsmith, tmp_path, target):
    """What is to be there already, and has only its name in the input, is not written to."""
    device = target.device
    partitions = [
        {"name": f"{device}p{n}", "count": n, "device": device, "begin": 40 * n - 39,
         "end": 40 * n, "type": "primary", "keep_data": n == 1} for n in (1, 2, 3)
    ]  # fmt: skip
    with attached(tmp_path / "other.img", 32) as other:
        before = target.digest(), other.digest()
        partitioning = {
            "parteds": [{"name": device, "label": "gpt", "partitions": partitions}],
            "mds": [{"name": other.device, "level": "mirror",
                     "devices": [f"{device}p2", f"{device}p3"]}],
            "fss": [{"device": other.device, "mount": "/srv", "fs_type": "ext4"}],
        }  # fmt: skip
        data = {"ks_meta": {"pm_data": {}}, "partitioning": partitioning}
        done = goldsmith("fa-partition", "--data_driver", "nailgun_simple", "--input_data",
                         json.dumps(data))  # fmt: skip
        assert done.status == 255
        assert f"{other.device} is not a name of an array" in done.stderr
        lies_on = f"{other.device} is to be there already, and lies on {other.device}"
        assert lies_on in done.stderr
        assert (target.digest(), other.digest()) == before


@pytest.mark.parametrize("case", ["key", "driver", "disk", "metadata", "yaml", "file"])
def test_what_is_wrong_ends_with_255_before_anything_is_written(goldsmith, tmp_path, target, case):
    before, data, more = target.digest(), provision_data(tmp_path, target), []
    disk = data["ks_meta"]["pm_data"]["ks_spaces"][0]
    if case == "key":
        disk["volumes"][2]["keep_dta"] = True
    elif case == "driver":
        more = ["--data_driver", "swarm"]
    elif case == "disk":
        disk["name"] = "sdzzz"
    text = {"yaml": "a: ["}.get(case, json.dumps(data))
    given = ["--input_data_file", tmp_path / "none"] if case == "file" else ["--input_data", text]
    done = goldsmith("fa-provision", *given, *more)
    assert done.status == 255
    said = {"key": "keep_dta: there is no such key", "driver": "choose one of nailgun",
            "disk": "there is no disk sdzzz", "metadata": "root.yaml", "yaml": "no valid YAML",
            "file": "No such file"}  # fmt: skip
    assert said[case] in done.stderr
    assert "Traceback" not in done.stderr and PASSWORD not in done.stdout + done.stderr
    assert target.digest() == before


def test_a_simple_scheme_keeps_data_wherever_it_is_told(goldsmith, tmp_path, target):
    """Data to be kept anywhere means that no table is written anywhere."""
    device = target.device

    def part(number: int, begin: int, end: int, **more: object) -> dict:
        return {"name": f"{device}p{number}", "count": number, "device": device, "begin": begin,
                "end": end, "type": "primary", "flags": [], **more}  # fmt: skip

    def run(keep: bool) -> None:
        partitioning = {
            "parteds": [{"name": device, "label": "gpt",
                         "partitions": [part(1, 1, 61), part(2, 62, 100, keep_data=keep)]}],
            "fss": [{"device": f"{device}p1", "mount": "/", "fs_type": "ext4"},
                    {"device": f"{device}p2", "mount": "/srv", "fs_type": "ext4"}],
        }  # fmt: skip
        data = {"ks_meta": {"pm_data": {}}, "partitioning": partitioning}
        goldsmith("fa-partition", "--data_driver", "nailgun_simple", "--input_data",
                  json.dumps(data), check=True)  # fmt: skip

    run(keep=False)
    for number in (1, 2):
        tool("debugfs", "-w", "-R", f"write {__file__} kept", f"{device}p{number}")
    uuid = target.table()["id"]
    run(keep=True)
    assert target.table()["id"] == uuid
    assert "nailgun_simple" in target.read(2, "/kept")
    assert target.read(1, "/kept") == ""
