"""fa-build-image from a signed suite made on the spot: outputs, metadata, and fuel-agent's defects.

The defects are those that fuel-agent's own build has (B1, B2, ...); a test that shows one of them
gone names it.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from published_files import putting
from signed_repository import Repository, Signer, served, signing
from tiny_suite import SUITE, make_tiny_suite, publish

from goldsmith.disk.block_map import check_image, parse_bmap
from goldsmith.disk.image_set import read_image_set
from goldsmith.ui.fuel_lines import NOTHING_TO_DO

pytestmark = pytest.mark.root

PASSWORD = "secret-word"
ROOT, BOOT = "env_1_tiny.img.gz", "env_1_tiny-boot.img.gz"


@dataclass
class Site:
    """A served suite, and goldsmith run with inputs that name it."""

    folder: Path
    state: Path
    repository: Repository
    signer: Signer
    uri: str
    asked: list[tuple[str, int]]
    goldsmith: Any = None
    told: list[str] = field(default_factory=list)

    @property
    def output(self) -> Path:
        return self.folder / "target images"

    def input(self, **changes: Any) -> dict[str, Any]:
        suite = {"name": "tiny", "type": "deb", "uri": self.uri, "suite": SUITE, "section": "main",
                 "priority": None, "signed_by": str(self.signer.key)}  # fmt: skip
        return {
            "image_data": site_images(),
            "output": str(self.output), "repos": [suite], "packages": ["tool"],
            "root_password": PASSWORD, "codename": SUITE,
            "proxies": {"direct_repo_addr_list": ["127.0.0.1"]}, **changes,
        }  # fmt: skip

    def run(self, *words: str, data: Any = None) -> Any:
        path = self.folder / "in.json"
        path.write_text(json.dumps(self.input() if data is None else data))
        result = self.goldsmith(
            "fa-build-image", "--input_data_file", str(path), *words, cwd=self.folder,
            env={"GOLDSMITH_CACHE_DIR": str(self.state)},
        )  # fmt: skip
        text = result.stdout + result.stderr
        assert "Traceback" not in text
        assert PASSWORD not in text
        self.told.append(text)
        return result

    def built(self, *words: str, data: Any = None) -> str:
        result = self.run(*words, data=data)
        assert result.status == 0, result
        return str(result.stdout)

    def failed(self, *words: str, data: Any = None) -> str:
        result = self.run(*words, data=data)
        assert result.status == 255, result
        return str(result.stderr)

    def metadata(self) -> Any:
        return yaml.safe_load((self.output / "env_1_tiny.yaml").read_text())

    def fetched(self) -> int:
        return sum(1 for path, status in self.asked if path.endswith(".deb") and status == 200)


def site_images() -> dict[str, Any]:
    return {
        "/": {"uri": f"http://x/{ROOT}", "format": "ext4", "container": "gzip"},
        "/boot": {"uri": f"http://x/{BOOT}", "format": "ext2", "container": "gzip"},
    }


@pytest.fixture(scope="module")
def kept_site(
    tmp_path_factory: pytest.TempPathFactory, own_places: Path, small_tree: Path
) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("fuel")
    repository = make_tiny_suite(folder, small_tree)
    with signing(folder / "gnupg") as signer, served(repository.folder) as (uri, asked):
        publish(repository, signer)
        # pytest's own directories are closed to the user as whom APT fetches.
        yield Site(folder, own_places / "fuel-state", repository, signer, uri, asked)


@pytest.fixture
def site(kept_site: Site, goldsmith: Any) -> Site:
    kept_site.goldsmith = goldsmith
    return kept_site


def unpacked(packed: Path, folder: Path) -> Path:
    """The raw image of a gzip file, which must be complete."""
    raw = folder / packed.name.removesuffix(".gz")
    raw.write_bytes(gzip.decompress(packed.read_bytes()))
    return raw


def digests(path: Path) -> tuple[int, str, str]:
    content = path.read_bytes()
    md5, sha256 = hashlib.md5(content, usedforsecurity=False), hashlib.sha256(content)
    return len(content), md5.hexdigest(), sha256.hexdigest()


def shown(image: Path, path: str) -> str:
    """A file in an ext2 or ext4 image."""
    done = subprocess.run(["debugfs", "-R", f"cat {path}", image], check=True, text=True,
                          capture_output=True)  # fmt: skip
    return done.stdout


def test_b1_b2_b13_b14_b15_b19_the_set_is_as_the_contract_says(site: Site, tmp_path: Path) -> None:
    site.built()
    assert {path.name for path in site.output.iterdir()} == {
        ROOT, BOOT, f"{ROOT}.bmap", f"{BOOT}.bmap", "env_1_tiny.yaml", "env_1_tiny.json",
    }  # fmt: skip
    metadata = site.metadata()
    assert metadata == json.loads((site.output / "env_1_tiny.json").read_text())
    assert metadata["os"] == {"name": "Tiny", "major": 12, "minor": 0}
    assert metadata["packages"] == ["tool", "ca-certificates"]
    assert metadata["repos"] == [{"type": "deb", "name": "tiny", "uri": site.uri, "suite": SUITE,
                                  "section": "main", "priority": None, "meta": None}]  # fmt: skip
    versions = {one["name"]: one["version"] for one in metadata["installed_packages"]}
    assert versions["tool"] == "1.0"
    images = {image["mount"]: image for image in metadata["images"]}
    assert {mount: image["format"] for mount, image in images.items()} == {
        "/": "ext4", "/boot": "ext2",
    }  # fmt: skip
    for image in images.values():
        packed = site.output / image["container_name"]
        raw = unpacked(packed, tmp_path)
        assert digests(packed) == (image["container_size"], image["container_md5"],
                                   image["container_sha256"])  # fmt: skip
        assert digests(raw) == (image["raw_size"], image["raw_md5"], image["raw_sha256"])
        check_image(raw, parse_bmap((site.output / image["block_map"]).read_bytes()))
        done = subprocess.run(["e2fsck", "-fn", raw], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout
    root = tmp_path / "env_1_tiny.img"
    check_root(root)
    assert SUITE in shown(root, "/etc/apt/sources.list.d/debian.sources")
    assert not list(site.folder.rglob("*.partial"))


def check_root(root: Path) -> None:
    (line,) = [x for x in shown(root, "/etc/shadow").splitlines() if x.startswith("root:")]
    salt = line.split("$")[2]
    wanted = subprocess.run(["openssl", "passwd", "-6", "-salt", salt, "-stdin"], text=True,
                            input=PASSWORD, capture_output=True, check=True).stdout  # fmt: skip
    assert line.split(":")[1] == wanted.strip()


def test_an_unchanged_second_run_does_nothing_and_says_why(site: Site) -> None:
    site.built()
    before = {path.name: path.stat().st_mtime_ns for path in site.output.iterdir()}
    fetched = site.fetched()
    text = site.built()
    assert NOTHING_TO_DO in text
    assert "Why: tree and options unchanged, the files are as they were made" in text
    assert {path.name: path.stat().st_mtime_ns for path in site.output.iterdir()} == before
    assert site.fetched() == fetched


def test_a_changed_package_list_is_built_and_says_what_changed(site: Site) -> None:
    site.built()
    before = read_image_set((site.output / "env_1_tiny.yaml").read_text())
    data = site.input(packages=["tool", "other"])
    text = site.built(data=data)
    assert NOTHING_TO_DO not in text
    assert "package other added" in text
    after = read_image_set((site.output / "env_1_tiny.yaml").read_text())
    assert "other" in {package.name for package in after.installed_packages}
    assert after.inputs_sha256 != before.inputs_sha256
    assert after.inputs["packages"] != before.inputs["packages"]
    assert after.inputs["repositories"] == before.inputs["repositories"]


def test_b14_lost_metadata_and_damaged_images_are_made_again(site: Site) -> None:
    site.built()
    (site.output / "env_1_tiny.yaml").unlink()
    assert NOTHING_TO_DO not in site.built()
    wanted = {image["container_name"]: image["container_md5"] for image in
              site.metadata()["images"]}  # fmt: skip
    damaged = site.output / BOOT
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"x")
    assert NOTHING_TO_DO not in site.built()
    assert digests(damaged)[1] == wanted[BOOT]


def test_b16_b17_unsigned_packages_are_refused_unless_the_input_says_otherwise(
    site: Site, tmp_path: Path
) -> None:
    """B6 besides: a raw image is one. The half-made tree of the failure is in nobody's way."""
    images = {
        "/": {"uri": "raw.img", "format": "ext4", "container": "raw"},
        "/boot": {"uri": "raw-boot.img", "format": "ext4", "container": "zstd"},
    }
    output = tmp_path / "out"
    data = site.input(image_data=images, output=str(output), root_password=None)
    with signing(tmp_path / "other") as other:
        data["repos"][0]["signed_by"] = str(other.key)
        assert "signature" in site.failed(data=data)
        assert not output.exists()
        # A key that is named is always used.
        assert "signature" in site.failed(data={**data, "allow_unsigned": True})
    del data["repos"][0]["signed_by"]
    site.built(data={**data, "allow_unsigned": True})
    (root, boot) = yaml.safe_load((output / "raw.yaml").read_text())["images"]
    assert (root["container"], root["raw_md5"]) == ("raw", root["container_md5"])
    assert digests(output / "raw.img") == (root["raw_size"], root["raw_md5"], root["raw_sha256"])
    assert boot["container"] == "zstd"
    subprocess.run(["zstd", "-tq", output / "raw-boot.img"], check=True)
    (line,) = [x for x in shown(output / "raw.img", "/etc/shadow").splitlines() if "root" in x]
    assert line.split(":")[1] in ("*", "!", "!*"), "without a password nobody gets in"


