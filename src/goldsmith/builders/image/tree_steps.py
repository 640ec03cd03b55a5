"""The steps of the `image` source that make and change the tree."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from goldsmith.builders.image.bootstrap_options import Bootstrap
from goldsmith.builders.image.early_initramfs import made_beside
from goldsmith.builders.image.kept_initramfs import NAME as INITRAMFS
from goldsmith.builders.image.kept_initramfs import make_initramfs
from goldsmith.builders.image.options import ImageOptions
from goldsmith.communicators.none import NoCommunicator
from goldsmith.core.after_error import ERROR_CLEANUP
from goldsmith.core.builder import BuildContext
from goldsmith.core.caching import Caching, config_inputs, shown_path
from goldsmith.core.hook import provision_context, run_provisioner
from goldsmith.core.plan import PlanContext
from goldsmith.core.provisioner import KeyedOnRequest, ProvisionerCall
from goldsmith.core.step import StepContext, StepTraits, TreeContext
from goldsmith.disk import array_config, fstab
from goldsmith.disk.bootloader.grub_config import (
    find_kernels,
    render_default_grub,
    render_grub_cfg,
)
from goldsmith.disk.identity import DiskIdentity
from goldsmith.disk.layout import Layout
from goldsmith.errors import GoldsmithError
from goldsmith.host import user_namespace
from goldsmith.host.confined import make_directory, read_confined, write_confined
from goldsmith.host.tree_digests import tree_digests
from goldsmith.layers.content import describe, scan
from goldsmith.layers.keys import StepKey, canonical
from goldsmith.packages import finish, initramfs, policy
from goldsmith.packages.apt_progress import AptProgress
from goldsmith.packages.apt_request import AptRequest
from goldsmith.packages.bootstrap import (
    STORE,
    bootstrap_apt,
    bootstrap_tool,
    configure_apt,
    unpack_apt,
)
from goldsmith.packages.finish import FinishPlan
from goldsmith.packages.identity import set_hostname
from goldsmith.packages.image_tree import bootstrap_image
from goldsmith.packages.install import install_packages, is_separate
from goldsmith.packages.installed import os_release
from goldsmith.packages.unpack import bootstrap_directory, bootstrap_tar

DEFAULT_GRUB_FILE = "/etc/default/grub.d/50-image.cfg"


@dataclass(frozen=True, slots=True)
class UnpackStep(StepTraits):
    """Lays the files of all packages into the tree, from the store of unpacked ones."""

    request: AptRequest
    name: str = "unpack"
    label: str = "Fetching and unpacking packages"
    network: bool = True
    enters: bool = False
    declared: bool = field(default=True, kw_only=True)
    fills: bool = field(default=True, kw_only=True)

    def key(self) -> StepKey | None:
        """The request; the digests of the Release files are added by the cache."""
        return _key_of_request(self.request)

    def run(self, context: TreeContext) -> None:
        """Fill the empty tree; raises PackageError, StoreRefused."""
        # Late: a plan lays no trees.
        from goldsmith.packages.unpacked.links import Links

        unpack_apt(
            context.tree, self.request, emit=_Reporter(context), scratch=context.scratch,
            links=Links(context.epoch_s, context.contents) if context.is_bare else None,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class BootstrapStep(StepTraits):
    """Makes the tree from packages, an archive or a directory."""

    bootstrap: Bootstrap
    request: AptRequest | None
    directory: Path
    name: str = "bootstrap"
    declared: bool = field(default=True, kw_only=True)
    runs_apt: bool = field(default=False, kw_only=True)
    finishing: Callable[[Path], None] | None = field(default=None, kw_only=True, compare=False)
    """Writes what the last step writes for the initramfs, which is then made beside this one."""

    @property
    def enters(self) -> bool:
        """Whether programs of the tree run that were unpacked by the step before."""
        return self._is_laid

    @property
    def _is_laid(self) -> bool:
        return self.request is not None and self.request.tool == STORE

    @property
    def network(self) -> bool:
        """Whether packages are fetched."""
        return self.request is not None

    @property
    def label(self) -> str:
        """Says what the tree is made of."""
        if self.request is None:
            return f"Taking the tree from {self.bootstrap.source}"
        packages = self.request.all_packages()
        more = f" with {_count(packages)}" if packages else ""
        return f"Bootstrapping {self.request.suite}{more} by APT"

    def key(self) -> StepKey | None:
        """The request with all that it leaves in the tree; or the archive, or the directory.

        The digests of the Release files are added by the cache.
        """
        if self.request is not None:
            return _key_of_request(self.request)
        name = self.bootstrap.source or ""
        source = self.directory / name
        if source.is_dir():
            # Owners, attributes and times come along.
            seen_as = user_namespace.owners_inside()
            content = describe(source, scan(source), seen_as=seen_as).content
        else:
            content = tree_digests(source)["."]
        shown = f"file:{shown_path(name, self.directory)}"
        partition = self.bootstrap.partition
        chosen = {} if partition is None else {"partition": str(partition)}
        return StepKey({
            "type": f"bootstrap {self.bootstrap.method}/1", shown: content, **chosen,
        })  # fmt: skip

    def run(self, context: TreeContext) -> None:
        """Fill the empty tree; every program for that ends with the step."""
        emit, run_tool = _Reporter(context), context.run_tool
        if self.request is not None and self._is_laid:
            early = made_beside(context, self.finishing) if self.finishing else nullcontext()
            with early:
                configure_apt(context.tree, self.request, emit=emit, run_tool=run_tool)
            return
        if self.request is not None:
            bootstrap_apt(
                context.tree, self.request, emit=emit, scratch=context.scratch, run_tool=run_tool
            )
            return
        source = self.directory / (self.bootstrap.source or "")
        if self.bootstrap.method == "tar":
            bootstrap_tar(context.tree, source, emit=emit, run_tool=run_tool)
        elif self.bootstrap.method == "image":
            bootstrap_image(context.tree, source, emit=emit, scratch=context.scratch,
                            partition=self.bootstrap.partition)  # fmt: skip
        else:
            bootstrap_directory(context.tree, source, emit=emit, run_tool=run_tool)


@dataclass(frozen=True, slots=True)
class InstallStep(StepTraits):
    """Installs the packages beyond the base system."""

    packages: tuple[str, ...]
    name: str = "packages"
    network: bool = True
    enters: bool = True
    declared: bool = field(default=True, kw_only=True)

    @property
    def label(self) -> str:
        """Says how many."""
        return f"Installing {_count(self.packages)}"

    def key(self) -> StepKey | None:
        """The list; the sources are in the tree, their Release files are added by the cache."""
        return StepKey({"type": "packages/1", "packages": canonical(self.packages)})

    def run(self, context: TreeContext) -> None:
        """Install; raises PackageError."""
        install_packages(context.tree, self.packages, context.run_in_tree)


def base_steps(
    bootstrap: Bootstrap,
    request: AptRequest | None,
    directory: Path,
    *,
    finishing: Callable[[Path], None] | None = None,
) -> list[UnpackStep | BootstrapStep | InstallStep]:
    """The steps that make the tree for the others: a base system, and its packages.

    `finishing` is as in `BootstrapStep`.
    """
    if request is not None and request.tool == STORE:
        return [UnpackStep(request),
                BootstrapStep(bootstrap, request, directory, finishing=finishing)]  # fmt: skip
    if request is None or not is_separate(request):
        return [BootstrapStep(bootstrap, request, directory)]
    return [
        BootstrapStep(bootstrap, request.base(), directory),
        InstallStep(request.all_packages()),
    ]


def _count(packages: tuple[str, ...]) -> str:
    return f"{len(packages)} package{'' if len(packages) == 1 else 's'}"


def _key_of_request(request: AptRequest) -> StepKey:
    settings = request.settings
    return StepKey({
        "type": "bootstrap apt/2", "packages": canonical(request.all_packages()),
        **config_inputs({
            "suite": request.suite, "architecture": request.architecture,
            "variant": request.variant, "tool": request.tool or bootstrap_tool(),
            "pins": [repr(pin) for pin in request.pins],
            # They stand in the tree until it is finished, so steps can see them.
            "sources": [repr(source) for source in request.build_sources()],
            "apt settings": settings.tree_text(), "ca certificates": settings.ca_bundle.hex(),
        }),
    })  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Reporter:
    """Hands a bootstrap's lines to the emitter."""

    context: TreeContext
    apt: AptProgress = field(default_factory=AptProgress)

    def __call__(self, level: str, text: str) -> None:
        emitter = self.context.emitter
        if level == "warning":
            emitter.warn(text)
            return
        emitter.output(text, routine=True)
        if level == "message":
            emitter.progress(text, 0)
        elif stage := self.apt.read(text):
            emitter.progress(stage.what, stage.done, stage.total, unit=stage.unit)


