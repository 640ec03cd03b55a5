"""An image of upstream's Debian elements by a template: provisioned, and booted."""

import json

import pytest
from exercised_elements import mirrors
from small_image import hcl

pytestmark = [pytest.mark.root, pytest.mark.network, pytest.mark.boot, pytest.mark.nightly]

TEMPLATE = """\
source "image" "debian" {
  bootstrap {
    method      = "elements"
    elements    = ["vm", "debian-minimal"]
    environment = {
%s    }
  }
  formats          = ["qcow2"]
  hostname         = "golden"
  output_directory = "output"
}
build {
  sources = ["source.image.debian"]
  provisioner "shell" {
    inline = ["apt-get install -y --no-install-recommends hello", "hello > /etc/issue"]
  }
  post-processor "boot-test" {
    expect  = "golden login:"
    timeout = "30m"
  }
}
"""


def test_it_is_provisioned_and_boots(goldsmith, tmp_path):
    variables = "".join(f"      {name} = {hcl(value)}\n" for name, value in mirrors().items())
    (tmp_path / "t.pkr.hcl").write_text(TEMPLATE % variables)
    goldsmith("build", "t.pkr.hcl", check=True, timeout_s=5400)
    manifest = json.loads((tmp_path / "output/debian.manifest.json").read_text())
    assert manifest["firmware"] == ["bios"]
    names = {package["name"] for package in manifest["packages"]}
    assert {"hello", "grub-pc", "init-system-helpers"} <= names
    planned = goldsmith("plan", "--json", "t.pkr.hcl", check=True)
    (build,) = json.loads(planned.stdout)["builds"]
    assert {step["state"] for step in build["steps"]} == {"hit"}
