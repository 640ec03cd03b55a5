"""The `amazon-chroot` source: an AMI made on an instance, without launching another one."""

from goldsmith.builders.amazon_chroot.builder import BUILDER_ID
from goldsmith.builders.amazon_chroot.devices import available_device

__all__ = ["BUILDER_ID", "available_device"]
