"""Made elements: an operating system of a few programs of this host, and hooks of every phase."""

from __future__ import annotations

from pathlib import Path

ROOT_HOOK = """\
#!/bin/bash
set -eu
tar -xf "{archive}" -C "$TARGET_ROOT"
cp -L /bin/bash "$TARGET_ROOT/usr/bin/bash"
for library in $(ldd /bin/bash | grep -o '/[^ ]*'); do
  mkdir -p "$TARGET_ROOT/$(dirname "$library")"
  cp -Lu "$library" "$TARGET_ROOT/$library"
done
"""
PHASES = (
    "extra-data.d", "pre-install.d", "install.d", "post-install.d", "post-root.d",
    "pre-finalise.d", "finalise.d", "cleanup.d",
)  # fmt: skip
_IN_TREE = ("pre-install.d", "install.d", "post-install.d", "finalise.d")


def write_hook(element: Path, place: str, text: str) -> None:
    """Write an executable hook, for bash."""
    hook = element / place
    hook.parent.mkdir(parents=True, exist_ok=True)
    hook.write_text(f"#!/bin/bash\nset -eu\n{text}\n")
    hook.chmod(0o755)


def make_system(directory: Path, archive: Path) -> Path:
    """The element `tiny-os`: every phase adds its name to /phases of the tree."""
    element = directory / "tiny-os"
    element.mkdir(parents=True)
    (element / "element-provides").write_text("operating-system\n")
    (element / "environment.d").mkdir()
    (element / "environment.d/10-tiny.bash").write_text("export DISTRO_NAME=tiny\n")
    root = element / "root.d/10-tiny"
    root.parent.mkdir()
    root.write_text(ROOT_HOOK.format(archive=archive))
    root.chmod(0o755)
    for phase in PHASES:
        tree = "" if phase in _IN_TREE else "$TMP_MOUNT_PATH"
        write_hook(element, f"{phase}/50-tell", f'echo "{phase}" >> "{tree}/phases"')
    return element
