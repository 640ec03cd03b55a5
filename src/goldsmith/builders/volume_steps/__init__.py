"""The steps of builders that change a volume in place of launching a machine from it.

They run in the order of Packer's amazon-chroot: lock, prepare a device, attach, unlock, commands
before mounting, mount, commands after it, mounts in the chroot, files of the host, provisioners,
early cleanup, and then whatever makes a result of the volume. What prepares, attaches and keeps a
volume is the builder's own; a step gives what it acquires to the teardown that it is made with,
and returns the handle by which `EarlyCleanupStep` lets go of it before the end.
"""
