"""fuel-agent's input for provisioning: what a machine's disks, images and first start are to be.

The server puts much more into it than is read; only what says how disks are written is strict.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Annotated, Any, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from goldsmith.deploy.boot_loader import system_partitions
from goldsmith.deploy.copying.sources import shown_address
from goldsmith.deploy.image_requests import request_of
from goldsmith.deploy.scheme import (
    ConfigDriveData,
    Deployment,
    ImageRequest,
    Interface,
    Scheme,
    UserAccount,
)
from goldsmith.disk.image_set import ImageSet
from goldsmith.errors import GoldsmithError
from goldsmith.template.fuel import simple, spaces
from goldsmith.template.fuel.build_input import input_error, read_model
from goldsmith.template.fuel.config import FuelConfig
from goldsmith.template.fuel.spaces_input import DiskSpace, Space, problems

DRIVERS: Final = ("nailgun", "nailgun_simple", "ironic")
FetchMetadata = Callable[[str], ImageSet]
_DEFAULT_TIMEZONE: Final = "America/Los_Angeles"
_MCOLLECTIVE: Final = ("pskey", "vhost", "host", "user", "password", "connector", "enable",
                       "identity")  # fmt: skip


def _words(given: object) -> object:
    """A list as it is; a text of words with commas or blanks between them, perhaps in quotes."""
    if isinstance(given, str):
        return [word for word in given.strip().strip("\"'").replace(",", " ").split() if word]
    return [] if given is None else given


def _text(given: object) -> object:
    return "" if given is None else given.strip("\"'") if isinstance(given, str) else given


Words = Annotated[tuple[str, ...], BeforeValidator(_words)]
Text = Annotated[str, BeforeValidator(_text)]


class _Loose(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, populate_by_name=True)


class InterfaceInput(_Loose):
    """A network interface of the machine."""

    mac_address: Text = ""
    ip_address: Text = ""
    netmask: Text = ""


class KernelOptions(_Loose):
    """What the installer's kernel was told."""

    admin_mac: Text = Field("", validation_alias="netcfg/choose_interface")
    udevrules: Text = ""


class PlacementInput(_Loose):
    """How disks are divided, and what the kernel is told."""

    kernel_params: Text = ""
    ks_spaces: tuple[Space, ...] = ()


class ImageInput(_Loose):
    """An image and its container."""

    uri: str
    format: str = ""
    container: str = "raw"


class UserInput(_Loose):
    """A user of the machine."""

    name: str
    password: Text = ""
    homedir: Text = ""
    shell: str = "/bin/bash"
    sudo: Words = ()
    ssh_keys: tuple[str, ...] = ()


class Repositories(_Loose):
    """Package sources of the machine."""

    repos: tuple[dict[str, Any], ...] = ()


class MachineInput(_Loose):
    """`ks_meta`."""

    model_config = ConfigDict(extra="allow", frozen=True)

    pm_data: PlacementInput
    image_data: dict[str, ImageInput] = {}
    auth_key: Text = ""
    authorized_keys: tuple[str, ...] = ()
    master_ip: Text = ""
    gw: Text = ""
    timezone: str = _DEFAULT_TIMEZONE
    repo_setup: Repositories = Repositories()
    puppet_master: Text = ""
    puppet_enable: int | bool | str = 0
    user_accounts: tuple[UserInput, ...] = ()
    cloud_init_templates: dict[str, str] = {}
    kernel_lt: int | bool | str | None = None


class ProvisionInput(_Loose):
    """The whole input of `fa-provision` and its parts."""

    profile: Text = ""
    hostname: Text = ""
    interfaces: dict[str, InterfaceInput] = {}
    kernel_options: KernelOptions = KernelOptions.model_validate({})
    name_servers: Words = ()
    name_servers_search: Text = ""
    ks_meta: MachineInput
    partitioning: simple.Partitioning | None = None


def read_provision_input(data: Any, origin: str, driver: str) -> ProvisionInput:
    """Check the input as a whole; raises InputError with every finding."""
    given = read_model(ProvisionInput, data, origin)
    wrong = list(_problems(given, driver))
    if wrong:
        raise input_error(wrong, origin)
    return given


def _problems(given: ProvisionInput, driver: str) -> Iterator[str]:
    if driver == "nailgun_simple":
        if given.partitioning is None:
            yield "partitioning: it is missing"
    else:
        yield from problems(given.ks_meta.pm_data.ks_spaces)
    for mount in given.ks_meta.image_data:
        if not mount.startswith("/"):
            yield f'ks_meta.image_data: "{mount}" is not a mount point'


