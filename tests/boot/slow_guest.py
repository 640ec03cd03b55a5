"""What a guest of Debian needs in order to reach its login in an emulator on a busy machine."""

from __future__ import annotations

PATIENT = (
    # The console's device takes minutes to be seen. systemd waits 90 s for it, and without it no
    # login is offered there, although the machine is up.
    "mkdir -p /etc/systemd/system.conf.d",
    "echo '[Manager]' > /etc/systemd/system.conf.d/slow.conf",
    "echo DefaultDeviceTimeoutSec=20min >> /etc/systemd/system.conf.d/slow.conf",
    # It looks for leftovers of LVM, for minutes.
    "systemctl mask e2scrub_reap.service",
)
"""Commands for a shell provisioner."""
