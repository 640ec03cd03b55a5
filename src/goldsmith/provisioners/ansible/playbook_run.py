"""One run of a playbook: its files in a directory of the run, its process, its end."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from goldsmith.core.provisioner import ProvisionContext
from goldsmith.errors import GoldsmithError, MissingToolError
from goldsmith.host import process
from goldsmith.provisioners.ansible.channel import open_channel
from goldsmith.provisioners.ansible.inputs import (
    CONFIG_FILE,
    PASSED_OVER,
    config_files,
    search_path,
    unkeyed,
)
from goldsmith.provisioners.ansible.machine import Machine
from goldsmith.provisioners.ansible.options import (
    DEFAULT_COMMAND,
    DEFAULT_GALAXY_COMMAND,
    AnsibleOptions,
    render_host,
)

_CONTROLLER: Final = Path(__file__).parent / "controller"
_SHOWN: Final = 5
_PLUGINS: Final = "ANSIBLE_CONNECTION_PLUGINS"
_MEANINGS: Final = {
    1: "Ansible could not run the playbook: its words above say why",
    2: "a task failed: its words above say why",
    3: "a task failed and the machine could not be reached",
    4: "Ansible could not use the machine: its words above say why, or the playbook is no YAML",
    250: "Ansible met with a defect of its own: its words above say where",
}


def has_own_ansible() -> bool:
    """Whether ansible-core is installed beside goldsmith."""
    return importlib.util.find_spec("ansible") is not None


def require_ansible(options: AnsibleOptions) -> None:
    """Raise MissingToolError where there is no Ansible to run."""
    if options.command == DEFAULT_COMMAND and has_own_ansible():
        return
    if process.find_tool(options.command) is None:
        raise MissingToolError(options.command, None)


@dataclass(frozen=True, slots=True)
class PlaybookRun:
    """Runs a playbook; `place` is a directory that only this user can enter."""

    options: AnsibleOptions
    context: ProvisionContext
    place: Path

    @property
    def notes(self) -> Path:
        """Where Ansible's reading is noted, by the programs that can."""
        return self.place / "read"

    def run(self, machine: Machine) -> list[str]:
        """Install what the template wants from Galaxy, then run; raises GoldsmithError.

        Returns why the result cannot be told from its key, readable; nothing when it can.
        """
        for name in ("home", "local", "channel"):
            (self.place / name).mkdir(mode=0o700)
        if self.options.galaxy_file is not None:
            self._install()
        channel_place = self.place / "channel"
        with open_channel(
            self.context.communicator, machine.directory, machine.environment, channel_place
        ) as channel:
            done = self._start(
                "playbook", self.options.command, self._arguments(machine),
                self._environment(machine.settings), also=(channel.fileno(), channel.serve),
            )  # fmt: skip
        if done.status:
            raise GoldsmithError(
                f"Error executing Ansible: Non-zero exit status: exit status {done.status}",
                hint=_MEANINGS.get(done.status),
            )
        return self._reasons(channel.fetched)

    def _reasons(self, fetched: Sequence[Path]) -> list[str]:
        taken = [str(path) for path in fetched if not path.is_relative_to(self.place)]
        reasons = [f"it fetches files to this host ({_listed(taken)})"] if taken else []
        if self.options.galaxy_file is not None and not self.options.network:
            # With the network a result ages as all that comes from there.
            reasons.append("what Galaxy installs may be another the next time")
        if not self.notes.exists():
            reasons.append(f"what {self.options.command} reads is not noted")
        else:
            own = (self.place, Path(__file__).parent, *fetched)
            read = unkeyed(self.notes, self.options, self.context.directory, own)
            if read:
                reasons.append(
                    f"it has read what the key of its step does not hold ({_listed(read)}); "
                    "`inputs` can name it"
                )
        return reasons

    def _install(self) -> None:
        options = self.options
        path = str(self.context.directory / (options.galaxy_file or ""))
        for kind in _kinds(Path(path)):
            argv = [kind, "install", "--force", "-r", path, "-p", str(self._galaxy(kind))]
            done = self._start("galaxy", options.galaxy_command, argv, self._environment())
            if done.status:
                raise GoldsmithError(
                    f"ansible-galaxy could not install the {kind}s of {options.galaxy_file}: "
                    f"exit status {done.status}",
                    hint="its words above say why",
                )

    def _galaxy(self, kind: str) -> Path:
        return self.place / "galaxy" / f"{kind}s"

    def _arguments(self, machine: Machine) -> list[str]:
        options = self.options
        arguments = []
        for given in (options.inventory_directory, options.inventory_file):
            if given is not None:
                arguments += ["-i", str(self.context.directory / given)]
        variables = {
            "packer_build_name": self.context.build_name,
            "packer_builder_type": self.context.builder_type, **options.extra_vars,
        }  # fmt: skip
        arguments += ["-i", self._write("inventory", self._inventory(machine))]
        arguments += ["-e", "@" + self._write("variables.json", json.dumps(variables))]
        limits = ("-l", "--limit", "-l=", "--limit=")
        if not any(word in limits[:2] or word.startswith(limits[2:])
                   for word in options.extra_arguments):  # fmt: skip
            arguments += ["--limit", options.host_alias]
        return [*arguments, *options.extra_arguments,
                str(self.context.directory / options.playbook_file)]  # fmt: skip

    def _write(self, name: str, text: str) -> str:
        path = self.place / name
        path.write_text(text, errors="surrogateescape")
        return str(path)

    def _inventory(self, machine: Machine) -> str:
        """The machine with its groups; the last line of a host is the one that counts."""
        options = self.options
        alias = options.host_alias
        lines = []
        user = self._user(machine)
        if options.inventory_file_template is not None:
            lines.append(render_host(options.inventory_file_template, alias, user).strip())
        channel = json.dumps(str(self.place / "channel"))
        places = " ".join(f"{name}={path}" for name, path in machine.variables.items())
        lines.append(f"{alias} ansible_connection=goldsmith ansible_user={user} "
                     f"ansible_goldsmith_channel={channel} {places}")  # fmt: skip
        for group in options.groups:
            lines += [f"[{group}]", alias]
        lines += [f"[{group}]" for group in options.empty_groups]
        return "\n".join(lines) + "\n"

    def _user(self, machine: Machine) -> str:
        """Who tasks start as; Ansible becomes nobody else where it thinks that it is them."""
        options = self.options
        if machine.in_tree or "user" in options.model_fields_set:
            return options.user
        return self.context.run_values.get("User") or options.user

    def _environment(self, more: Mapping[str, str] | None = None) -> dict[str, str]:
        """Ansible's own: nothing of the caller's but what every tool gets, and the template's."""
        options, directory = self.options, self.context.directory
        settings = [str(directory / name) for name in config_files(options, directory)]
        defaults = {
            "ANSIBLE_HOME": str(self.place / "home"),
            "ANSIBLE_LOCAL_TEMP": str(self.place / "local"),
            # Of tasks on this host; the machine has its own.
            "ANSIBLE_REMOTE_TEMP": str(self.place / "local"),
            "ANSIBLE_CONFIG": settings[0] if settings else self._write(CONFIG_FILE, ""),
            _PLUGINS: str(_CONTROLLER / "connection"),
            "ANSIBLE_NOCOLOR": "1", "ANSIBLE_RETRY_FILES_ENABLED": "0", "PYTHONUNBUFFERED": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
        }  # fmt: skip
        # A settings file may name places of its own; a variable would win over it.
        for kind, given in (("role", options.roles_path), ("collection", options.collections_path)):
            if given is None and settings and options.galaxy_file is None:
                continue
            places = [str(directory / part) for part in search_path(given, f"{kind}s")]
            if options.galaxy_file is not None:
                places.insert(0, str(self._galaxy(kind)))
            name = "ANSIBLE_ROLES_PATH" if kind == "role" else "ANSIBLE_COLLECTIONS_PATH"
            defaults[name] = ":".join(places) or str(self.place / "home")
        given_pairs = (pair.partition("=") for pair in options.ansible_env_vars)
        wanted = {name: value for name, _, value in given_pairs if name != "ANSIBLE_CONFIG"}
        if plugins := wanted.get(_PLUGINS):
            wanted[_PLUGINS] = f"{defaults[_PLUGINS]}:{plugins}"
        return {**process.tool_environment(), **defaults, **(more or {}), **wanted}

    def _start(
        self, program: str, command: str, arguments: Sequence[str], environment: Mapping[str, str],
        also: tuple[int, Callable[[], None]] | None = None,
    ) -> process.Completed:  # fmt: skip
        """Run a program of Ansible: our own with arguments that nobody sees, or the user's."""
        own = command in (DEFAULT_COMMAND, DEFAULT_GALAXY_COMMAND) and has_own_ansible()
        given: Mapping[str, object] = {
            "program": program, "arguments": list(arguments),
            "notes": str(self.notes) if program == "playbook" else "",
            "passed_over": [*PASSED_OVER, str(self.place)],
        }  # fmt: skip
        if own:
            argv = [sys.executable, "-P", str(_CONTROLLER / "launcher.py")]
        else:
            argv = [command, *arguments]
            self._refuse_secrets(argv)
        emitter = self.context.emitter
        return process.run(
            argv, input=json.dumps(given).encode() if own else None, env=environment,
            cwd=self.context.directory, check=False, also=also,
            on_line=lambda stream, line: emitter.output(line, stream),
        )  # fmt: skip

    def _refuse_secrets(self, argv: Sequence[str]) -> None:
        redact = self.context.emitter.redactor.redact
        for word in argv:
            if redact(word) != word:
                raise GoldsmithError(
                    f"a secret would stand in the arguments of {argv[0]}, which every user can "
                    f"read: {redact(word)}",
                    hint="give it by extra_vars, or leave `command` out",
                )


def _listed(paths: Sequence[str]) -> str:
    more = len(paths) - _SHOWN
    return ", ".join(paths[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _kinds(requirements: Path) -> list[str]:
    """What a file of requirements names: a list is of roles alone."""
    import yaml

    try:
        content = yaml.safe_load(requirements.read_bytes())
    except (OSError, yaml.YAMLError, RecursionError) as e:
        raise GoldsmithError(f"{requirements} cannot be read: {e}") from e
    if not isinstance(content, dict):
        return ["role"]
    return [kind for kind in ("role", "collection") if content.get(f"{kind}s")]
