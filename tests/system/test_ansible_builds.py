"""Playbooks on trees, by real Ansible: what modules do there, what is kept, how runs end."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from python_trees import codename, python_tree
from small_image import ROOT_PARTITION

pytestmark = [pytest.mark.root, pytest.mark.network]

SECRET = "pass-wo+rd/4711"


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return python_tree(tmp_path_factory.mktemp("python-tree"))


def template(tree: Path, options: str, *, after: str = "") -> str:
    return f"""\
variable "token" {{
  default   = "{SECRET}"
  sensitive = true
}}
source "image" "small" {{
  bootstrap {{
    method = "tar"
    source = "{tree}"
  }}
  disk {{
{ROOT_PARTITION}  }}
  firmware   = []
  formats    = ["raw"]
  image_name = "small"
}}
build {{
  sources = ["source.image.small"]
  provisioner "ansible" {{
    playbook_file = "plays/site.yml"
    network       = false
{options}
  }}
{after}}}
"""


def write(place: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(text)


PLAYS = {
    "plays/site.yml": """\
- hosts: web
  become: true
  roles: [web]
  tasks:
    - import_tasks: more.yml
    - name: the user has a name of its own
      command: id -un
      become_user: ops
      register: me
    - assert: { that: "me.stdout == 'ops' and ansible_facts.distribution == 'Debian'" }
    - name: a long answer arrives whole
      command: /bin/sh -c 'head -c 300000 /dev/zero | tr \\\\0 x'
      register: big
    - assert: { that: "big.stdout | length == 300000" }
    - name: in the background
      shell: sleep 1; echo done >/etc/background
      async: 120
      poll: 1
    - debug: { msg: "{{ token }} is {{ token | b64encode }}" }
    - apt: { name: cron, state: present }
    - service: { name: cron, state: started, enabled: true }
    - meta: flush_handlers
    - stat: { path: /run/crond.pid }
      register: started
    - assert: { that: not started.stat.exists }
""",
    "plays/more.yml": """\
- user: { name: ops, uid: 1234 }
- copy: { src: ../motd, dest: /etc/motd }
""",
    "plays/group_vars/web.yml": "word: grouped\n",
    "plays/roles/web/tasks/main.yml": """\
- template: { src: web.j2, dest: /etc/web.conf, mode: "0640" }
  notify: restart cron
""",
    "plays/roles/web/handlers/main.yml": """\
- name: restart cron
  service: { name: cron, state: restarted }
""",
    "plays/roles/web/templates/web.j2": "{{ word }} {{ greeting }} {{ packer_build_name }}\n",
    "motd": "welcome\n",
}
OPTIONS = """\
    groups          = ["web"]
    extra_vars      = { greeting = "hello, you" }
    extra_arguments = ["-e", "token=${var.token}"]
"""
AFTER = """\
  provisioner "shell" {
    inline = ["cat /etc/web.conf /etc/motd /etc/background", "ls -A /root /etc/rc2.d"]
  }
"""


def test_a_playbook_changes_the_tree_and_is_kept(goldsmith, tree, tmp_path):
    write(tmp_path, {**PLAYS, "t.pkr.hcl": template(tree, OPTIONS, after=AFTER)})
    with watching_arguments() as seen:
        built = goldsmith("build", "t.pkr.hcl", check=True)
    told = built.stdout
    assert "grouped hello, you small" in told
    assert "welcome" in told
    assert "RUNNING HANDLER [web : restart cron]" in told
    listed = told.rpartition("done\n")[2]
    assert ".ansible" not in listed, "nothing of Ansible stays in the tree"
    assert "cron" in listed, "the service is enabled"
    assert SECRET not in told + built.stderr
    assert any("launcher.py" in words for words in seen), "Ansible was seen running"
    assert not [words for words in seen if SECRET in words]
    assert cached(goldsmith)["provisioner-1"] == "hit"
    # Whatever belongs to it counts, also what is only named in it.
    for name in ("motd", "plays/group_vars/web.yml", "plays/roles/web/templates/web.j2"):
        before = (tmp_path / name).read_text()
        (tmp_path / name).write_text(before + "# changed\n")
        assert cached(goldsmith)["provisioner-1"] != "hit", name
        (tmp_path / name).write_text(before)
    assert cached(goldsmith)["provisioner-1"] == "hit"


def test_what_the_key_cannot_know_runs_in_each_build(goldsmith, tree, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    write(elsewhere, {"words": "far away\n"})
    project = tmp_path / "project"
    play = f"""\
- hosts: all
  gather_facts: false
  tasks:
    - copy: {{ content: "{{{{ lookup('file', '{elsewhere}/' ~ 'words') }}}}", dest: /etc/words }}
"""
    piped = """\
- hosts: all
  gather_facts: false
  tasks:
    - copy: { content: "{{ lookup('pipe', 'echo word') }}", dest: /etc/words }
