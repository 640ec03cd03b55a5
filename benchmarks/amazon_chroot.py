#!/usr/bin/env python3
"""What a whole build of amazon-chroot costs besides AWS: packer of Debian beside goldsmith.

Both build the same template on the tests' own cloud, whose states are ready at once: a volume of a
small source, attached as a loop device, one shell provisioner, the snapshot, the AMI with tags. The
runs alternate, so that a busy machine disturbs both alike; medians are printed, by the clock and by
the processors, and how much of the time the cloud itself took to answer.

    benchmarks/amazon_chroot.py [--runs 9] [--check]
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from aws_rig import Rig
from aws_rig.scenarios import fill_with_base, partitioned_disk

PROGRAM = Path(sys.executable).with_name("goldsmith")
PACKER = "packer"
GOLDSMITH = "goldsmith"
MOST_OF_PACKER = 1.0
TEMPLATE = """\
source "amazon-chroot" "web" {
  region               = "us-east-1"
  custom_endpoint_ec2  = "URL"
  skip_region_validation = true
  ami_name             = "web-NUMBER"
  source_ami           = "ami-base"
  device_path          = "DEVICE"
  mount_path           = "PLACE"
  nvme_device_path     = "DEVICE"
  copy_files           = []
  chroot_mounts        = [["proc", "proc", "/proc"]]
  tags                 = { Name = "web" }
}
build {
  sources = ["source.amazon-chroot.web"]
  provisioner "shell" {
    inline = ["echo hello > /told"]
  }
}
"""


@dataclass
class Times:
    """Every run of one program."""

    wall_s: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)


def programs_of_host(place: Path) -> Path:
    """A tree with a shell and the programs that the provisioner runs, of this host."""
    tree = place / "tree"
    for name in ("usr/bin", "proc", "tmp", "etc", "dev", "sys", "run"):
        (tree / name).mkdir(parents=True)
    for name in ("bin", "sbin", "lib", "lib64"):
        (tree / "usr" / name).mkdir(exist_ok=True)
        (tree / name).symlink_to(f"usr/{name}")
    for name in ("sh", "chmod", "rm", "env", "mkdir", "cat"):
        path = shutil.which(name, path="/usr/bin:/bin")
        if path is None:
            sys.exit(f"this host has no {name}")
        shutil.copy2(os.path.realpath(path), tree / "usr/bin" / name)
        listed = subprocess.run(["ldd", path], check=True, capture_output=True, text=True).stdout
        for library in (word for word in listed.split() if word.startswith("/")):
            target = tree / library.lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(os.path.realpath(library), target)
    return tree


def measured(argv: list[str], environment: dict[str, str], times: Times) -> None:
    """Run a build once, in silence; ends the benchmark when it fails."""
    before, started_s = os.times(), time.perf_counter()
    done = subprocess.run(argv, check=False, env=environment, stdin=subprocess.DEVNULL,
                          capture_output=True, text=True)  # fmt: skip
    times.wall_s.append(time.perf_counter() - started_s)
    after = os.times()
    times.cpu_s.append(
        after.children_user - before.children_user + after.children_system - before.children_system
    )
    if done.returncode:
        sys.exit(f"{' '.join(argv)} ended with {done.returncode}: {done.stdout}{done.stderr}")


def measure(runs: int, place: Path) -> dict[str, Times]:
    """Build in turn with every program that is there; the first round is not counted."""
    disk = partitioned_disk(place / "disk", programs_of_host(place))
    found = {GOLDSMITH: Times()}
    programs = {GOLDSMITH: str(PROGRAM)}
    if path := shutil.which(PACKER):
        programs[PACKER], found[PACKER] = path, Times()
    with Rig(place / "rig") as rig:
        fill_with_base(rig, disk)
        environment = {
            "PATH": os.environ["PATH"], "HOME": str(place), "TMPDIR": str(place),
            "XDG_CACHE_HOME": str(place / "cache"), "XDG_STATE_HOME": str(place / "state"),
            "CHECKPOINT_DISABLE": "1", **rig.environment, "AWS_POLL_DELAY_SECONDS": "1",
        }  # fmt: skip
        for number in range(runs + 1):
            for name, program in programs.items():
                text = TEMPLATE.replace("URL", rig.url).replace("NUMBER", f"{name}-{number}")
                text = text.replace("DEVICE", str(rig.disks.nodes / "sdf"))
                template = place / "t.pkr.hcl"
                template.write_text(text.replace("PLACE", str(place / "root")))
                measured([program, "build", "-color=false", str(template)], environment,
                         found[name] if number else Times())  # fmt: skip
    return found


def main() -> int:
    """Measure and print; with --check returns 1 where the limit is missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--runs", type=int, default=9, help="runs of each program (9)")
    parser.add_argument("--check", action="store_true", help="fail where the limit is missed")
    given = parser.parse_args()
    if os.geteuid():
        sys.exit("mounting volumes needs root")
    with tempfile.TemporaryDirectory(prefix="amazon-") as place:
        found = measure(given.runs, Path(place))
    print(f"medians of {given.runs} builds, in turn")
    for name, times in found.items():
        print(f"{name:10} {statistics.median(times.wall_s) * 1000:6.0f} ms  "
              f"cpu {statistics.median(times.cpu_s) * 1000:6.0f} ms")  # fmt: skip
    if PACKER not in found:
        print(f"{PACKER} is not installed: nothing to compare with")
        return 0
    ratio = statistics.median(found[GOLDSMITH].wall_s) / statistics.median(found[PACKER].wall_s)
    print(f"goldsmith takes {ratio:.2f} x packer's time  (limit {MOST_OF_PACKER:.1f} x)")
    return 1 if given.check and ratio > MOST_OF_PACKER else 0


if __name__ == "__main__":
    sys.exit(main())
