"""`ks_spaces` on loop devices: tables and file systems are those that were written by hand.

Arrays and logical volumes need drivers that a host may lack: here their partitions are looked at,
in tests/boot they themselves.
"""

from __future__ import annotations

import contextlib
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from deploy_targets import attached

from goldsmith.deploy.partitioning import partition_disks
from goldsmith.deploy.refusals import read_disks, refusals
from goldsmith.deploy.scheme import Deployment
from goldsmith.deploy.target_fstab import read_all_facts, target_fstab
from goldsmith.disk.partition_table import TYPE_GUIDS
from goldsmith.template.fuel.config import FuelConfig
from goldsmith.template.fuel.provision_input import read_provision_input, to_scheme

pytestmark = pytest.mark.root

INPUTS = sorted(Path(__file__).parents[1].joinpath("unit/deploy/spaces").glob("*.json"))
PARTITION = re.compile(r"  (?P<number>\d+) (?P<begin>\d+)\+(?P<size>\d+) (?P<type>\S+)(?P<rest>.*)")


def tables_by_hand(
    path: Path,
) -> tuple[dict[str, list[tuple[int, int, int, str]]], list[list[str]]]:
    """The partitions of each disk, places in MiB, and the words of each file system."""
    disks: dict[str, list[tuple[int, int, int, str]]] = {}
    filesystems = []
    for line in path.with_suffix(".table").read_text().splitlines():
        kind, *words = line.split()
        if kind == "disk":
            disks[words[0]] = []
        elif kind == "fs":
            filesystems.append(words)
        elif match := PARTITION.fullmatch(line):
            guid = re.search(r"guid=(\S+)", match["rest"])
            type_id = guid[1].upper() if guid else TYPE_GUIDS[match["type"]]
            place = (int(match["number"]), int(match["begin"]), int(match["size"]), type_id)
            disks[[*disks][-1]].append(place)
    return disks, filesystems


@pytest.mark.parametrize("path", INPUTS, ids=lambda path: path.stem)
def test_disks_get_the_tables_that_were_written_by_hand(path, tmp_path):
    given = json.loads(path.read_text())
    tables, wanted_filesystems = tables_by_hand(path)
    with contextlib.ExitStack() as stack:
        targets = {}
        for number, (device, places) in enumerate(tables.items()):
            end_mib = places[-1][1] + places[-1][2] + 1
            targets[device] = stack.enter_context(attached(tmp_path / f"{number}.img", end_mib))
        data = {"profile": given["profile"], "hostname": "node-1",
                "ks_meta": {"pm_data": {"ks_spaces": given["ks_spaces"]}}}  # fmt: skip
        read = read_provision_input(data, "input", given["driver"])
        scheme = to_scheme(read, "input", given["driver"], FuelConfig(),
                           lambda disk: targets[f"/dev/{disk.name}"].device)  # fmt: skip
        # A table that stays is written here, too: there is none yet.
        disks = tuple(replace(disk, policy="clean") for disk in scheme.disks)
        partitions = {p.node for p in scheme.partitions()}
        filesystems = tuple(
            replace(fs, keep_data=False) for fs in scheme.filesystems if fs.node in partitions
        )
        plain = replace(scheme, disks=disks, arrays=(), physical_volumes=(), groups=(), volumes=(),
                        filesystems=filesystems)  # fmt: skip
        deployment, found = Deployment(plain), read_disks(plain)
        assert refusals(deployment, found) == []
        partition_disks(deployment, found, lambda text: None)

        for device, places in tables.items():
            there = [(int(p["node"].rpartition("p")[2]), p["start"] // 2048, p["size"] // 2048,
                      p["type"]) for p in targets[device].table()["partitions"]]  # fmt: skip
            assert there == places, device
        lines = target_fstab(plain, read_all_facts(plain)).splitlines()
        for node, mount, kind, *more in wanted_filesystems:
            device = next((one for one in tables if node.startswith(one)), None)
            if device is None:
                continue  # of an array or group
            content = targets[device].content(int(re.sub(r".*\D", "", node)))
            assert content["TYPE"] == kind
            label = next((word[6:] for word in more if word.startswith("label=")), "")
            assert content.get("LABEL", "") == label
            place = "none" if mount == "swap" else mount
            assert any(line.startswith(f"UUID={content['UUID']} {place} {kind} ") for line in lines)
