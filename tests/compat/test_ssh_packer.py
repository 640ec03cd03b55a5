"""What the real packer 1.6.6 asks of a machine by SSH, and what goldsmith asks of it.

Both build the same template against a server that writes down every command and every file.
"""

from __future__ import annotations

import html
import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from recording_sshd import PASSWORD, Answer, Recording, recording_sshd

GOLDSMITH = Path(sys.executable).with_name("goldsmith")
ENDS_WITHIN_S = 300
CHECK_NAME = "ZQBjAGgAbwAgACgAIgB7ADAAfQ"
"""The beginning of the command by which a machine tells its name after a restart."""

UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
ELEVATED = re.compile(r"C:/Windows/Temp/packer-elevated-shell-<UUID>\.ps1")
FACTS = {
    "user": r"<UserId>(.*?)</UserId>",
    "arguments": r"<Arguments>(.*?)</Arguments>",
    "level": r"<RunLevel>(.*?)</RunLevel>",
    "log": r'\$log = \[System.Environment\]::ExpandEnvironmentVariables\("(.*?)"\)',
    "registered as": r'\.RegisterTask(?:Definition)?\(\$name, \$\w+, 6, "(.*?)", \$password',
    "its script": r'"(C:/Windows/Temp/packer-elevated-shell-<UUID>.ps1)"',
}
"""What matters of a script that makes a task; the rest is written in words of our own."""
HEAD, END = "try {\n", "} catch {"


@dataclass(frozen=True)
class Case:
    """A list of provisioners, and how the machine answers them."""

    provisioners: list[dict[str, Any]]
    statuses: dict[str, int] = field(default_factory=dict)
    """By a part of the command."""
    exit: int = 0


SHELL = {"type": "shell", "inline": ["echo hi", "echo there"]}
POWER = {"type": "powershell", "inline": ["Write-Host hi"]}
CMD = {"type": "windows-shell", "inline": ["dir", "echo hi"]}
ODD = ['A=it\'s $x `y` "z"', "B=", "C=a=b", "Z_1=1"]

