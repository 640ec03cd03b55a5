"""What follows a failed provisioner, wherever the steps of a build run: `-on-error`, its texts."""

from __future__ import annotations

from typing import Final

from goldsmith.errors import GoldsmithError

ASK_AFTER_ERROR = (
    "[c] Clean up and exit, [a] abort without cleanup, or [r] retry step (build may fail even if "
    "retry succeeds)?"
)
ANSWERS_AFTER_ERROR = ("c", "a", "r")
RUN_CLEANUP: Final = "run-cleanup-provisioner"
KEEPING: Final = frozenset({"abort", RUN_CLEANUP})
"""The values of `-on-error` with which what was made stays after an error."""
ERROR_CLEANUP: Final = "error-cleanup-provisioner"
TOLD_BEFORE_CLEANUP: Final = (
    "Provisioning step had errors: Running the cleanup provisioner, if present..."
)


class CleanupFailed(GoldsmithError):
    """The cleanup provisioner failed, after the error that it was to clean up after."""

    def __init__(self, cleanup: GoldsmithError, original: GoldsmithError) -> None:
        super().__init__(
            f"Cleanup failed: {cleanup}. Original Provisioning error: {original}",
            hint=original.hint,
        )
