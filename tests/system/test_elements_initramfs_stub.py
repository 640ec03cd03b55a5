"""What stands in for update-initramfs while phases run is gone from the image in the end."""

import shutil
import tarfile

import pytest
from tiny_elements import make_system, write_hook

pytestmark = pytest.mark.root

UPDATE_INITRAMFS = "#!/bin/bash\necho the real one\n"


def test_a_tree_whose_dpkg_no_element_of_that_name_brought(goldsmith, small_tree, tmp_path):
    elements = tmp_path / "elements"
    make_system(elements, small_tree)
    divert = shutil.which("dpkg-divert")
    assert divert is not None, "this test needs dpkg"
    program = tmp_path / "update-initramfs"
    program.write_text(UPDATE_INITRAMFS)
    write_hook(elements / "mine", "root.d/60-dpkg", f"""
mkdir -p "$TARGET_ROOT/var/lib/dpkg/info" "$TARGET_ROOT/usr/sbin"
touch "$TARGET_ROOT/var/lib/dpkg/status"
cp -L {divert} "$TARGET_ROOT/usr/bin/dpkg-divert"
for library in $(ldd {divert} | grep -o '/[^ ]*'); do
  mkdir -p "$TARGET_ROOT/$(dirname "$library")"
  cp -Lu "$library" "$TARGET_ROOT/$library"
done
install -m 755 {program} "$TARGET_ROOT/usr/sbin/update-initramfs"
""")  # fmt: skip
    write_hook(elements / "mine", "install.d/60-look", "cat /usr/sbin/update-initramfs > /seen")
    goldsmith(
        "disk-image-create", "-n", "-t", "tar", "-o", "out", "tiny-os", "mine",
        env={"ELEMENTS_PATH": str(elements), "HOME": str(tmp_path), "DIB_NO_TIMESTAMP": "1"},
    )  # fmt: skip
    with tarfile.open(tmp_path / "out.tar") as tar:
        names = set(tar.getnames())
        seen = tar.extractfile("./seen").read().decode()
        left = tar.extractfile("./usr/sbin/update-initramfs").read().decode()
    assert "goldsmith: stands in" in seen
    assert left == UPDATE_INITRAMFS
    assert "./usr/sbin/update-initramfs.goldsmith" not in names
