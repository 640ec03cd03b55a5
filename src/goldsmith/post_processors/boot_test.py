"""The `boot-test` post-processor: proof that an image boots, on every firmware that it is for."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from goldsmith.core.artifact import Artifact, ExpectedArtifact
from goldsmith.core.caching import config_inputs
from goldsmith.core.options import DurationSeconds, Finding, Options, SizeBytes
from goldsmith.core.post_processor import PostProcessContext, PostProcessed
from goldsmith.errors import GoldsmithError
from goldsmith.host.process import get_tool
from goldsmith.layers.keys import StepKey, canonical
from goldsmith.machine.qemu import BootOptions, boot, require_uefi_firmware
from goldsmith.units import GIB, format_duration

_BOOTABLE = ("qcow2", "raw")


class BootTestOptions(Options):
    """Options of the `boot-test` post-processor."""

    expect: str = Field("login:", min_length=1, description="What the serial console must say.")
    firmware: tuple[Literal["bios", "uefi"], ...] = Field(
        (), description="What to boot on; by default all that the image is made for."
    )
    timeout: DurationSeconds = Field(300.0, gt=0, description="The time limit of each boot.")
    memory: SizeBytes = Field(GIB, description="The machine's memory.")
    cpus: int = Field(1, ge=1, le=64, description="The machine's processors.")
    serial_log: str | None = Field(
        None, description="Where the console's log goes; by default beside the image."
    )


class BootTest:
    """Boots the image on a throw-away overlay and waits for a text on its serial console."""

    type_name: ClassVar[str] = "boot-test"
    options_model: ClassVar[type[Options]] = BootTestOptions

    def __init__(self, options: Options) -> None:
        assert isinstance(options, BootTestOptions)
        self.options = options

    def check(self, directory: Path) -> Sequence[Finding]:
        """Nothing depends on the host's files."""
        return []

    def preflight(self, given: ExpectedArtifact) -> ExpectedArtifact:
        """Raise MissingToolError without QEMU or UEFI firmware, and for what cannot be booted."""
        _, firmwares = self._choose(given)
        for tool in ("qemu-system-x86_64", "qemu-img"):
            get_tool(tool)
        if "uefi" in firmwares:
            require_uefi_firmware()
        return given

    def _choose(self, given: ExpectedArtifact) -> tuple[str, tuple[str, ...]]:
        """The format of the image that is booted, and on what; raises GoldsmithError for none."""
        kind = next((name for name in _BOOTABLE if name in given.formats), None)
        if kind is None:
            raise GoldsmithError(
                "boot-test found no image that it can boot",
                hint='add "qcow2" or "raw" to `formats`',
            )
        firmwares = self.options.firmware or given.firmware
        if not firmwares:
            raise GoldsmithError(
                "boot-test has no firmware to boot on: the image is made for none",
                hint="set `firmware` of the source, or of boot-test",
            )
        return kind, firmwares

    def key(self, artifact: Artifact, context: PostProcessContext) -> StepKey | None:
        """The machine, the firmware and what the console must say; not how long it may take."""
        _, firmwares = self._choose(artifact.expected)
        options = self.options.model_dump(exclude={"timeout", "firmware"})
        return StepKey({"type": "boot-test/1", "firmware": canonical(firmwares),
                        **config_inputs(options)})  # fmt: skip

    def post_process(self, artifact: Artifact, context: PostProcessContext) -> PostProcessed:
        """Boot once per firmware; raises BootTestFailed. The artifact stays as it is."""
        kind, firmwares = self._choose(artifact.expected)
        for firmware in firmwares:
            self._boot(Path(artifact.images[kind]), kind, firmware, context)
        return PostProcessed(artifact, keep=True, force_keep=True)

    def _boot(self, image: Path, kind: str, firmware: str, context: PostProcessContext) -> None:
        log = self._log_path(image, firmware, context.directory)
        context.emitter.say(f"Booting {image.name} by {firmware}, waiting for "
                            f"{self.options.expect!r}...")  # fmt: skip
        context.emitter.progress(f"booting by {firmware}", 0)
        result = boot(
            BootOptions(
                image=image, format=kind, firmware=firmware,  # type: ignore[arg-type]
                memory_bytes=self.options.memory, cpus=self.options.cpus,
                expect=self.options.expect, timeout_s=self.options.timeout, serial_log=log,
            ),
            on_line=lambda line: context.emitter.output(line, routine=True),
            directory=context.scratch,
        )  # fmt: skip
        context.emitter.say(
            f"Booted by {firmware} in {format_duration(result.duration_s)} "
            f"({result.acceleration.name}); serial log: {os.path.relpath(log, context.directory)}"
        )

    def _log_path(self, image: Path, firmware: str, directory: Path) -> Path:
        if self.options.serial_log is None:
            return image.with_name(f"{image.stem}.{firmware}.serial.log")
        path = directory / self.options.serial_log
        both = len(self.options.firmware) != 1
        return path.with_name(f"{path.stem}.{firmware}{path.suffix}") if both else path
