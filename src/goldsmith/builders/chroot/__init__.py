"""The `chroot` source: an existing image is provisioned, and written as a new one."""