@pytest.mark.nightly
def test_a_new_version_and_a_pinned_repository(site: Site, tmp_path: Path) -> None:
    site.built()
    further = Repository(tmp_path / "further")
    further.add("tool", "9.0")
    further.add("other", "9.0")
    further.publish("./", site.signer)
    tmp_path.chmod(0o755)
    with served(further.folder) as (uri, _):
        address = uri.replace("127.0.0.1", "localhost")
        repo = {"name": "further one", "uri": address, "suite": "./", "section": "",
                "priority": 50, "signed_by": str(site.signer.key)}  # fmt: skip
        data = site.input(packages=["tool", "other=9.0"])
        data["repos"].append(repo)
        data["proxies"]["direct_repo_addr_list"].append("localhost")
        site.built(data=data)
        metadata = site.metadata()
    versions = {one["name"]: one["version"] for one in metadata["installed_packages"]}
    assert (versions["tool"], versions["other"]) == ("1.0", "9.0")
    assert metadata["repos"][1] == {"type": "deb", "name": "further-one", "uri": address,
                                    "suite": "./", "section": "", "priority": 50,
                                    "meta": None}  # fmt: skip


def test_b13_the_password_is_in_no_process_list_and_no_log(site: Site, tmp_path: Path) -> None:
    data = site.input(output=str(tmp_path / "out"), root_password=f"{PASSWORD}-2")
    path, log = tmp_path / "in.yaml", tmp_path / "build.log"
    path.write_text(yaml.safe_dump(data))
    seen: set[str] = set()
    words = ["--input_data_file", str(path), "--log-file", str(log), "--debug", "--data_driver",
             "nailgun_build_image", "--image_build_dir", str(tmp_path)]  # fmt: skip
    with site.goldsmith.start("fa-build-image", *words,
                              env={"GOLDSMITH_CACHE_DIR": str(site.state)}) as running:  # fmt: skip
        while running.poll() is None:
            seen |= words_of_processes()
            time.sleep(0.02)
        assert running.returncode == 0, log.read_text()
    assert any("openssl" in words or "mkfs" in words for words in seen)
    assert not [words for words in seen if PASSWORD in words]
    assert PASSWORD not in log.read_text()
    assert re.search(r"^[-0-9]{10} [:.0-9]{12} \| ", log.read_text(), re.MULTILINE)
    kept = [p for p in site.state.rglob("*") if p.is_file() and p.suffix in (".log", ".json")]
    assert not [p for p in kept if PASSWORD.encode() in p.read_bytes()]


