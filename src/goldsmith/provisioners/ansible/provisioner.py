"""The provisioner itself: checks, key, and one run after the other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from goldsmith.core.options import Finding, Options
from goldsmith.core.provisioner import ProvisionContext
from goldsmith.errors import GoldsmithError, MissingToolError, Severity
from goldsmith.layers.keys import StepKey
from goldsmith.provisioners.ansible import inputs
from goldsmith.provisioners.ansible.machine import prepared_machine
from goldsmith.provisioners.ansible.options import AnsibleOptions, given_ssh_options
from goldsmith.provisioners.ansible.playbook_run import PlaybookRun, require_ansible


class AnsibleProvisioner:
    """Runs a playbook from this host on the tree or machine; no SSH is needed."""

    type_name: ClassVar[str] = "ansible"
    options_model: ClassVar[type[Options]] = AnsibleOptions
    changes_tree: ClassVar[bool] = True

    def __init__(self, options: Options) -> None:
        assert isinstance(options, AnsibleOptions)
        self.options = options
        self.network = options.network
        self.reads_only = False
        self._untold: list[str] = []

    @property
    def needed_packages(self) -> tuple[str, ...]:
        """Python, for Ansible's modules."""
        return ("python3",) if self.options.needs_python else ()

    @property
    def label(self) -> str:
        """Names the playbook."""
        return f"Provisioning with Ansible: {self.options.playbook_file}"

    def check(self, directory: Path) -> Sequence[Finding]:
        """Ansible, the playbook and what else the template names must be there."""
        options = self.options
        findings = []
        files = ("playbook_file", "inventory_file", "galaxy_file")
        for name in (*files, "inventory_directory"):
            given = getattr(options, name)
            kind, there = ("file", Path.is_file) if name in files else ("directory", Path.is_dir)
            if given is not None and not there(directory / given):
                findings.append(Finding(f"Bad {name} {given!r}: there is no such {kind}", (name,)))
        for number, given in enumerate(options.inputs):
            if not (directory / given).exists():
                text = f"Bad input {given!r}: there is no such file or directory"
                findings.append(Finding(text, ("inputs", number)))
        for name in ("roles_path", "collections_path"):
            given = getattr(options, name)
            missing = [part for part in inputs.search_path(given, "") if given is not None
                       and not (directory / part).is_dir()]  # fmt: skip
            findings += [Finding(f"Bad {name}: there is no directory {part}", (name,))
                         for part in missing]  # fmt: skip
        for name in given_ssh_options(options):
            text = f"{name} has no effect: there is no SSH between goldsmith and Ansible"
            findings.append(Finding(text, (name,), "Remove it.", Severity.WARNING))
        try:
            require_ansible(options)
        except MissingToolError as e:
            hint = "Install goldsmith with its extra: goldsmith[ansible]."
            findings.append(Finding(str(e), ("playbook_file",), hint))
        return findings

    def key(self, directory: Path) -> StepKey | None:
        """The playbook with everything that is known to belong to it, and how it is run.

        Raises GoldsmithError when the last run has shown that this does not say everything.
        """
        if self._untold:
            raise GoldsmithError(f"the playbook has no key: {'; '.join(self._untold)}")
        return inputs.key(self.options, directory)

    def provision(self, context: ProvisionContext) -> None:
        """Run the playbook; raises GoldsmithError when a task fails."""
        with (
            context.scratch_directory() as place,
            prepared_machine(context, needs_python=self.options.needs_python) as machine,
        ):
            self._untold = PlaybookRun(self.options, context, place).run(machine)
        if self._untold:
            context.emitter.warn(f"this playbook runs in each build: {'; '.join(self._untold)}")
