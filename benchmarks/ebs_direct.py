#!/usr/bin/env python3
"""How long an image takes to become an AMI by EBS direct: every block, what is used, what differs.

An ext4 of 1 GiB with 64 MiB of files is uploaded to the service of the tests, which takes 100 ms
for each block as AWS does, but has two processors at most for all connections. It is sent whole,
then without what is free, then again after 4 MiB were added. Blocks, seconds of the whole command
and its most memory are printed; `--check` fails if the delta is not five times as fast as all.

    benchmarks/ebs_direct.py [--put-ms 100] [--check]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests/system")]

from peak_memory import peak_bytes  # noqa: E402

from aws_rig import Rig  # noqa: E402 (found by the line above)

GIB = 1 << 30
FILES, FILE_BYTES = 16, 4 << 20
WANTED = 5.0


def make_image(place: Path) -> Path:
    """An ext4 with files of chance, so that nothing of it is zeros."""
    tree = place / "tree"
    tree.mkdir()
    for number in range(FILES):
        (tree / f"file-{number}").write_bytes(os.urandom(FILE_BYTES))
    image = place / "disk.raw"
    with image.open("wb") as file:
        file.truncate(GIB)
    subprocess.run(["mkfs.ext4", "-q", "-F", "-d", tree, image], check=True)
    return image


def upload(rig: Rig, place: Path, **given: object) -> tuple[int, float, float]:
    """Make an AMI of it; returns blocks that were sent, seconds of the command, and its MiB."""
    options = {"region": "us-east-1", "custom_endpoint_ec2": rig.url, "ami_name": "web",
               "force_deregister": True, **given}  # fmt: skip
    chain = [{"artifice": {"files": ["disk.raw"]}}, {"amazon-ebsdirect": options}]
    build = {"sources": ["source.null.n"], "post-processors": [{"post-processor": chain}]}
    whole = {"source": {"null": {"n": {"communicator": "none"}}}, "build": build}
    (place / "t.pkr.json").write_text(json.dumps(whole))
    environment = {**rig.environment, "GOLDSMITH_CACHE_DIR": str(place / "state")}
    rig.calls.clear()
    started_s = time.perf_counter()
    most_bytes = peak_bytes([sys.executable, "-m", "goldsmith", "build", "t.pkr.json"], place,
                            environment=environment)  # fmt: skip
    took_s = time.perf_counter() - started_s
    sent = sum(1 for call in rig.calls if call.action == "PutSnapshotBlock")
    return sent, took_s, most_bytes / (1 << 20)


def main() -> int:
    """Measure and print; 1 if a check was asked for and fails."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--put-ms", type=float, default=100.0, help="what each block takes")
    parser.add_argument("--check", action="store_true", help="fail unless a delta is fast")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="goldsmith-ebs-direct-") as directory:
        place = Path(directory)
        image = make_image(place)
        with Rig(place / "rig", loops=False, put_delay_s=options.put_ms / 1000) as rig:
            every = upload(rig, place, blocks="all", use_parent=False)
            used = upload(rig, place, use_parent=False)
            write = f"write {place / 'tree/file-0'} again"
            subprocess.run(["debugfs", "-w", "-R", write, image], check=True, capture_output=True)
            delta = upload(rig, place)
    for name, (blocks, took_s, most_mib) in (("all blocks", every), ("what is used", used),
                                             ("what differs", delta)):  # fmt: skip
        print(f"{name:13} {blocks:5} blocks {took_s:7.2f} s {most_mib:5.0f} MiB")
    return 1 if options.check and every[1] < WANTED * delta[1] else 0


if __name__ == "__main__":
    sys.exit(main())