# fmt: off
CASES = {
    "shell": Case([SHELL]),
    "shell-script": Case([{"type": "shell", "script": "crlf.sh"}]),
    "shell-binary": Case([{"type": "shell", "script": "crlf.sh", "binary": True}]),
    "shell-scripts": Case([{"type": "shell", "scripts": ["crlf.sh", "b.sh"]}]),
    "shell-variables": Case([{**SHELL, "environment_vars": ODD}]),
    "shell-format": Case(
        [{**SHELL, "environment_vars": ODD, "env_var_format": "export %s='%s'; "}]
    ),
    "shell-shebang": Case([{**SHELL, "inline_shebang": "/bin/bash -eux"}]),
    "shell-path": Case([{**SHELL, "remote_path": "/srv/there/s.sh"}]),
    "shell-folder": Case([{**SHELL, "remote_folder": "/srv/there"}]),
    "shell-file": Case([{**SHELL, "remote_file": "s.sh"}]),
    "shell-keeps": Case([{**SHELL, "skip_clean": True}]),
    "shell-variables-in-file": Case([{**SHELL, "use_env_var_file": True, "environment_vars": ODD}]),
    "shell-file-format": Case(
        [
            {
                **SHELL,
                "use_env_var_file": True,
                "environment_vars": ["A=1"],
                "env_var_format": "declare -x %s='%s'\n",
            }
        ]
    ),
    "shell-file-command": Case(
        [
            {
                **SHELL,
                "use_env_var_file": True,
                "execute_command": "sudo sh -c '. {{.EnvVarFile}}; sh {{.Path}}'",
            }
        ]
    ),
    "shell-sudo": Case(
        [{**SHELL, "execute_command": "echo 'x' | sudo -S env {{ .Vars }} sh '{{ .Path }}'"}]
    ),
    "shell-names": Case(
        [{**SHELL, "execute_command": "{{build_name}} {{build_type}} {{.Vars}} {{.Path}}"}]
    ),
    "shell-status": Case([{**SHELL, "valid_exit_codes": [0, 3]}], {"chmod +x": 3}),
    "shell-failed": Case([SHELL, SHELL], {"chmod +x": 9}, 1),
    "shell-pause": Case([{**SHELL, "pause_after": "1s"}]),
    "windows-shell": Case([CMD]),
    "windows-shell-variables": Case([{**CMD, "environment_vars": ODD}]),
    "windows-shell-scripts": Case([{"type": "windows-shell", "scripts": ["crlf.sh", "b.sh"]}]),
    "windows-shell-options": Case(
        [
            {
                **CMD,
                "remote_path": "c:/Windows/Temp/y.bat",
                "env_var_format": "set %s=%s& ",
                "environment_vars": ["A=1"],
                "execute_command": "{{.Vars}} cmd /c {{.Path}}",
            }
        ]
    ),
    "windows-shell-failed": Case([CMD, CMD], {"script.bat": 2}, 1),
    "powershell": Case([POWER]),
    "powershell-variables": Case([{**POWER, "environment_vars": ODD}]),
    "powershell-script": Case([{"type": "powershell", "script": "crlf.sh"}]),
    "powershell-scripts": Case([{"type": "powershell", "scripts": ["crlf.sh", "b.sh"]}]),
    "powershell-policy": Case([{**POWER, "execution_policy": "remotesigned"}]),
    "powershell-no-policy": Case([{**POWER, "execution_policy": "none"}]),
    "powershell-trace": Case([{**POWER, "debug_mode": 2}]),
    "powershell-keeps": Case([{**POWER, "skip_clean": True}]),
    "powershell-options": Case(
        [
            {
                **POWER,
                "environment_vars": ["B=2", "A=1"],
                "env_var_format": "set %s %s;",
                "execute_command": "pwsh -f {{.Vars}} {{.Path}}",
                "valid_exit_codes": [0, 3],
                "remote_path": "c:/Windows/Temp/y.ps1",
                "remote_env_var_path": "c:/Windows/Temp/v.ps1",
            }
        ],
        {"y.ps1": 3},
    ),
    "powershell-failed": Case([POWER, POWER], {"script-": 4}, 1),
    "powershell-elevated": Case(
        [
            {
                **POWER,
                "elevated_user": "Admin",
                "elevated_password": "p$\"w<&'`",
                "environment_vars": ["A=1"],
                "elevated_env_var_format": "$x:%s='%s';",
            }
        ]
    ),
    "powershell-elevated-service": Case(
        [
            {
                **POWER,
                "elevated_user": "NT\\S&b",
                "elevated_password": "",
                "skip_clean": True,
                "elevated_execute_command": 'go "{{.Vars}}" & {{.Path}} <1>',
            }
        ]
    ),
    "windows-restart": Case([{"type": "windows-restart"}]),
    "windows-restart-under-way": Case([{"type": "windows-restart"}], {"/t 60": 1}),
    "windows-restart-commands": Case(
        [
            {
                "type": "windows-restart",
                "restart_command": "restart now",
                "restart_check_command": "echo ready",
            }
        ]
    ),
    "windows-restart-registry": Case([{"type": "windows-restart", "check_registry": True}]),
    "windows-restart-keys": Case(
        [{"type": "windows-restart", "check_registry": True, "registry_keys": ["HKLM:A\\B c"]}]
    ),
    "windows-restart-failed": Case([{"type": "windows-restart"}], {"/t 0": 5}, 1),
    "file": Case(
        [
            {"type": "file", "source": "b.sh", "destination": "/tmp/x y"},
            {"type": "file", "source": "b.sh", "destination": "/srv/there/"},
            {"type": "file", "source": "tree", "destination": "/srv/there"},
            {"type": "file", "source": "tree/", "destination": "/srv/there"},
            {"type": "file", "direction": "download", "source": "/tmp/x y", "destination": "got/"},
            {"type": "file", "direction": "download", "source": "/tmp/x y", "destination": "g"},
        ],
        {"test -d": 1},
    ),
    "file-by-sftp": Case(
        [
            {"type": "file", "source": "b.sh", "destination": "/tmp/x y"},
            {"type": "file", "direction": "download", "source": "/tmp/x y", "destination": "g"},
        ]
    ),
}
# fmt: on
GROUPS = ("shell", "windows-shell", "powershell")


def grouped() -> dict[str, Case]:
    """One build for all cases of a kind that go well with the usual answers."""
    together: dict[str, list[dict[str, Any]]] = {kind: [] for kind in GROUPS}
    alone = {}
    for name, case in CASES.items():
        kind = str(case.provisioners[0]["type"])
        if kind in together and not case.statuses:
            together[kind] += case.provisioners
        else:
            alone[name] = case
    return {**{kind: Case(all_of) for kind, all_of in together.items()}, **alone}


NIGHTLY = ("windows-restart-keys", "windows-restart-registry", "windows-restart-under-way")
RUNS = {
    name: pytest.param(case, id=name, marks=[pytest.mark.nightly] if name in NIGHTLY else [])
    for name, case in grouped().items()
}


