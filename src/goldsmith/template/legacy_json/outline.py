"""The outline of a JSON template: root keys, builders, provisioners, chains, with every finding.

Nothing is rendered here: this is what `-syntax-only` looks at, and what the other verbs start from.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from goldsmith.core.options import did_you_mean
from goldsmith.errors import Diagnostics, SourceRange
from goldsmith.template.legacy_json.document import Member, Node

ROOT_KEYS = (
    "builders", "description", "error-cleanup-provisioner", "min_packer_version",
    "post-processors", "provisioners", "push", "sensitive-variables", "variables",
)  # fmt: skip
IGNORED_KEYS = ("push", "comments")
"""What Packer once did something with, or still reads without any use."""
BUILDER_KEYS = frozenset({"type", "name"})
PROVISIONER_KEYS = frozenset(
    {"type", "only", "except", "override", "pause_before", "max_retries", "timeout"}
)
POST_PROCESSOR_KEYS = frozenset({"type", "name", "only", "except", "keep_input_artifact"})


@dataclass(frozen=True, slots=True)
class Variable:
    """A variable with the text of its default; None means that a value must be given."""

    name: str
    default: str | None
    range: SourceRange


@dataclass(frozen=True, slots=True)
class Entry:
    """A builder, provisioner or post-processor as it was written.

    `kind` is "builder", "provisioner" or "post-processor". `own` are the keys that every entry of
    its kind has, `arguments` all others. `subject` is how findings call it.
    """

    kind: str
    type: str
    own: Mapping[str, Member]
    arguments: Mapping[str, Member]
    range: SourceRange
    subject: str


@dataclass(slots=True)
class Outline:
    """A template that was read, with findings where it is not one."""

    range: SourceRange
    description: str = ""
    min_packer_version: Node | None = None
    variables: dict[str, Variable] = field(default_factory=dict)
    sensitive: tuple[str, ...] = ()
    builders: list[Entry] = field(default_factory=list)
    provisioners: list[Entry] = field(default_factory=list)
    error_cleanup: Entry | None = None
    chains: list[list[Entry]] = field(default_factory=list)


def read_outline(root: Node, found: Diagnostics) -> Outline:
    """The outline of a document; what is wrong with it is added to `found`."""
    return _Reader(found, Outline(root.range)).read(root)


def header_range(node: Node) -> SourceRange:
    """A place that stands for an object: its opening brace."""
    start = node.range.start
    end = type(start)(start.line, start.column + 1, start.byte + 1)
    return SourceRange(node.range.filename, start, end)


@dataclass(slots=True)
class _Reader:
    found: Diagnostics
    outline: Outline

    def read(self, root: Node) -> Outline:
        if not isinstance(root.content, dict):
            detail = f"A JSON template is an object, {{ … }}; this is {root.kind}."
            self.found.error("Invalid template", detail, header_range(root))
            return self.outline
        for key, member in root.members():
            self._root(key, member)
        return self.outline

    def _root(self, key: str, member: Member) -> None:
        # Go's decoder takes the keys of the root in any case.
        name = key.lower()
        node, outline = member.node, self.outline
        if key.startswith("_"):
            if not isinstance(node.content, str):
                detail = f'"{key}" is a comment, and those are texts; this is {node.kind}.'
                self.found.error("Invalid root level key", detail, node.range)
        elif name in IGNORED_KEYS or (name in ROOT_KEYS and node.content is None):
            return
        elif name == "variables":
            self._variables(node)
        elif name == "sensitive-variables":
            outline.sensitive = self.texts(node, key)
        elif name == "builders":
            outline.builders = self._entries(node, key, "builder", BUILDER_KEYS)
        elif name == "provisioners":
            outline.provisioners = self._entries(node, key, "provisioner", PROVISIONER_KEYS)
        elif name == "error-cleanup-provisioner":
            outline.error_cleanup = self._entry(node, "provisioner", PROVISIONER_KEYS, key)
        elif name == "post-processors":
            outline.chains = self._chains(node, key)
        elif name == "description":
            outline.description = self._text(node, key)
        elif name == "min_packer_version":
            self._text(node, key)
            outline.min_packer_version = node
        else:
            detail = f'"{key}" is no key of a template.' + did_you_mean(key, ROOT_KEYS)
            detail += ' A comment has a key that begins with "_".' if "comment" in name else ""
            self.found.error(f'Unknown root level key "{key}"', detail, member.key_range)

    def _expected(self, name: str, wanted: str, node: Node) -> None:
        shown = f", this is {node.kind}"
        if not isinstance(node.content, dict | list | str) and node.content is not None:
            text = str(node.value().raw).lower() if isinstance(node.content, bool) else ""
            shown += f": {text or node.content}"
        detail = f'"{name}" is {wanted}{shown}.'
        self.found.error(f'Wrong type of "{name}"', detail, node.range)

    def _text(self, node: Node, name: str) -> str:
        if isinstance(node.content, str):
            return node.content
        self._expected(name, "a text", node)
        return ""

    def texts(self, node: Node, name: str) -> tuple[str, ...]:
        """A list of texts; a single text stands for a list of one."""
        if isinstance(node.content, str):
            return (node.content,)
        if not isinstance(node.content, list):
            self._expected(name, "a list of texts", node)
            return ()
        return tuple(self._text(element, f"{name}[{n}]") for n, element in enumerate(node.content))

    def _variables(self, node: Node) -> None:
        if not isinstance(node.content, dict):
            self._expected("variables", "an object", node)
        for name, member in node.members():
            content = member.node.content
            if content is not None and not isinstance(content, str):
                wanted = "a text, or null where a value must be given"
                self._expected(name, wanted, member.node)
                content = ""
            self.outline.variables[name] = Variable(name, content, member.node.range)

    def _entries(self, node: Node, name: str, kind: str, own_keys: frozenset[str]) -> list[Entry]:
        if not isinstance(node.content, list):
            self._expected(name, "a list of objects", node)
            return []
        entries = [
            self._entry(element, kind, own_keys, f"{kind} {number}")
            for number, element in enumerate(node.content, 1)
        ]
        return [entry for entry in entries if entry is not None]

    def _entry(self, node: Node, kind: str, own_keys: frozenset[str], subject: str) -> Entry | None:
        where = header_range(node)
        if not isinstance(node.content, dict):
            detail = f'It is an object, {{"type": …}}; this is {node.kind}.'
            self.found.error(f"Invalid {kind}", detail, node.range, subject)
            return None
        own = {key: one for key, one in node.members() if key in own_keys}
        arguments = {key: one for key, one in node.members() if key not in own_keys}
        if "type" not in own:
            detail = f'It lacks the key "type", which says what {kind} it is.'
            near = [key for key in arguments if key.lower() == "type"]
            detail += f' Did you mean "type" by "{near[0]}"?' if near else ""
            self.found.error(f"Missing type of a {kind}", detail, where, subject)
            return None
        kind_name = self._text(own["type"].node, "type")
        if kind != "builder":
            self._only_or_except(own, subject)
        return Entry(kind, kind_name, own, arguments, where, f'{kind} "{kind_name}"')

    def _only_or_except(self, own: Mapping[str, Member], subject: str) -> None:
        for key in ("only", "except"):
            if key in own and own[key].node.content is not None:
                self.texts(own[key].node, key)
        if "only" in own and "except" in own:
            detail = 'Only one of "only" and "except" may be specified.'
            self.found.error("Conflicting arguments", detail, own["except"].key_range, subject)
        kept = own.get("keep_input_artifact")
        if kept is not None and not isinstance(kept.node.content, bool | None):
            self._expected("keep_input_artifact", "true or false", kept.node)

    def _chains(self, node: Node, name: str) -> list[list[Entry]]:
        if not isinstance(node.content, list):
            self._expected(name, "a list", node)
            return []
        chains = []
        for number, element in enumerate(node.content, 1):
            links = element.elements() if isinstance(element.content, list) else [element]
            chain = [
                self._post_processor(link, f"post-processor {number}.{place}")
                for place, link in enumerate(links, 1)
            ]
            chains.append([entry for entry in chain if entry is not None])
        return chains

    def _post_processor(self, node: Node, subject: str) -> Entry | None:
        if isinstance(node.content, str):
            own = {"type": Member(node.range, node)}
            name = f'post-processor "{node.content}"'
            return Entry("post-processor", node.content, own, {}, node.range, name)
        if isinstance(node.content, list):
            detail = "A chain is a list of post-processors and cannot hold further lists."
            self.found.error("Invalid post-processor", detail, header_range(node), subject)
            return None
        return self._entry(node, "post-processor", POST_PROCESSOR_KEYS, subject)
