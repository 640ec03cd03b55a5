"""Playbooks on a machine that only SSH reaches: a real Ansible, a real sshd, one connection."""

from __future__ import annotations

import json

import pytest
from real_sshd import running_sshd

pytestmark = pytest.mark.root

SECRET = "pass-wo+rd/4711"
PLAY = """\
- hosts: all
  gather_facts: true
  vars:
    there: "{{ place }}"
    host: "{{ inventory_hostname }}"
  tasks:
    - assert: { that: "ansible_facts.system == 'Linux'" }
    - copy: { content: "it's {{ host }}\\n", dest: "{{ there }}/a file", mode: "0640" }
    - copy: { src: big, dest: "{{ there }}/big" }
    - template: { src: t.j2, dest: "{{ there }}/template" }
    - name: root stays root
      become: true
      command: id -un
      register: me
    - assert: { that: "me.stdout == 'root'" }
    - shell: head -c 300000 /dev/zero | tr '\\0' x
      register: long
    - assert: { that: "long.stdout | length == 300000" }
    - fetch: { src: "{{ there }}/big", dest: "{{ playbook_dir }}/fetched", flat: true }
    - command: sh -c 'sleep 0.2; echo late > "{{ there }}/late"'
      async: 120
      poll: 1
"""


@pytest.fixture(scope="module")
def sshd(tmp_path_factory):
    with running_sshd(tmp_path_factory.mktemp("ansible-ssh") / "sshd") as server:
        yield server


def write(place, sshd, play, **options):
    (place / "plays").mkdir()
    (place / "plays/site.yml").write_text(play)
    (place / "plays/t.j2").write_text("token {{ token }}\n")
    (place / "plays/big").write_bytes(bytes(range(256)) * 8192)
    ansible = {
        "type": "ansible", "playbook_file": "plays/site.yml", "network": True,
        # What a search finds first may be a shim that works for its owner only.
        "extra_arguments": ["--extra-vars", json.dumps({
            "place": str(place), "token": SECRET, "ansible_python_interpreter": "/usr/bin/python3",
        })],
        **options,
    }  # fmt: skip
    template = {
        "variables": {"token": SECRET}, "sensitive-variables": ["token"],
        "builders": [{"type": "null", **sshd.options()}], "provisioners": [ansible],
    }  # fmt: skip
    (place / "t.json").write_text(json.dumps(template))


def test_a_playbook_runs_on_a_machine_that_ssh_reaches(sshd, goldsmith, tmp_path):
    write(tmp_path, sshd, PLAY)
    result = goldsmith("build", "t.json", timeout_s=300)
    assert result.status == 0, result
    assert (tmp_path / "a file").read_text().startswith("it's ")
    assert (tmp_path / "a file").stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "template").read_text() == f"token {SECRET}\n"
    sent = (tmp_path / "plays/big").read_bytes()
    assert (tmp_path / "big").read_bytes() == (tmp_path / "plays/fetched").read_bytes() == sent
    assert (tmp_path / "late").read_text() == "late\n"
    assert SECRET not in result.stdout + result.stderr


BROKEN = """\
- hosts: all
  gather_facts: false
  tasks:
    - name: the broken one
      command: sh -c 'echo why it is >&2; exit 7'
"""


def test_a_task_that_fails_there_fails_the_build_with_its_words(sshd, goldsmith, tmp_path):
    write(tmp_path, sshd, BROKEN)
    result = goldsmith("build", "t.json", timeout_s=300)
    assert result.status == 1
    assert "the broken one" in result.stdout and "why it is" in result.stdout, result
    assert "Traceback" not in result.stdout + result.stderr
