"""What `goldsmith doctor` looks at for machines: KVM by using it, UEFI firmware, the guest."""

from __future__ import annotations

import os
from pathlib import Path

from goldsmith.errors import MissingToolError
from goldsmith.host.checks import Check, Verdict
from goldsmith.host.process import find_tool
from goldsmith.machine import qemu
from goldsmith.machine.acceleration import EMULATOR, probe_acceleration, virtualization_flag
from goldsmith.machine.guest_upkeep import look_at_guest

KVM_DEVICE = Path("/dev/kvm")


def machine_checks() -> list[Check]:
    """The checks of this room."""
    return [
        Check(name="KVM", look=_look_at_kvm),
        Check(name="ovmf", look=_look_for_uefi_firmware),
        Check(name="guest", look=look_at_guest),
    ]


def _look_at_kvm() -> Verdict:
    if find_tool(EMULATOR) is None:
        missing = MissingToolError(EMULATOR, "qemu-system-x86")
        return Verdict("warning", f"cannot be tried: {missing}", missing.hint or "")
    found = probe_acceleration(device=KVM_DEVICE)
    if found.name == "kvm":
        return Verdict("ok", found.reason)
    return Verdict(
        "warning", f"{found.reason}; machines are emulated, many times slower",
        kvm_remedy(KVM_DEVICE, Path("/proc/cpuinfo").read_text()),
    )  # fmt: skip


def kvm_remedy(device: Path, cpuinfo: str) -> str:
    """What makes KVM usable where it is not."""
    if device.exists() and not os.access(device, os.R_OK | os.W_OK):
        return "usermod -aG kvm $USER, then log in again"
    if not device.exists() and (flag := virtualization_flag(cpuinfo)):
        return f"modprobe {'kvm_intel' if flag == 'vmx' else 'kvm_amd'}"
    return "on the host of this virtual machine: allow nested virtualization"


def _look_for_uefi_firmware() -> Verdict:
    files = [qemu.UEFI_DIRECTORY / name for name in (qemu.UEFI_CODE, qemu.UEFI_VARIABLES)]
    absent = [str(file) for file in files if not file.is_file()]
    if absent:
        what = f"no UEFI firmware: {', '.join(absent)}"
        return Verdict("missing", what, "apt-get install ovmf", ("ovmf",))
    return Verdict("ok", f"UEFI firmware in {qemu.UEFI_DIRECTORY}")
