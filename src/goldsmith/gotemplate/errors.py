"""The errors of Go templates, in the form in which Go words them."""

from __future__ import annotations

from goldsmith.errors import GoldsmithError


class GoTemplateError(GoldsmithError):
    """A Go template is wrong, or what it was applied to.

    `str()` is Go's text (`template: root:1:2: executing "root" at <.X>: …`); `reason` is its last
    part alone. `line` and `column` count from 1, in characters (Go's text counts columns in bytes
    from 0). The error of a function is chained as `__cause__`.
    """

    def __init__(
        self, message: str, *, reason: str, line: int, column: int, hint: str | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.reason = reason
        self.line = line
        self.column = column


class TemplateFunctionError(GoldsmithError):
    """A function that a template called refuses its arguments or cannot work here."""
