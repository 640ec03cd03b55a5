"""`ks_spaces`: every input has a table beside it that was written by hand."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from goldsmith.deploy.scheme import Deployment, Scheme, TargetPartition
from goldsmith.deploy.scheme_check import check_scheme
from goldsmith.errors import GoldsmithError
from goldsmith.template.fuel.config import FuelConfig
from goldsmith.template.fuel.provision_input import read_provision_input, to_scheme
from goldsmith.units import MIB

INPUTS = sorted(Path(__file__).with_name("spaces").glob("*.json"))


def provision_data(spaces, profile="ubuntu_1604_x86_64"):
    """The smallest input with these spaces."""
    return {"profile": profile, "hostname": "node-1", "ks_meta": {"pm_data": {"ks_spaces": spaces}}}


def scheme_of(spaces, driver="nailgun", profile="ubuntu_1604_x86_64"):
    given = read_provision_input(provision_data(spaces, profile), "input", driver)
    return to_scheme(given, "input", driver, FuelConfig(), lambda disk: f"/dev/{disk.name}")


def table_of(scheme: Scheme) -> Iterator[str]:
    """The scheme in the words of the tables; sizes are MiB."""
    for disk in scheme.disks:
        yield f"disk {disk.device} {disk.label} {disk.policy}" + " loader" * disk.boot_loader
        yield from (f"  {_partition(p)}" for p in disk.partitions)
    for md in scheme.arrays:
        assert not md.spares
        yield f"md {md.node} {md.level} {md.metadata} {' '.join(md.members)}" + _keep(md.keep_data)
    for pv in scheme.physical_volumes:
        size = pv.metadata_bytes // MIB
        yield f"pv {pv.node} {size}x{pv.metadata_copies}" + _keep(pv.keep_data)
    for vg in scheme.groups:
        yield f"vg {vg.name} {' '.join(vg.physical_volumes)}" + _keep(vg.keep_data)
    for lv in scheme.volumes:
        yield f"lv {lv.node} {lv.size_bytes // MIB}" + _keep(lv.keep_data)
    for fs in scheme.filesystems:
        label = f" label={fs.label}" if fs.label else ""
        yield f"fs {fs.node} {fs.mount} {fs.type}{label}" + _keep(fs.keep_data)


def _keep(keeps: bool) -> str:
    return " keep" if keeps else ""


def _partition(p: TargetPartition) -> str:
    assert p.begin_bytes % MIB == p.size_bytes % MIB == 0
    words = [str(p.number), f"{p.begin_bytes // MIB}+{p.size_bytes // MIB}", p.type, *p.flags]
    words += [f"guid={p.guid}"] if p.guid else []
    words += ["config-drive"] if p.config_drive else []
    return " ".join(words) + _keep(p.keep_data)


@pytest.mark.parametrize("path", INPUTS, ids=lambda path: path.stem)
def test_the_table_is_the_one_written_by_hand(path):
    given = json.loads(path.read_text())
    scheme = scheme_of(given["ks_spaces"], given["driver"], given["profile"])
    assert "\n".join(table_of(scheme)) + "\n" == path.with_suffix(".table").read_text()
    assert check_scheme(Deployment(scheme)) == []


def test_there_are_inputs():
    assert len(INPUTS) >= 5


def disk(name="sda", volumes=(), **more):
    return {"type": "disk", "id": name, "name": name, "size": 9999, "volumes": list(volumes),
            "extra": [], "free_space": 0, **more}  # fmt: skip


BOOT = {"type": "partition", "mount": "/boot", "size": 100}
ROOT = {"type": "partition", "mount": "/", "size": 1000, "file_system": "ext4"}


@pytest.mark.parametrize(
    ("spaces", "words"),
    [
        ([], ["there is no disk"]),
        ([disk(volumes=[ROOT])], ["no disk that is used has room for /boot"]),
        ([disk(volumes=[BOOT])], ["no disk that is used has room for /boot"]),
        ([disk("sda", [BOOT, ROOT], bootable=True), disk("sdb", [BOOT], bootable=True)],
         ["more than one disk is bootable: sda, sdb"]),
        ([disk(volumes=[BOOT, {**ROOT, "size": 16777217}])], ["the root has 16777217 MiB"]),
        ([disk(volumes=[BOOT, {"type": "pv", "vg": "os", "size": 5, "lvm_meta_size": 9}])],
         ["lvm_meta_size", "is 9, it is 10 at least", 'there is no volume group "os"']),
        ([disk(volumes=[BOOT, ROOT])] * 2, ["it stands there twice"]),
        ([disk(volumes=[BOOT, ROOT, {"type": "pv", "vg": "os", "size": 5}])],
         ["lvm_meta_size: it is missing"]),
        ([disk(volumes=[BOOT, {**ROOT, "keep_dta": True}])], ["keep_dta: there is no such key"]),
        ([disk(volumes=[BOOT, {**ROOT, "size": "1000"}])], ["size:", "valid integer"]),
        ([disk(volumes=[{"type": "lv", "size": 1}])], ["volumes.0", "'lv'"]),
        ([{"type": "tape"}], ["ks_spaces.0", "'tape'"]),
        ([disk(volumes=[BOOT, ROOT]), {"type": "vg", "id": "os", "volumes": [
            {"type": "lv", "size": 5, "mount": "/x"}]}], ["a logical volume has no name"]),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(spaces, words):
    with pytest.raises(GoldsmithError) as caught:
        scheme_of(spaces)
    for word in words:
        assert word in str(caught.value)


def test_everything_wrong_is_said_at_once():
    with pytest.raises(GoldsmithError) as caught:
        scheme_of([disk(volumes=[{**BOOT, "sise": 1}, {**ROOT, "size": None}], nmae="x")])
    for word in ("sise", "nmae", "size"):
        assert word in str(caught.value)


def test_a_machine_of_nvme_disks_only_boots_from_one():
    scheme = scheme_of([disk("nvme0n1", [BOOT, ROOT])])
    assert scheme.by_mount("/boot").node == "/dev/nvme0n1p3"
