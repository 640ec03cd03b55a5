"""Mistakes in what elements declare in files: told with file, line and element before a build."""

import pytest
from making_elements import OPERATING_SYSTEM, described, make

from goldsmith.elements.declarations import check_declarations, install_types

READERS = ("package-installs", "svc-map", "pkg-map", "source-repositories")


def found(directory, files, *more):
    make(directory, {"my-os": {**OPERATING_SYSTEM, **files}})
    _, setup = described(directory, "my-os", *(more or READERS))
    return check_declarations(setup)


@pytest.mark.parametrize(
    ("name", "text", "place", "told"),
    [
        ("package-installs.yaml", "curl:\nvim: [\n", "3:1", "is no valid YAML: "),
        ("package-installs.yaml", "curl:\n\tphase: x\n", "2:1", "is no valid YAML: "),
        ("package-installs.yaml", "- curl\n", "1:1", "is no map of packages"),
        ("package-installs.yaml", "", "1:1", "is no map of packages"),
        ("package-installs.yaml", "curl:\nvim: install\n", "2:1", "package vim has no map"),
        ("package-installs.yaml", "vim:\n  - phase: x\n  - curl\n", "3:5", "vim has no map"),
        ("package-installs.yaml", "vim:\n  arch: [amd64]\n", "2:3", "vim: arch is a text"),
        ("package-installs.yaml", "vim:\n  arch: a\n  not-arch: b\n", "2:3", "arch and not-arch"),
        ("package-installs.yaml", "vim:\n  when: DIB_X\n", "2:3", "DIB_X is no condition"),
        ("package-installs.json", '{"vim": {"phase": ]}', "1:19", "is no valid YAML: "),
        ("svc-map", "nova:\n  default: [x\n", "3:1", "is no valid YAML: "),
        ("svc-map", "nova\n", "1:1", "is no map of services"),
        ("svc-map", "a:\n  default: a\nnova:\n", "3:1", "service nova has no map of names"),
        ("pkg-map", '{"default": {\n  "a": "b",}\n}', "2:12", "is no valid JSON: "),
        ("pkg-map", '["a"]', "1:1", "is no map"),
        ("pkg-map", '{"default": {},\n "distro": []}', "2:2", '"distro" is no map'),
        ("source-repository-x", "#\nx svn /opt/x http://x\n", "2:1", "is no source repository"),
        ("source-repository-x", "x git opt/x http://x main\n", "1:1", "is no source repository"),
    ],
)  # fmt: skip
def test_each_mistake_has_its_element_and_its_place(tmp_path, name, text, place, told):
    findings, sources = found(tmp_path, {name: text})
    [one] = findings.found
    assert one.summary.startswith(f"{name} of element my-os")
    assert told in one.summary
    assert str(one.range) == f"{tmp_path}/my-os/{name}:{place}"
    assert sources[one.range.filename] == text


def test_a_service_of_two_elements_is_told_with_both(tmp_path):
    make(tmp_path, {"other": {"svc-map": "nova:\n  default: n\n"}})
    findings, _ = found(tmp_path, {"svc-map": "a: {}\nnova: {}\n"}, "svc-map", "other")
    [one] = findings.found
    assert "service nova is in that of element " in one.summary
    assert "my-os" in one.summary
    assert "other" in one.summary


GOOD = {
    "package-installs.yaml": "curl:\nvim:\n  phase: pre-install.d\nx:\n  - when: A = b\n"
    "    uninstall: true\n  - when: [B != c, 'C=d']\n    arch: amd64, arm64\nx: {}\n"
    "y: {installtype: source, when: anything}\nmore: {unknown: key}\nz: []\n",
    "package-installs.json": '{"a": null,\t"b": [{"build-only": true}], "c": {"when": "A=b"}}',
    "svc-map": "nova:\n  default: n\n  debian: [a, b]\nb: {}\nc: plain\n",
    "pkg-map": '{"release": {"debian": {"12": {"a": "b"}}}, "family": {}, "default": {"c": ""}}',
    "source-repository-a": "\n# nothing\n  a git /opt/a https://x/a.git main # why\nb package\n"
    "c tar /opt/c $WHERE/c.tar.gz .\n${ANYTHING}\nd file /d http://d\n",
    "source-repository-b~": "an editor's copy\n",
}


def test_what_upstream_takes_is_taken(tmp_path):
    findings, _ = found(tmp_path, GOOD)
    assert [str(one) for one in findings.found] == []


def test_files_that_nothing_reads_do_not_matter(tmp_path):
    files = dict.fromkeys(("package-installs.yaml", "svc-map", "pkg-map"), "[")
    findings, sources = found(tmp_path, files, "install-types")
    assert (findings.found, sources) == ([], {})


def test_a_file_in_another_encoding_is_told_of(tmp_path):
    make(tmp_path, {"my-os": {**OPERATING_SYSTEM, "svc-map": ""}})
    (tmp_path / "my-os/svc-map").write_bytes(b"caf\xe9:\n")
    _, setup = described(tmp_path, "my-os", "svc-map")
    findings, _ = check_declarations(setup)
    assert "svc-map of element my-os is not a text in UTF-8" in findings.found[0].summary


@pytest.mark.parametrize("system", ["debian-minimal", "ubuntu-minimal", "fedora-minimal"])
def test_upstreams_own_files_are_all_right(tmp_path, system):
    _, setup = described(tmp_path, system, *READERS, "cloud-init")
    findings, sources = check_declarations(setup)
    assert [str(one) for one in findings.found] == []
    assert len(sources) > 3


def test_install_types_are_upstreams_and_those_that_elements_have(tmp_path):
    files = {"install.d/x-rdo-install/10-x": "", "package-installs.yaml": "a: {installtype: pip}\n"}
    make(tmp_path, {"my-os": {**OPERATING_SYSTEM, **files}})
    _, setup = described(tmp_path, "my-os")
    assert install_types(setup) == {"source", "package", "rdo", "pip"}
