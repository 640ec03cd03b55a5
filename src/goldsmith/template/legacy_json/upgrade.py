"""From a JSON template to HCL2: the same builds in the newer language."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

from goldsmith.core.hook import go_duration
from goldsmith.errors import Diagnostic, SourceRange, TemplateError
from goldsmith.template.hcl2.formatter import format_source
from goldsmith.template.hcl2.lexer import is_identifier
from goldsmith.template.legacy_json.document import Member, Node
from goldsmith.template.legacy_json.go_to_hcl import Conversion
from goldsmith.template.legacy_json.outline import Entry, Outline
from goldsmith.template.legacy_json.plain import written
from goldsmith.units import UnitError, parse_wait_s
from goldsmith.values.numbers import Number

PLUGINS = (
    "alicloud", "amazon", "ansible", "azure", "chef", "cloudstack", "converge", "digitalocean",
    "docker", "googlecompute", "hcloud", "hyperone", "hyperv", "inspec", "linode", "lxc", "lxd",
    "ncloud", "oneandone", "openstack", "oracle", "outscale", "parallels", "profitbricks",
    "proxmox", "puppet", "qemu", "salt", "scaleway", "tencentcloud", "triton", "ucloud", "vagrant",
    "virtualbox", "vmware", "vsphere", "yandex",
)  # fmt: skip
"""Plugins whose components are called like them, or begin with their name and a hyphen."""
_NEEDS_LOCAL = frozenset(
    {"user", "timestamp", "isotime", "strftime", "uuid", "aws_secretsmanager", "pwd",
     "template_dir", "packer_version"}
)  # fmt: skip
"""Functions whose values no default of a variable can have in HCL2."""
_DURATIONS = ("pause_before", "timeout")
_NO_NAME_CHARACTER = re.compile(r"[^A-Za-z0-9_-]")
_TIMESTAMP = 'locals { timestamp = regex_replace(timestamp(), "[- TZ:]", "") }'
_NOTES = {
    "variables": "Variables are texts, as they were in JSON; give them other types as you like.",
    "locals": "What functions make of variables; it cannot be given from outside.",
    "sources": "Each builder is a source now; builds name the sources that they use.",
    "build": "A build runs provisioners and post-processors on its sources.",
}


@dataclass(frozen=True, slots=True)
class Upgraded:
    """The HCL2 text, and the Go templates that could not be converted and stay in it."""

    text: str
    kept: tuple[str, ...]


def upgrade(
    outline: Outline, *, known_builders: Collection[str], annotations: bool = False
) -> Upgraded:
    """The template in HCL2; `known_builders` are those that need no plugin.

    Raises TemplateError for builders that nobody knows, and names that HCL2 cannot have.
    """
    return _Upgrade(outline, known_builders, annotations).run()


def plugin_of(component: str) -> str | None:
    """The name of the plugin that has a component, if it is a known one."""
    return next((p for p in PLUGINS if component == p or component.startswith(f"{p}-")), None)


@dataclass(slots=True)
class _Upgrade:
    outline: Outline
    known_builders: Collection[str]
    annotations: bool
    conversion: Conversion = field(default_factory=Conversion)
    sources: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Type and name of each source, by the name of its builder."""
    unnameable: list[Diagnostic] = field(default_factory=list)

    def run(self) -> Upgraded:
        plugins = self._plugins()
        variables, local_values = self._variables()
        self.conversion.local_names = frozenset(local_values)
        locals_text = [self._local(name, local_values[name]) for name in sorted(local_values)]
        sources, names = self._sources()
        build = self._build(names)
        if self.unnameable:
            raise TemplateError(self.unnameable)
        parts = [self._packer(plugins), self._note("variables", variables), self._data()]
        parts += [_TIMESTAMP if "timestamp" in self.conversion.functions else ""]
        parts += [self._note("locals", [*self._plain_locals(locals_text)])]
        parts += [self._note("sources", sources), self._note("build", [build])]
        undeclared = sorted(self.conversion.variables - set(self.outline.variables))
        parts.insert(
            1, "\n\n".join(f'variable "{name}" {{\ntype = string\n}}' for name in undeclared)
        )
        text = "\n\n".join(part for part in parts if part) + "\n"
        return Upgraded(format_source(text), tuple(self.conversion.kept))

    def _note(self, key: str, parts: list[str]) -> str:
        text = "\n\n".join(part for part in parts if part)
        return f"# {_NOTES[key]}\n{text}" if self.annotations and text else text

    def _plugins(self) -> list[str]:
        """The plugins that are needed, sorted."""
        unknown = []
        found = set()
        for entry in self.outline.builders:
            plugin = plugin_of(entry.type)
            if plugin is not None:
                found.add(plugin)
            elif entry.type not in self.known_builders:
                detail = f'No plugin with a builder "{entry.type}" is known: it cannot be upgraded.'
                summary = f'Unknown builder "{entry.type}"'
                unknown.append(Diagnostic(summary, detail, entry.range, subject=entry.subject))
        if unknown:
            raise TemplateError(unknown)
        others = [
            *self.outline.provisioners,
            *(one for chain in self.outline.chains for one in chain),
        ]
        found |= {plugin for one in others if (plugin := plugin_of(one.type))}
        return sorted(found)

    def _packer(self, plugins: list[str]) -> str:
        lines = []
        node = self.outline.min_packer_version
        if node is not None and isinstance(node.content, str) and node.content:
            lines.append(f"required_version = {Conversion().text(f'>= {node.content}')}")
        if plugins:
            entries = "\n".join(
                f'{name} = {{\nsource = "github.com/hashicorp/{name}"\nversion = "~> 1"\n}}'
                for name in plugins
            )
            lines.append(f"required_plugins {{\n{entries}\n}}")
        return "packer {\n" + "\n".join(lines) + "\n}" if lines else ""

    def _variables(self) -> tuple[list[str], dict[str, str]]:
        """Variable blocks in the order of their names, and the texts of those that are locals."""
        blocks, local_values = [], {}
        for name, variable in sorted(self.outline.variables.items()):
            if not is_identifier(name):
                self._unnameable(name, "a variable", variable.range)
            trial = Conversion()
            default = trial.text(variable.default) if variable.default is not None else ""
            if trial.functions & _NEEDS_LOCAL:
                local_values[name] = variable.default or ""
                continue
            self.conversion.kept += trial.kept
            lines = ["type = string"]
            lines += [f"default = {default}"] if default else []
            lines += ["sensitive = true"] if name in self.outline.sensitive else []
            blocks.append(f'variable "{name}" {{\n' + "\n".join(lines) + "\n}")
        return blocks, local_values

    def _local(self, name: str, text: str) -> str:
        converted = self.conversion.text(text)
        if name not in self.outline.sensitive:
            return f"{name} = {converted}"
        return f'local "{name}" {{\nexpression = {converted}\nsensitive = true\n}}'

    def _plain_locals(self, texts: list[str]) -> list[str]:
        """One block of the open locals, and a block for each sensitive one."""
        secret = [text for text in texts if text.startswith("local ")]
        plain = [text for text in texts if text not in secret]
        return (["locals {\n" + "\n".join(plain) + "\n}"] if plain else []) + secret

    def _data(self) -> str:
        blocks = []
        for number, arguments in enumerate(self.conversion.secrets, 1):
            named = zip(("name", "key"), arguments, strict=False)
            lines = sorted(f"{key} = {Conversion().text(text)}" for key, text in named)
            head = f'data "amazon-secretsmanager" "autogenerated_{number}"'
            blocks.append(f"{head} {{\n" + "\n".join(lines) + "\n}")
        return "\n\n".join(blocks)

    def _sources(self) -> tuple[list[str], list[str]]:
        """Source blocks sorted by type, and how builds name them."""
        blocks, names = [], []
        entries = sorted(self.outline.builders, key=lambda entry: entry.type)
        for number, entry in enumerate(entries, 1):
            given = entry.own.get("name")
            name = given.node.content if given else None
            if isinstance(name, str) and name:
                label = _NO_NAME_CHARACTER.sub("_", name)
            else:
                label = f"autogenerated_{number}"
            self.sources[name if isinstance(name, str) and name else entry.type] = (
                entry.type, label,
            )  # fmt: skip
            body = self._body(entry.arguments)
            blocks.append(f'source "{entry.type}" "{label}" {{\n{body}}}')
            names.append(f"source.{entry.type}.{label}")
        return blocks, names

    def _build(self, names: list[str]) -> str:
        parts = []
        if self.outline.description:
            parts.append(f"description = {self.conversion.text(self.outline.description)}\n")
        listed = ", ".join(f'"{name}"' for name in names)
        parts.append(f"sources = [{listed}]")
        parts += [self._component("provisioner", one) for one in self.outline.provisioners]
        if self.outline.error_cleanup is not None:
            parts.append(self._component("error-cleanup-provisioner", self.outline.error_cleanup))
        for chain in self.outline.chains:
            links = [self._component("post-processor", one) for one in chain]
            together = "\n".join(links)
            parts.append(together if len(links) == 1 else f"post-processors {{\n{together}\n}}")
        return "build {\n" + "\n".join(parts) + "\n}"

    def _component(self, kind: str, entry: Entry) -> str:
        own = {key: one for key, one in entry.own.items() if key != "type"}
        for key in ("only", "except", "override"):
            if key in own:
                own[key] = replace(own[key], node=self._for_sources(own[key].node))
        return f'{kind} "{entry.type}" {{\n{self._body({**entry.arguments, **own})}}}'

    def _for_sources(self, node: Node) -> Node:
        """Names of builders as HCL2 has them: `TYPE.NAME` in lists, the name in `override`."""
        content: dict[str, Member] | list[Node] | str
        match node.content:
            case dict():
                content = {self._label(name): member for name, member in node.content.items()}
            case list():
                content = [self._for_sources(one) for one in node.content]
            case str():
                source = self.sources.get(node.content)
                content = f"{source[0]}.{source[1]}" if source else node.content
            case _:
                return node
        return replace(node, content=content)

    def _label(self, builder: str) -> str:
        source = self.sources.get(builder)
        return source[1] if source else builder

    def _body(self, members: Mapping[str, Member]) -> str:
        """Arguments and blocks in the order of their names."""
        for key in sorted(members):
            if not is_identifier(key):
                self._unnameable(key, "an argument", members[key].key_range)
        return "".join(self._item(key, members[key].node) for key in sorted(members))

    def _unnameable(self, name: str, what: str, where: SourceRange) -> None:
        detail = f'"{name}" cannot be the name of {what} in HCL2: letters, digits, - and _ only.'
        self.unnameable.append(Diagnostic(f'Invalid name "{name}"', detail, where))

    def _item(self, key: str, node: Node) -> str:
        content = node.content
        if key == "override":
            return f"{key} = {self._value(node)}\n"
        if isinstance(content, dict) and not (content and all(map(_is_simple, _inside(node)))):
            return f"{key} {{\n{self._body(content)}}}\n"
        if (
            content
            and isinstance(content, list)
            and all(isinstance(one.content, dict) for one in content)
        ):
            return "".join(f"{key} {{\n{self._body(dict(one.members()))}}}\n" for one in content)
        if key == "max_retries" and isinstance(content, Number):
            return f'{key} = "{content.to_text()}"\n'
        if key in _DURATIONS and isinstance(content, str):
            return f"{key} = {self.conversion.text(_duration(content))}\n"
        return f"{key} = {self._value(node)}\n"

    def _value(self, node: Node) -> str:
        """The value as an expression."""
        match node.content:
            case dict():
                items = "\n".join(
                    f"{_key(key)} = {self._value(node.content[key].node)}"
                    for key in sorted(node.content)
                )
                return f"{{\n{items}\n}}" if items else "{}"
            case list():
                return f"[{', '.join(self._value(one) for one in node.content)}]"
            case str():
                return self.conversion.text(node.content)
            case Number():
                return node.content.to_text()
            case _:
                return written(node.content)


def _inside(node: Node) -> list[Node]:
    return [member.node for _, member in node.members()]


def _is_simple(node: Node) -> bool:
    return not isinstance(node.content, dict | list)


def _key(key: str) -> str:
    return key if is_identifier(key) else Conversion().text(key)


def _duration(text: str) -> str:
    """As Go writes it, which is how Packer does; what is no duration stays."""
    try:
        return go_duration(parse_wait_s(text))
    except UnitError:
        return text