def to_scheme(
    given: ProvisionInput,
    origin: str,
    driver: str,
    config: FuelConfig,
    find_device: Callable[[DiskSpace], str],
) -> Scheme:
    """The scheme of an input; raises GoldsmithError for a disk that is not there."""
    if driver == "nailgun_simple":
        assert given.partitioning is not None, "it was checked"
        found = simple.to_scheme(given.partitioning, origin)
    else:
        found = spaces.to_scheme(
            given.ks_meta.pm_data.ks_spaces, find_device, old_arrays=_is_old_centos(given),
            config_drive=config.use_configdrive and driver != "ironic",
        )  # fmt: skip
    return _with_types_of_images(found, given)


def _with_types_of_images(scheme: Scheme, given: ProvisionInput) -> Scheme:
    """A file system that comes as an image is of the image's kind."""
    kinds = {mount: image.format for mount, image in given.ks_meta.image_data.items()}
    filesystems = tuple(
        replace(fs, type=kinds.get(fs.mount or "") or fs.type) for fs in scheme.filesystems
    )
    return replace(scheme, filesystems=filesystems)


def _is_centos(given: ProvisionInput) -> bool:
    return "centos" in given.profile.lower()


def _is_old_centos(given: ProvisionInput) -> bool:
    return _is_centos(given) and not given.ks_meta.kernel_lt


def image_requests(
    given: ProvisionInput, scheme: Scheme, fetch: FetchMetadata | None
) -> tuple[ImageRequest, ...]:
    """The images with what the metadata beside the root's image says of them.

    Raises GoldsmithError for an image without a place or metadata: its bytes could not be checked.
    Without `fetch` nothing is known of their bytes.
    """
    images = given.ks_meta.image_data
    if not images:
        return ()
    root = images.get("/")
    if root is None:
        raise GoldsmithError("ks_meta.image_data has no image for /",
                             hint="the metadata of all images lies beside that one")  # fmt: skip
    address = metadata_address(root.uri)
    described = ImageSet(()) if fetch is None else fetch(address)
    requests = []
    for mount, image in images.items():
        fs = scheme.by_mount(mount)
        if fs is None:
            raise GoldsmithError(f"there is an image for {mount}, and no file system there")
        if fetch is None:
            requests.append(
                ImageRequest((image.uri,), fs.node, mount, image.container, image.format)
            )
            continue
        name = image.uri.rsplit("/", 1)[-1]
        found = described.by_container_name(name)
        if found is None:
            raise GoldsmithError(
                f"{shown_address(address)} says nothing of {name}: it could not be checked"
            )
        request = request_of(found, image.uri, fs.node, mount)
        requests.append(replace(request, container=image.container,
                                format=image.format or found.format))  # fmt: skip
    return tuple(requests)


def metadata_address(root_uri: str) -> str:
    """Where the metadata lies: beside the root's image, under its name up to the first dot."""
    base, _, name = root_uri.rpartition("/")
    return f"{base}/{name.partition('.')[0]}.yaml"


def to_deployment(
    given: ProvisionInput,
    scheme: Scheme,
    images: tuple[ImageRequest, ...],
    config: FuelConfig,
    driver: str,
) -> Deployment:
    """The whole deployment of an input."""
    meta = given.ks_meta
    kernel = r"^vmlinuz-3\.10.*" if meta.kernel_lt else r"^vmlinuz-2\.6.*"
    initrd = r"^initramfs-3\.10.*" if meta.kernel_lt else r"^initramfs-2\.6.*"
    with_drive = driver != "ironic"
    ready = None if config.prepare_configdrive else config.config_drive_path
    has_ready = ready is not None and os.path.exists(ready)
    data = config_drive_data(given, config) if with_drive else None
    return Deployment(
        scheme, images, firmware=_firmware(scheme), kernel_cmdline=meta.pm_data.kernel_params,
        grub_timeout_s=config.grub_timeout, root_by_uuid=config.use_uuid_root,
        hostname=given.hostname, config_drive=None if has_ready else data,
        config_drive_file=ready if has_ready and with_drive else None,
        seed=with_drive and not config.use_configdrive,
        interfaces=tuple(_interfaces(given, config)), secrets=tuple(_secrets(given)),
        kernel=kernel if _is_centos(given) else "", initrd=initrd if _is_centos(given) else "",
        distinct_disks=tuple(filter(None, map(str.strip, config.distinct_disks.split(",")))),
    )  # fmt: skip