@dataclass(frozen=True, slots=True)
class ConfigureStep(StepTraits):
    """Prepares the tree for provisioners: its name, no services, one initramfs at the end."""

    hostname: str | None
    name: str = "configure"
    label: str = "Configuring the tree"
    network: bool = False
    enters: bool = True

    def key(self) -> StepKey | None:
        """The host name."""
        return StepKey({"type": "configure/1", "hostname": self.hostname or ""})

    def run(self, context: TreeContext) -> None:
        """Write the host name, forbid services, divert update-initramfs."""
        if self.hostname is not None:
            set_hostname(context.tree, self.hostname)
        policy.forbid_services(context.tree)
        initramfs.divert_update_initramfs(context.tree, context.run_in_tree)


@dataclass(frozen=True, slots=True)
class KeyedProvision:
    """What is known of a provisioner's step before it runs."""

    call: ProvisionerCall
    number: int
    build: BuildContext | PlanContext
    builder_type: str
    enters: bool = True

    @property
    def name(self) -> str:
        """`provisioner-N`, counted from 1; 0 is the cleanup provisioner, which has no number."""
        return f"provisioner-{self.number}" if self.number else ERROR_CLEANUP

    @property
    def label(self) -> str:
        """What the provisioner says of itself."""
        return self.call.provisioner.label

    @property
    def network(self) -> bool:
        """Whether its programs see the host's network."""
        return self.call.provisioner.network

    @property
    def caching(self) -> Caching:
        """What the template says of its result."""
        return self.call.caching

    @property
    def chance(self) -> tuple[str, ...]:
        """What of clock and chance is in its options."""
        return self.call.chance

    @property
    def declared(self) -> bool:
        """No: a script may fetch anything."""
        return False

    @property
    def given_secrets(self) -> bool:
        """Every provisioner of a template with secrets may have got one."""
        return True

    @property
    def reads_only(self) -> bool:
        """Whether it only takes something out of the tree."""
        return self.call.provisioner.reads_only

    @property
    def fills(self) -> bool:
        """No: there is a tree to provision."""
        return False

    @property
    def runs_apt(self) -> bool:
        """Scripts do as they like."""
        return True

    @property
    def parts(self) -> tuple[str, ...]:
        """None: a provisioner is one whole."""
        return ()

    def key(self) -> StepKey | None:
        """What the provisioner says identifies it, and the names that its scripts are told."""
        provisioner = self.call.provisioner
        own = provisioner.key(self.build.directory)
        if own is None:
            if self.call.caching.key is None or not isinstance(provisioner, KeyedOnRequest):
                return None
            own = StepKey(provisioner.inputs_beside_cache_key())
        return StepKey({
            "env:PACKER_BUILD_NAME": self.build.source_name,
            "env:PACKER_BUILDER_TYPE": self.builder_type, **own.inputs,
        })  # fmt: skip