def words_of_processes() -> set[str]:
    found = set()
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.add(place.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:  # it has ended
            continue
    return found


def test_ctrl_c_leaves_nothing(site: Site, tmp_path: Path) -> None:
    output = tmp_path / "out"
    path = tmp_path / "in.json"
    path.write_text(json.dumps(site.input(output=str(output), packages=["other", "tool"])))
    words = ["fa-build-image", "--input_data_file", str(path)]
    environment = {"GOLDSMITH_CACHE_DIR": str(tmp_path / "state")}
    with site.goldsmith.start(*words, env=environment) as running:
        for line in running.stdout:
            if "Fetching" in line or "Bootstrapping" in line:
                break
        running.send_signal(signal.SIGINT)
        stdout, stderr = running.communicate(timeout=120)
    assert running.returncode == 255, stdout + stderr
    assert "interrupted" in stderr
    assert "Traceback" not in stdout + stderr
    assert not output.exists()
    runs = tmp_path / "state/runs"
    assert [one.name for one in runs.iterdir() if one.name != ".lock"] == []


@pytest.mark.nightly
@pytest.mark.network
def test_a_debian_of_this_hosts_own_sources(
    kept_site: Site, tmp_path: Path, own_places: Path, goldsmith: Any
) -> None:
    """B15: a system without /etc/init. The image set of a real machine, with a kernel."""
    release = Path("/etc/os-release").read_text()
    found = re.search(r"^VERSION_CODENAME=(\w+)", release, re.MULTILINE)
    assert found is not None
    site = replace(kept_site, folder=tmp_path, state=own_places / "cache", goldsmith=goldsmith)
    packages = ["linux-image-cloud-amd64", "systemd-sysv", "openssh-server", "cloud-init"]
    repos = [{"name": "debian", "uri": "", "suite": found[1], "section": "main"}]

    def data(*more: str) -> dict[str, Any]:
        return {"image_data": site_images(), "output": str(site.output), "repos": repos,
                "packages": [*packages, *more], "root_password": PASSWORD}  # fmt: skip

    site.built(data=data())
    assert NOTHING_TO_DO in site.built(data=data())
    before = site.metadata()
    assert before["os"]["name"] == "Debian"
    assert {repo["uri"] for repo in before["repos"]} == {""}
    for image in before["images"]:
        raw = unpacked(site.output / image["container_name"], tmp_path)
        assert digests(raw) == (image["raw_size"], image["raw_md5"], image["raw_sha256"])
        done = subprocess.run(["e2fsck", "-fn", raw], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout
    root, boot = tmp_path / "env_1_tiny.img", tmp_path / "env_1_tiny-boot.img"
    check_root(root)
    listing = subprocess.run(["debugfs", "-R", "ls -p /", boot], check=True, text=True,
                             capture_output=True).stdout  # fmt: skip
    assert "/vmlinuz-" in listing
    assert "/initrd.img-" in listing
    no_network = "/etc/cloud/cloud.cfg.d/99-disable-network-config.cfg"
    assert "network: {config: disabled}" in shown(root, no_network)
    modules = yaml.safe_load(shown(root, "/etc/cloud/cloud.cfg"))
    assert not {"write-files", "write_files"} & {*map(str, modules["cloud_init_modules"])}
    assert modules["cloud_config_modules"][-1].replace("_", "-") == "write-files"
    assert "package hello added" in site.built(data=data("hello"))
    assert "hello" in {one["name"] for one in site.metadata()["installed_packages"]}


def test_an_output_elsewhere_is_published_once(site: Site, tmp_path: Path) -> None:
    with putting(tmp_path / "server") as server:
        data = site.input(output=f"{server.uri}/images/")
        words = ("--image_build_dir", str(tmp_path / "building"))
        site.built(*words, data=data)
        names = [path.rpartition("/")[2] for method, path in server.asked if method == "PUT"]
        assert sorted(names[-2:]) == ["env_1_tiny.json", "env_1_tiny.yaml"]
        assert set(names[:-2]) == {ROOT, BOOT, f"{ROOT}.bmap", f"{BOOT}.bmap"}
        assert "nothing is published" in site.built(*words, data=data)
        assert sum(method == "PUT" for method, _ in server.asked) == len(names)


def test_nothing_is_published_from_a_directory_of_others(site: Site, tmp_path: Path) -> None:
    """Its name can be known beforehand, and by default it lies in /tmp."""
    data = site.input(output="http://127.0.0.1:9/images/")
    place = tmp_path / "env_1_tiny.fuel-agent-image-set"
    place.mkdir()
    for spoil in (lambda: place.chmod(0o777), lambda: os.chown(place, 1234, -1),
                  lambda: (place.rmdir(), place.symlink_to(tmp_path))):  # fmt: skip
        spoil()
        told = site.failed("--image_build_dir", str(tmp_path), data=data)
        assert "is not a directory of ours alone" in told
        if not place.is_symlink():
            place.chmod(0o755)


def test_wrong_input_is_told_whole_and_builds_nothing(site: Site, tmp_path: Path) -> None:
    data = {**site.input(output=str(tmp_path / "out")), "packags": [], "repos": [{"uri": 3}]}
    told = site.failed(data=data)
    for words in ('packags: there is no such key. Did you mean "packages"?', "repos.0.uri",
                  "repos.0.name: it is missing", "repos.0.suite: it is missing"):  # fmt: skip
        assert words in told
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "status", "told"),
    [
        (["--input_data", "{"], 255, "--input_data"),
        (["--input_data_file", "absent.json"], 255, "absent.json"),
        (["--data_driver", "nailgun", "--input_data", "{}"], 255, "nailgun_build_image"),
        (["--no-such-flag"], 2, "no-such-flag"),
    ],
)
def test_wrong_command_lines(goldsmith: Any, words: list[str], status: int, told: str) -> None:
    result = goldsmith("fa-build-image", *words)
    assert (result.status, told in result.stderr) == (status, True), result


def test_b5_a_place_that_cannot_be_is_told_as_the_cause(site: Site, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    told = site.failed(data=site.input(output=str(tmp_path / "file/below")))
    assert str(tmp_path / "file") in told
