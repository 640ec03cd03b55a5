"""Scripts on machines and in trees: what is uploaded, run, tried again and removed."""

from contextlib import contextmanager
from xml.etree import ElementTree

import pytest
from pydantic import ValidationError

from goldsmith.core.communicator import DISCONNECTED, ConnectionFailed
from goldsmith.core.provisioner import ProvisionContext
from goldsmith.core.script_environment import written
from goldsmith.errors import GoldsmithError
from goldsmith.events import Emitter
from goldsmith.provisioners import remote_scripts
from goldsmith.provisioners.powershell import PowershellOptions, PowershellProvisioner
from goldsmith.provisioners.powershell_elevated import elevated_script
from goldsmith.provisioners.shell import ShellOptions, ShellProvisioner
from goldsmith.provisioners.windows_restart import WindowsRestartOptions, WindowsRestartProvisioner


class Machine:
    """Writes down what is asked of it; each answer is a status or an error."""

    in_tree = False

    def __init__(self, *answers):
        self.asked, self.answers, self.waited, self.of_chmod = [], list(answers), [], []

    @contextmanager
    def waiting(self, limit_s):
        self.waited.append(limit_s)
        yield

    def start(self, command, *, on_line, env=None, timeout_s=None):
        self.asked.append(command)
        if command.startswith("chmod 0"):
            return self.of_chmod.pop(0) if self.of_chmod else 0
        answer = self.answers.pop(0) if self.answers else 0
        if isinstance(answer, Exception):
            raise answer
        return answer

    def upload(self, content, destination, *, mode=None):
        self.asked.append((destination, content, mode))

    def remove(self, path):
        self.asked.append(("rm", path))


class Tree(Machine):
    in_tree = True


def provision(provisioner, machine, tmp_path, **values):
    events = []
    context = ProvisionContext(
        communicator=machine, emitter=Emitter("b", events.append), build_name="n",
        builder_type="null", environment={}, directory=tmp_path, run_uuid="u", run_values=values,
        scratch_file=None,
    )  # fmt: skip
    provisioner.provision(context)
    return events


def shell(**options):
    return ShellProvisioner(ShellOptions(**{"inline": ("true",), **options}))


def test_names_in_a_tree_are_without_chance(tmp_path):
    tree = Tree()
    provision(shell(use_env_var_file=True), tree, tmp_path)
    (file, text, mode), (script, _, _), command, *left = tree.asked
    assert (file, mode) == ("/run/goldsmith/varfile_0.sh", 0o600)
    assert text == b"export PACKER_BUILDER_TYPE='null'\nexport PACKER_BUILD_NAME='n'\n"
    assert command == f"chmod +x {script}; . {file} && {script}"
    assert left == [("rm", script), ("rm", file)]


def test_a_lost_connection(tmp_path):
    with pytest.raises(GoldsmithError, match="disconnected unexpectedly"):
        provision(shell(), Machine(DISCONNECTED), tmp_path)
    provision(shell(expect_disconnect=True), Machine(DISCONNECTED), tmp_path)
    provision(shell(valid_exit_codes=(DISCONNECTED,)), Machine(DISCONNECTED), tmp_path)
    with pytest.raises(GoldsmithError, match="status: 3"):
        provision(shell(expect_disconnect=True), Machine(3), tmp_path)


def test_a_connection_that_is_lost_at_chmod_is_tried_again(tmp_path, monkeypatch):
    monkeypatch.setattr(remote_scripts, "pause", lambda duration_s: None)
    machine = Machine()
    machine.of_chmod = [DISCONNECTED, 0]
    provision(shell(start_retry_timeout="1h"), machine, tmp_path)
    assert sum(str(asked).startswith("chmod 0") for asked in machine.asked) == 2


