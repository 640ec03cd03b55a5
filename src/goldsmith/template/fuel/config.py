"""fuel-agent's configuration file: the options that mean something here, with its defaults.

The file is oslo.config's: `name = value` below `[DEFAULT]`. Options that only served what goldsmith
does otherwise are taken and named in a warning, so that an old file still works.
"""

from __future__ import annotations

import configparser
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Final

from goldsmith.core.options import did_you_mean
from goldsmith.errors import GoldsmithError, explain_os_error

DEFAULT_FILE: Final = Path("/etc/fuel-agent/fuel-agent.conf")
LARGEST_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class FuelConfig:
    """The options that have an effect; None leaves a choice to the command line or the input."""

    data_driver: str | None = None
    image_build_dir: str = "/tmp"  # noqa: S108 (fuel-agent's default)
    input_data_file: str = "/tmp/provision.json"  # noqa: S108
    input_data: str = ""
    nc_template_path: str = ""
    config_drive_path: str = "/tmp/config-drive.img"  # noqa: S108
    prepare_configdrive: bool = True
    use_configdrive: bool = True
    fix_udev_net_rules: bool = True
    grub_timeout: int = 10
    use_uuid_root: bool = False
    fetch_packages_attempts: int = 10
    http_max_retries: int = 30
    http_request_timeout: float = 10.0
    http_retry_delay: float = 2.0
    default_root_password: str | None = field(default=None, repr=False)
    distinct_disks: str = ""
    """Ours: names of disks, by commas, that share an identifier and are disks of their own."""
    log_file: str | None = None
    debug: bool = False


_WITHOUT_EFFECT: Final = {
    "tmp_path": "temporary files lie in goldsmith's own run directory",
    "udev_rules_dir": "udev's rules stay as they are", "udev_rules_lib_dir": "udev's rules stay",
    "udev_rename_substr": "udev's rules stay", "udev_empty_rule": "udev's rules stay",
    "partition_udev_settle_attempts": "nodes are waited for by themselves",
    "image_build_suffix": "temporary files lie in goldsmith's own run directory",
    "max_loop_devices_count": "the kernel hands out free loop devices",
    "loop_device_major_number": "the kernel hands out free loop devices",
    "max_allowed_attempts_attach_image": "the kernel hands out free loop devices",
    "sparse_file_size": "file systems are made as large as they have to be",
    "allow_unsigned_file": "APT's settings are not written into the image",
    "force_ipv4_file": "APT's settings are not written into the image",
    "skip_md_containers": "arrays of other disks than the named ones are never touched",
    "lvm_filter_for_mpath": "disks of device-mapper are not divided",
    "mpath_lvm_preferred_names": "disks of device-mapper are not divided",
    "mpath_lvm_scan_dirs": "disks of device-mapper are not divided",
    "lvm_conf_path": "disks of device-mapper are not divided",
    "partition_alignment": "partitions are aligned to 1 MiB",
    "data_chunk_size": "pieces have a size of their own",
    "read_chunk_size": "pieces have a size of their own",
    "execute_retry_delay": "programs are not tried again blindly",
}  # fmt: skip
_OF_LOGGING: Final = frozenset({
    "verbose", "log_dir", "log_config_append", "log_date_format", "use_syslog", "use_stderr",
    "use_journal", "watch_log_file", "syslog_log_facility", "logging_context_format_string",
    "logging_default_format_string", "logging_debug_format_suffix", "default_log_levels",
    "logging_exception_prefix", "instance_format", "instance_uuid_format", "fatal_deprecations",
})  # fmt: skip
_SWITCHES: Final = configparser.ConfigParser.BOOLEAN_STATES


def read_config(paths: Sequence[Path]) -> tuple[FuelConfig, list[str]]:
    """Read the files, later ones over earlier ones; returns the options, and warnings.

    Raises GoldsmithError for a file that cannot be read, and for a value of the wrong kind.
    """
    config, warnings = FuelConfig(), list[str]()
    for path in paths:
        for name, text in _options(path).items():
            if any(one.name == name for one in fields(FuelConfig)):
                config = replace(config, **{name: _value(path, name, text)})
            elif reason := _WITHOUT_EFFECT.get(name):
                warnings.append(f"{path}: {name} has no effect here: {reason}")
            elif name not in _OF_LOGGING:
                known = [*_WITHOUT_EFFECT, *(one.name for one in fields(FuelConfig))]
                warnings.append(f"{path}: there is no option {name}.{did_you_mean(name, known)}")
    return config, warnings


def _options(path: Path) -> dict[str, str]:
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read(LARGEST_BYTES + 1)
        if len(text) > LARGEST_BYTES:
            raise GoldsmithError(f"{path} is no configuration file: it is larger than 1 MiB")
        parser.read_string(text, str(path))
    except OSError as e:
        raise explain_os_error(e) from e
    except (configparser.Error, UnicodeDecodeError) as e:
        raise GoldsmithError(f"{path} is no configuration file: {e}") from e
    return {name.replace("-", "_"): text for name, text in parser.defaults().items()}


def _value(path: Path, name: str, text: str) -> Any:
    default = getattr(FuelConfig(), name)
    text = text.strip()
    try:
        if isinstance(default, bool):
            return _SWITCHES[text.lower()]
        return type(default)(text) if isinstance(default, int | float) else text
    except (KeyError, ValueError):
        kind = "true or false" if isinstance(default, bool) else "a number"
        raise GoldsmithError(f"{path}: {name} = {text}: it is {kind}") from None