@dataclass(frozen=True, slots=True)
class ProvisionStep(KeyedProvision):
    """Runs one provisioner."""

    def run(self, context: TreeContext) -> None:
        """Provision; raises GoldsmithError, also when the provisioner's `timeout` is over."""
        assert isinstance(self.build, BuildContext), "who plans runs nothing"
        environment = context.environment
        run_provisioner(
            self.call,
            provision_context(self.build, context.communicator, self.builder_type, environment),
        )


@dataclass(frozen=True, slots=True)
class LocalProvisionStep:
    """Runs a provisioner that works on this host's files: outside of the tree, without a layer."""

    call: ProvisionerCall
    number: int
    build: BuildContext
    builder_type: str

    @property
    def name(self) -> str:
        """`provisioner-N`, counted from 1; 0 is the cleanup provisioner."""
        return f"provisioner-{self.number}" if self.number else ERROR_CLEANUP

    @property
    def label(self) -> str:
        """What the provisioner says of itself."""
        return self.call.provisioner.label

    def run(self, context: StepContext) -> None:
        """Provision; raises GoldsmithError, also when the provisioner's `timeout` is over."""
        run_provisioner(
            self.call, provision_context(self.build, NoCommunicator(), self.builder_type)
        )


@dataclass(frozen=True, slots=True)
class FinishStep(StepTraits):
    """Makes the tree an image's: initramfs, fstab, GRUB's configuration, and everything clean."""

    options: ImageOptions
    layout: Layout
    identity: DiskIdentity
    sources: FinishPlan
    name: str = "finish"
    label: str = "Finishing the tree"
    network: bool = False
    enters: bool = True
    parts: tuple[str, ...] = field(default=(INITRAMFS,), kw_only=True)

    def key(self) -> StepKey | None:
        """What of the layout reaches the tree: mount points and identifiers, never sizes."""
        return StepKey({
            "type": "finish/1", "fstab": self._fstab(), "cmdline": self.options.kernel_cmdline,
            "firmware": canonical(self.options.firmware), "sources": repr(self.sources),
            "arrays": self._arrays(),
        })  # fmt: skip

    def _arrays(self, existing: str = "") -> str:
        if not self.layout.raids:
            return ""
        return array_config.render(self.layout, self.identity, existing)

    def _fstab(self) -> str:
        return fstab.render(fstab.entries(self.layout, self.identity))

    def run(self, context: TreeContext) -> None:
        """Finish the tree; raises GoldsmithError when it cannot boot as asked."""
        tree = context.tree
        self.write_boot_files(tree)
        make_initramfs(context)
        if self.options.firmware:
            self._write_grub_cfg(tree)
        finish.clamp_password_dates(tree, context.epoch_s)
        for warning in finish.finish_tree(tree, self.sources):
            context.emitter.warn(warning)

    def write_boot_files(self, tree: Path) -> None:
        """Write what the initramfs may be made of; raises GoldsmithError for no mount point."""
        for mount in sorted(self.layout.by_mount()):
            place = make_directory(tree, mount)
            if place != tree / mount.lstrip("/") or not place.is_dir():
                raise GoldsmithError(
                    f"{mount} cannot be a mount point: in the tree it is /{place.relative_to(tree)}"
                    + ("" if place.is_dir() else ", which is not a directory"),
                    hint="name the directory itself, without links, or change it in a provisioner",
                )
        write_confined(tree, "/etc/fstab", self._fstab().encode())
        if self.layout.raids:
            existing = read_confined(tree, array_config.CONFIG_FILE) or b""
            text = self._arrays(existing.decode(errors="surrogateescape"))
            write_confined(tree, array_config.CONFIG_FILE, text.encode(errors="surrogateescape"))
        if self.options.firmware:
            text = render_default_grub(self.options.kernel_cmdline)
            write_confined(tree, DEFAULT_GRUB_FILE, text.encode())

    def _write_grub_cfg(self, tree: Path) -> None:
        mounts = self.layout.by_mount()
        uuids = {mount: self.identity.filesystem_uuid(p.name, p.filesystem.type)
                 for mount, p in mounts.items() if p.filesystem is not None}  # fmt: skip
        text = render_grub_cfg(
            find_kernels(tree), uuids["/"], self.options.kernel_cmdline,
            boot_uuid=uuids.get("/boot"), title=os_release(tree).get("NAME", "GNU/Linux"),
        )  # fmt: skip
        write_confined(tree, "/boot/grub/grub.cfg", text.encode())