def test_a_machine_that_is_away_is_tried_again(tmp_path, monkeypatch):
    monkeypatch.setattr(remote_scripts, "pause", lambda duration_s: None)
    machine = Machine(ConnectionFailed("away"), ConnectionFailed("away"), 0)
    provision(shell(start_retry_timeout="1h", skip_clean=True), machine, tmp_path)
    assert sum(str(asked).startswith("chmod +x") for asked in machine.asked) == 3
    assert machine.waited == [3600]
    with pytest.raises(ConnectionFailed):
        provision(shell(start_retry_timeout="1s"), Machine(ConnectionFailed("away")), tmp_path)

    class Lasting(ConnectionFailed):
        lasting = True

    with pytest.raises(Lasting):
        provision(shell(start_retry_timeout="1h"), Machine(Lasting("no")), tmp_path)


def test_a_command_knows_the_build(tmp_path):
    machine = Machine()
    command = "{{build_name}} {{build `Password`}} {{.Path}}"
    provision(shell(execute_command=command, remote_path="/s"), machine, tmp_path, Password="pw")
    assert "n pw /s" in machine.asked
    with pytest.raises(GoldsmithError, match="does not fill Password"):
        provision(shell(execute_command=command), Machine(), tmp_path)


@pytest.mark.parametrize(
    "bad",
    [{"execute_command": "{{.Nope}}"}, {"execute_command": "{{"}, {"env_var_format": "%s"},
     {"inline": ("a",), "script": "b"}, {"inline": ()}, {"environment_vars": ("A",)},
     {"start_retry_timeout": "-1s"}],
)  # fmt: skip
@pytest.mark.parametrize("model", [ShellOptions, PowershellOptions])
def test_what_an_option_cannot_be(model, bad):
    with pytest.raises(ValidationError):
        model(**{"inline": ("true",), **bad})


@pytest.mark.parametrize(
    "bad", [{"debug_mode": 3}, {"execution_policy": "all"}, {"elevated_password": "p"}]
)
def test_what_an_option_of_powershell_cannot_be(bad):
    with pytest.raises(ValidationError):
        PowershellOptions(inline=("x",), **bad)


def test_how_a_variable_is_written():
    assert written("%s='%s' ", "A", "b") == "A='b' "
    assert written("%%s %s%%%s", "A", "b") == "%s A%b"


def test_pwsh_and_inline_that_fails(tmp_path):
    machine = Machine()
    made = PowershellProvisioner(PowershellOptions(inline=("foo",), use_pwsh=True))
    provision(made, machine, tmp_path)
    _, (_, text, _), command, *_ = machine.asked
    assert command.startswith('pwsh -executionpolicy bypass -command "& { ')
    assert text.startswith(b"try {\nfoo\n} catch {") and b"exit $LASTEXITCODE" in text


@pytest.mark.parametrize(("password", "kind"), [("p$<&\"'`", "1"), ("", "5")])
def test_an_elevated_task_is_good_xml(password, kind):
    text = elevated_script('a "b" & <c>', 'D\\u&"', password, "id", "C:/x.ps1")
    xml = text.partition("$xml = @'\n")[2].partition("\n'@")[0]
    space = "{http://schemas.microsoft.com/windows/2004/02/mit/task}"
    task = ElementTree.fromstring(xml.partition("?>\n")[2])  # noqa: S314 (our own)
    assert task.find(f".//{space}UserId").text == 'D\\u&"'
    arguments = task.find(f".//{space}Arguments").text
    assert arguments == '/c a "b" & <c> > %SYSTEMROOT%/Temp/packer-id.out 2>&1'
    assert (task.find(f".//{space}LogonType") is None) == (not password)
    assert f", $password, {kind}, $null)" in text


def test_a_restart_that_takes_too_long(tmp_path):
    made = WindowsRestartProvisioner(WindowsRestartOptions(restart_timeout="1s"))
    with pytest.raises(GoldsmithError, match="Timeout waiting for machine to restart"):
        provision(made, Machine(0, 1), tmp_path)
    with pytest.raises(GoldsmithError, match="Restart command exited"):
        provision(made, Machine(5), tmp_path)
    machine = Machine(0, ConnectionFailed("away"))
    with pytest.raises(GoldsmithError, match="Timeout waiting for machine to restart"):
        provision(made, machine, tmp_path)
    assert machine.waited and max(machine.waited) <= 1
