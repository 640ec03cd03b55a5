"""The `amazon-chroot` source: an AMI made on an instance, without launching another one."""
