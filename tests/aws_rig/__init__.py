"""A small cloud on this machine: EC2 with real disks, EBS direct and IMDSv2, served on loopback.

moto answers what is not about disks and images; these the rig keeps itself, as stock moto keeps
no bytes, drops most of what an image is registered with, and is ready at once. A volume is a
sparse file, an attached one a loop device, a snapshot a copy of its extents.
"""

from aws_rig.cloud import Cloud, Image, Snapshot
from aws_rig.disks import Disks
from aws_rig.refusals import Fault, Refused
from aws_rig.server import Call, Rig

__all__ = ["Call", "Cloud", "Disks", "Fault", "Image", "Refused", "Rig", "Snapshot"]