"""
    write(project, {"plays/site.yml": play, "t.pkr.hcl": template(tree, "")})
    built = goldsmith("build", "t.pkr.hcl", cwd=project, check=True)
    assert f"({elsewhere}/words); `inputs` can name it" in built.stdout
    assert cached(goldsmith, project)["provisioner-1"] != "hit"
    named = template(tree, f'    inputs = ["{elsewhere}/words"]')
    write(project, {"t.pkr.hcl": named})
    built = goldsmith("build", "t.pkr.hcl", cwd=project, check=True)
    assert "runs in each build" not in built.stdout
    assert cached(goldsmith, project)["provisioner-1"] == "hit"
    write(project, {"plays/site.yml": piped})
    built = goldsmith("build", "t.pkr.hcl", cwd=project, check=True)
    assert "(the output of programs on this host)" in built.stdout
    assert cached(goldsmith, project)["provisioner-1"] != "hit"


def test_a_failed_task_fails_the_build_and_says_where(goldsmith, tree, tmp_path):
    play = "- hosts: all\n  tasks:\n    - name: no luck\n      command: /bin/false\n"
    write(tmp_path, {"plays/site.yml": play, "t.pkr.hcl": template(tree, "")})
    built = goldsmith("build", "t.pkr.hcl")
    assert built.status == 1
    assert "TASK [no luck]" in built.stdout
    assert "exit status 2" in built.stdout + built.stderr
    assert "Traceback" not in built.stdout + built.stderr


def test_an_interrupt_ends_ansible_with_all_that_it_started(goldsmith, tree, tmp_path):
    marker = f"{os.getpid()}.{time.monotonic_ns()}"
    play = f"""\
- hosts: all
  gather_facts: false
  tasks:
    - name: on this host
      shell: touch {tmp_path}/begun; exec sleep 3600.{marker.replace(".", "")}
      delegate_to: localhost
      vars: {{ ansible_connection: local, ansible_python_interpreter: "{{{{ ansible_playbook_python }}}}" }}
"""  # noqa: E501
    write(tmp_path, {"plays/site.yml": play, "t.pkr.hcl": template(tree, "")})
    with goldsmith.start("build", "t.pkr.hcl") as running:
        wait_for(lambda: (tmp_path / "begun").exists() or running.poll() is not None)
        assert running.poll() is None, running.communicate()
        running.send_signal(signal.SIGINT)
        stdout, _ = running.communicate(timeout=120)
    assert running.returncode == 1, stdout
    wait_for(lambda: not [words for words in arguments() if marker.replace(".", "") in words])


def test_a_tree_without_python_is_one_clear_error(goldsmith, small_tree, tmp_path):
    play = "- hosts: all\n  tasks:\n    - command: /bin/true\n"
    write(tmp_path, {"plays/site.yml": play, "t.pkr.hcl": template(small_tree, "")})
    built = goldsmith("build", "t.pkr.hcl")
    assert built.status == 1
    assert "the tree has no python3" in built.stdout + built.stderr
    assert "PLAY" not in built.stdout


def test_packages_without_python_are_one_clear_error_before_the_build(goldsmith, tmp_path):
    text = template(tmp_path, "").replace('method = "tar"', 'method = "apt"')
    text = text.replace(f'source = "{tmp_path}"', f'suite  = "{codename()}"')
    play = "- hosts: all\n  tasks:\n    - command: /bin/true\n"
    write(tmp_path, {"plays/site.yml": play, "t.pkr.hcl": text})
    built = goldsmith("build", "t.pkr.hcl")
    assert built.status == 1
    assert "the tree will have no python3" in built.stdout + built.stderr
    assert "Bootstrapping" not in built.stdout


def test_roles_of_a_requirements_file_are_there_for_the_run(goldsmith, tree, tmp_path):
    role = tmp_path / "role"
    meta = "galaxy_info: { author: a, min_ansible_version: '2.16' }\n"
    task = "- copy: { content: got, dest: /etc/got }\n"
    write(role, {"tasks/main.yml": task, "meta/main.yml": meta})
    with tarfile.open(tmp_path / "role.tar.gz", "w:gz") as archive:
        archive.add(role, "role")
    project = tmp_path / "project"
    write(project, {
        "galaxy.yml": f"- src: file://{tmp_path}/role.tar.gz\n  name: got\n",
        "plays/site.yml": "- hosts: all\n  gather_facts: false\n  roles: [got]\n",
        "t.pkr.hcl": template(tree, '    galaxy_file = "galaxy.yml"', after=(
            '  provisioner "shell" {\n    inline = ["echo it is $(cat /etc/got)"]\n  }\n'
        )),
    })  # fmt: skip
    built = goldsmith("build", "t.pkr.hcl", cwd=project, check=True)
    assert "it is got" in built.stdout
    assert "what Galaxy installs may be another the next time" in built.stdout
    assert cached(goldsmith, project)["provisioner-1"] != "hit"
    assert sorted(path.name for path in project.iterdir()) == [
        "galaxy.yml", "output", "plays", "t.pkr.hcl"
    ]  # fmt: skip


def cached(goldsmith: Any, place: Path | None = None) -> dict[str, str]:
    """What the cache has of each provisioner, by a plan."""
    plan = json.loads(goldsmith("plan", "-json", "t.pkr.hcl", cwd=place, check=True).stdout)
    found = {step["name"]: step["state"] for build in plan["builds"] for step in build["steps"]}
    return {name: use for name, use in found.items() if name.startswith("provisioner")}


def wait_for(condition: Callable[[], bool], within_s: float = 120) -> None:
    deadline_s = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline_s, "it did not come to pass"
        time.sleep(0.05)


def arguments() -> set[str]:
    """The argument lists of all processes, as every user can read them."""
    found = set()
    for entry in os.listdir("/proc"):
        if entry.isdecimal():
            with contextlib.suppress(OSError):
                found.add(Path("/proc", entry, "cmdline").read_bytes().decode(errors="replace"))
    return found


@contextlib.contextmanager
def watching_arguments() -> Iterator[set[str]]:
    """All argument lists that are there at any time within the block."""
    seen: set[str] = set()
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(0.02):
            seen.update(arguments())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield seen
    finally:
        ended.set()
        watcher.join()
