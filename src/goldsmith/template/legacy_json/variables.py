"""The values of a JSON template's variables: defaults, files, command line; templates in them.

`-var` beats every `-var-file`, a later one an earlier one. A value may refer to other variables;
what comes out of one that looks like a template is rendered again, as Packer does.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from goldsmith.errors import Diagnostics, SourceRange, TemplateError
from goldsmith.gotemplate.errors import GoTemplateError
from goldsmith.gotemplate.packer_functions import PackerContext, packer_functions
from goldsmith.gotemplate.template import Template
from goldsmith.template.hcl2.scope import PACKER_VERSION
from goldsmith.template.legacy_json.document import read_document
from goldsmith.template.legacy_json.outline import Outline
from goldsmith.template.legacy_json.secret_stores import secret_stores
from goldsmith.values.world import World

ROUNDS = 100
"""How often a value that looks like a template is rendered again: what Packer does."""
LONGEST_VALUE = 1 << 22
"""Characters; twenty variables that each double another one would fill the memory."""
_ACTION = re.compile(r"\{\{")
_USER = re.compile(r"\buser\s+[`\"]([^`\"]*)[`\"]")


@dataclass(frozen=True, slots=True)
class Given:
    """The value of a variable before it is rendered, and the place that it came from, if any."""

    text: str
    range: SourceRange | None


@dataclass(slots=True)
class VariableValues:
    """Resolves the variables of a template; findings are added to `found`.

    `sources` takes the texts of variable files, for the lines that errors show.
    """

    outline: Outline
    template_path: str
    world: World
    found: Diagnostics
    sources: dict[str, str]
    given: dict[str, Given] = field(default_factory=dict)
    waiting: dict[str, str] = field(default_factory=dict)
    """Why a value could not be rendered in the last round."""
    secrets: set[str] = field(default_factory=set)
    """What secret stores have answered."""

    def resolve(self, pairs: Sequence[tuple[str, str]], files: Sequence[str]) -> dict[str, str]:
        """The value of every variable; those with findings are empty."""
        for name, variable in self.outline.variables.items():
            if variable.default is not None:
                self.given[name] = Given(variable.default, variable.range)
        for path in files:
            self._read_file(path)
        for name, text in pairs:
            self.given[name] = Given(text, None)
        for name, variable in self.outline.variables.items():
            if name not in self.given:
                detail = f'"{name}" is null in the template: give it with -var {name}=VALUE.'
                self.found.error(f"Required variable not set: {name}", detail, variable.range)
        return self._rendered()

    def _read_file(self, path: str) -> None:
        try:
            text = self.world.read_file(path).decode("utf-8", "replace")
        except OSError as error:
            detail = f"{path}: {error.strerror or error}."
            self.found.error("Cannot read variable file", detail)
            return
        self.sources[path] = text
        try:
            root = read_document(text, path, found=self.found, repeated="last")
        except TemplateError as error:
            self.found.extend(one for one in error.diagnostics if one not in self.found.found)
            return
        if not isinstance(root.content, dict):
            detail = f"{path}: a file of variables is an object of texts; this is {root.kind}."
            self.found.error("Invalid variable file", detail, root.range)
        for name, member in root.members():
            if isinstance(member.node.content, str):
                self.given[name] = Given(member.node.content, member.node.range)
            else:
                detail = (
                    f'{path}: the value of "{name}" is a text in quotes; this is '
                    f"{member.node.kind}."
                )
                self.found.error("Invalid value for a variable", detail, member.node.range)
                self.given[name] = Given("", member.node.range)

    def _rendered(self) -> dict[str, str]:
        """Render round by round whatever refers to values that are there."""
        done = {name: one.text for name, one in self.given.items() if not _has_action(one.text)}
        left = {name: one.text for name, one in self.given.items() if name not in done}
        for _ in range(ROUNDS):
            if not left:
                return done
            progress = False
            for name, text in list(left.items()):
                outcome = self._render(name, text, done)
                if outcome is None:
                    continue
                progress = True
                if _has_action(outcome) and outcome != text:
                    left[name] = outcome
                else:
                    done[name] = outcome
                    del left[name]
            if not progress:
                break
        self._report(left)
        return done | dict.fromkeys(left, "")

    def _render(self, name: str, text: str, done: Mapping[str, str]) -> str | None:
        """The rendered text; None where it cannot be rendered, with the reason in `waiting`."""
        where = self.given[name].range
        context = PackerContext(
            template_path=self.template_path, packer_version=PACKER_VERSION,
            user_variables=done, in_variables=True, at=where,
            secret_stores=secret_stores(self.world, where or self.outline.range, self.secrets),
        )  # fmt: skip
        try:
            outcome = Template.parse(text, packer_functions(self.world, context)).render(None)
        except GoTemplateError as error:
            cause = error.__cause__
            reason = str(cause) if cause is not None else error.reason
            self.waiting[name] = f"{reason} (in {text})"
            return None
        if len(outcome) > LONGEST_VALUE:
            self.waiting[name] = f"its value is longer than {LONGEST_VALUE} characters"
            return None
        return outcome

    def _report(self, left: Mapping[str, str]) -> None:
        ways = {name: _named_in(text) & left.keys() for name, text in left.items()}
        told: set[str] = set()
        for name in left:
            detail = f'The value of the variable "{name}" cannot be rendered: '
            detail += self.waiting.get(name, f"it is a template even after {ROUNDS} rounds")
            if name not in told and (cycle := _cycle(name, ways)):
                detail += f". These variables refer to one another: {' -> '.join(cycle)}"
                told.update(cycle)
            summary = f'Invalid value of the variable "{name}"'
            self.found.error(summary, detail + ".", self.given[name].range)


def _cycle(start: str, ways: Mapping[str, set[str]]) -> list[str]:
    """The shortest way from a variable through others back to itself; empty when there is none."""
    before: dict[str, str] = {}
    pending = deque([start])
    while pending:
        name = pending.popleft()
        for further in sorted(ways[name]):
            if further == start:
                way = [start]
                while name != start:
                    way.append(name)
                    name = before[name]
                return [start, *reversed(way)]
            if further not in before:
                before[further] = name
                pending.append(further)
    return []


def _has_action(text: str) -> bool:
    return _ACTION.search(text) is not None


def _named_in(text: str) -> set[str]:
    """The variables that a text refers to."""
    return set(_USER.findall(text))