def run(
    program: str | Path, place: Path, case: Case, **builder: object
) -> tuple[subprocess.CompletedProcess[str], Recording]:
    """Build the template with a program in a directory of its own."""
    work = place / "work"
    (work / "tree/below").mkdir(parents=True)
    (work / "tree/below/f").write_text("f")
    (work / "tree/g").write_text("g")
    (work / "crlf.sh").write_bytes(b"echo a\r\necho b\n")
    (work / "b.sh").write_bytes(b"echo c\n")
    (place / "home").mkdir()

    def answer(command: str, number: int) -> Answer:
        status = next((s for part, s in case.statuses.items() if part in command), 0)
        return Answer(status, "WIN restarted.\r\n" if CHECK_NAME in command else "said\n", "")

    with recording_sshd(place / "machine", answer) as recording:
        template = {
            "builders": [{"type": "null", "ssh_host": "127.0.0.1", "ssh_port": recording.port,
                          "ssh_username": "u", "ssh_password": PASSWORD, "ssh_timeout": "4m",
                          **builder}],
            "provisioners": case.provisioners,
        }  # fmt: skip
        (work / "t.json").write_text(json.dumps(template))
        environment = {
            "PATH": os.environ["PATH"], "HOME": str(place / "home"), "CHECKPOINT_DISABLE": "1",
            "PACKER_CONFIG_DIR": str(place / "home"), "PACKER_NO_COLOR": "1", "LC_ALL": "C.UTF-8",
            "TMPDIR": os.environ.get("TMPDIR", "/tmp"),
        }  # fmt: skip
        done = subprocess.run(
            [program, "build", "t.json"], cwd=work, env=environment, capture_output=True,
            text=True, timeout=ENDS_WITHIN_S, check=False,
        )  # fmt: skip
    return done, recording


def asked(recording: Recording) -> list[tuple[str, ...]]:
    """What was asked, without what chance is in it and without how each looks at directories."""
    found: list[tuple[str, ...]] = []
    for kind, *what in recording.asked:
        words = [_named(word.decode() if isinstance(word, bytes) else word) for word in what]
        if kind == "exec" and (words[0].startswith("test -d ") or words[0].strip() == "rm -f"):
            continue
        if kind == "upload" and ELEVATED.fullmatch(words[0]):
            words[1] = str(_facts(words[1]))
        elif kind == "upload" and words[1].startswith("if (Test-Path"):
            # Packer removes the one place of several scripts several times.
            words[1] = "\n".join(dict.fromkeys(words[1].splitlines()))
        elif kind == "upload" and words[1].startswith(HEAD):
            words[1] = words[1].removeprefix(HEAD).partition(END)[0].rstrip("\n")
        found.append((kind, *words))
    return found


def _named(text: str) -> str:
    text = re.sub(r"(script|varfile)_\d+", r"\1_<N>", UUID.sub("<UUID>", text))
    return text.rstrip("\n")


def _facts(script: str) -> dict[str, str]:
    found = {name: re.search(pattern, script) for name, pattern in FACTS.items()}
    password = re.search(r'\$password = "(.*)"', script)
    # Packer writes a user with an ampersand into the XML as it is, which Windows refuses.
    facts = {name: html.unescape(match[1]) if match else "" for name, match in found.items()}
    return {**facts, "password": password[1] if password else ""}


def lines(done: subprocess.CompletedProcess[str]) -> list[str]:
    """What was told while provisioning; `==>` and `   ` are Packer's in an older and newer form."""
    text = re.sub(r"\S*/(packer-shell|powershell-provisioner|windows-shell-provisioner)\d+", r"\1",
                  done.stdout)  # fmt: skip
    found = re.findall(r"^(?:==>|   ) null: (.+)$", text, re.MULTILINE)
    return [line for line in found if not line.startswith("Provisioning step had errors")]


@pytest.mark.parametrize("case", RUNS.values())
def test_the_same_is_asked_of_the_machine(case, request, tmp_path):
    builder = {"ssh_file_transfer_method": "sftp"} if "sftp" in request.node.callspec.id else {}
    (tmp_path / "p").mkdir()
    (tmp_path / "g").mkdir()
    theirs, told = run("packer", tmp_path / "p", case, **builder)
    ours, heard = run(GOLDSMITH, tmp_path / "g", case, **builder)
    assert theirs.returncode == case.exit, theirs.stdout + theirs.stderr
    assert ours.returncode == case.exit, ours.stdout + ours.stderr
    assert asked(heard) == asked(told)
    assert lines(ours) == lines(theirs)
    for got in ("g", "got/x y"):
        assert (tmp_path / "g/work" / got).exists() == (tmp_path / "p/work" / got).exists()
