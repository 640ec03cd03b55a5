"""An element that leaves word in the image of what each phase finds, for tests to read."""

from __future__ import annotations

import json
from pathlib import Path

RECORDS = "var/lib/probe"
IN_TREE = ("pre-install.d", "install.d", "post-install.d", "finalise.d")
OUTSIDE = ("root.d", "extra-data.d", "post-root.d", "pre-finalise.d", "cleanup.d")
PHASES = (
    "root.d", "extra-data.d", "pre-install.d", "install.d", "post-install.d", "post-root.d",
    "pre-finalise.d", "finalise.d", "cleanup.d",
)  # fmt: skip
"""In the order of a build."""

PKG_MAP = json.dumps({"default": {"pager": "none"}, "family": {"debian": {"pager": "less"}}})
PACKAGES = """\
netbase:
  phase: pre-install.d
pager:
not-for-us:
  arch: other
"""

_HEAD = "#!/bin/bash\nset -eu\nset -o pipefail\n"
_LOOK = f"""\
mkdir -p /{RECORDS}
cp /tmp/package-installs.json /{RECORDS}/
cp -r /tmp/apt_keys /{RECORDS}/
cp /tmp/in_target.d/build-settings /{RECORDS}/
ls -d /etc/dib-manifests > /{RECORDS}/manifests
for link in $(find /tmp/in_target.d/install.d -type l); do
    echo "$(basename "$link") $(readlink "$link")"
done | sort > /{RECORDS}/install-types
env -u DIB_PROBE_PASSWORD > /{RECORDS}/environment
"""


def write_probe(elements: Path) -> Path:
    """Write the element `probe` below a directory for ELEMENTS_PATH; returns its directory."""
    probe = elements / "probe"
    files = {
        "package-installs.yaml": PACKAGES,
        "pkg-map": PKG_MAP,
        "environment.d/20-probe": "export PROBE_OF_ENVIRONMENT=sourced\n",
        "pre-install.d/04-look": _HEAD + _LOOK,
    }
    for phase in IN_TREE:
        files[f"{phase}/90-probe"] = f"{_HEAD}echo {phase} >> /{RECORDS}/phases\n"
    for phase in OUTSIDE:
        root = "$TARGET_ROOT" if phase in ("root.d", "cleanup.d") else "$TMP_MOUNT_PATH"
        files[f"{phase}/90-probe"] = (
            f"{_HEAD}sudo mkdir -p {root}/{RECORDS}\n"
            f"echo {phase} | sudo tee -a {root}/{RECORDS}/phases > /dev/null\n"
        )
    for tool, number in (("named-tool", 60), ("other-tool", 61)):
        for kind in ("source", "package"):
            files[f"install.d/{tool}-{kind}-install/{number}-{tool}"] = (
                f"{_HEAD}echo {tool} {kind} >> /{RECORDS}/installed\n"
            )
    for name, text in files.items():
        path = probe / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        if text.startswith("#!"):
            path.chmod(0o755)
    return probe
