"""How the rig says no: by itself, and because a test wants it to."""

from __future__ import annotations

import json
from dataclasses import dataclass
from xml.sax.saxutils import escape


class Refused(Exception):
    """An error answer of the API."""

    def __init__(self, code: str, message: str, status: int = 400, *, reason: str = "") -> None:
        super().__init__(f"{code}: {message}")
        self.code, self.message, self.status, self.reason = code, message, status, reason

    def xml(self) -> bytes:
        """The answer in EC2's form."""
        return (
            '<?xml version="1.0" encoding="UTF-8"?><Response><Errors><Error>'
            f"<Code>{escape(self.code)}</Code><Message>{escape(self.message)}</Message>"
            "</Error></Errors><RequestID>rig</RequestID></Response>"
        ).encode()

    def json(self) -> bytes:
        """The answer in the form of EBS direct, whose header says the code."""
        return json.dumps({"Message": self.message, "Reason": self.reason}).encode()


@dataclass(frozen=True)
class Fault:
    """A refusal of some calls of an action: all "*", the second "2", some "1-3", every third "/3".

    With `after` the call has its effect, and only its answer is lost.
    """

    action: str
    calls: str
    code: str
    status: int = 400
    message: str = "injected"
    after: bool = False

    def hits(self, number: int) -> bool:
        """Whether the call with this number, counted from 1, is refused."""
        if self.calls == "*":
            return True
        if self.calls.startswith("/"):
            return number % int(self.calls[1:]) == 0
        first, _, last = self.calls.partition("-")
        return int(first) <= number <= int(last or first)

    def refusal(self) -> Refused:
        """What the caller is answered."""
        return Refused(self.code, self.message, self.status)