def _firmware(scheme: Scheme) -> tuple[str, ...]:
    """BIOS, which fuel-agent installs GRUB for; UEFI besides where a scheme has an ESP."""
    if not scheme.boot_disks():
        return ()
    has_esp = any(system_partitions(disk) for disk in scheme.boot_disks())
    return ("bios", "uefi") if has_esp else ("bios",)


def config_drive_data(given: ProvisionInput, config: FuelConfig) -> ConfigDriveData:
    """What cloud-init is told on the first start."""
    meta = given.ks_meta
    keys = [*meta.authorized_keys, *([meta.auth_key] if meta.auth_key else [])]
    extra: Mapping[str, Any] = meta.model_extra or {}
    mcollective = {name: extra[f"mco_{name}"] for name in _MCOLLECTIVE if f"mco_{name}" in extra}
    puppet = {"master": meta.puppet_master, "enable": meta.puppet_enable}
    return ConfigDriveData(
        given.hostname.partition(".")[0], given.hostname, tuple(given.name_servers),
        given.name_servers_search, tuple(dict.fromkeys(keys)), meta.timezone, meta.gw,
        meta.master_ip, f"http://{meta.master_ip}:8000/api" if meta.master_ip else "",
        tuple(tuple(repo.items()) for repo in meta.repo_setup.repos),
        given.kernel_options.udevrules, _admin(given), given.profile,
        tuple(UserAccount(u.name, u.password, u.homedir, u.shell, tuple(u.sudo),
                          tuple(u.ssh_keys)) for u in meta.user_accounts),
        (("puppet", puppet), ("mcollective", mcollective)), _templates(given, config),
    )  # fmt: skip


def _templates(given: ProvisionInput, config: FuelConfig) -> tuple[tuple[str, str], ...]:
    """Template files by what they are for: those that the input names, or that the profile has."""
    profile = given.profile
    endings = (profile, profile.partition("_")[0], profile.partition("-")[0])
    found = []
    for what in ("cloud_config", "boothook", "meta_data_json", "meta_data", "user_data"):
        own = given.ks_meta.cloud_init_templates.get(what)
        names = [own] if own else []
        names += [f"{what}_{ending}.jinja2" for ending in endings if ending] + [f"{what}.jinja2"]
        for name in names:
            path = _template_path(name, config.nc_template_path)
            if path is not None:
                found.append((what, path))
                break
        else:
            if own:
                raise GoldsmithError(f"ks_meta.cloud_init_templates: there is no {own}",
                                     hint="nc_template_path says where templates lie")  # fmt: skip
    return tuple(found)


def _template_path(name: str, directory: str) -> str | None:
    """A template by its whole path, or by its name in the directory of templates."""
    if "/" not in name and not directory:
        return None
    path = name if name.startswith("/") else os.path.join(directory, name)
    return path if ".." not in name.split("/") and os.path.isfile(path) else None


def _admin(given: ProvisionInput) -> Interface | None:
    wanted = given.kernel_options.admin_mac.lower()
    for name, one in given.interfaces.items():
        if wanted and one.mac_address.lower() == wanted:
            return Interface(name, wanted, one.ip_address, one.netmask, is_admin=True)
    return None


def _interfaces(given: ProvisionInput, config: FuelConfig) -> Iterator[Interface]:
    """Those that udev's rules name, and the one for administration with its address."""
    admin = _admin(given)
    rules = [rule.partition("_") for rule in given.kernel_options.udevrules.split(",") if rule]
    named = {name: mac.lower() for mac, _, name in rules if name}
    if not config.fix_udev_net_rules:
        named = {}
    for name, mac in named.items():
        if admin is None or admin.name != name:
            yield Interface(name, mac)
    if admin is not None:
        yield replace(admin, mac=named.get(admin.name, ""))


def _secrets(given: ProvisionInput) -> Iterator[str]:
    """What must not be shown: passwords and keys of services."""
    for user in given.ks_meta.user_accounts:
        if user.password:
            yield user.password
    extra: Mapping[str, Any] = given.ks_meta.model_extra or {}
    for name in ("mco_password", "mco_pskey"):
        if extra.get(name):
            yield str(extra[name])
