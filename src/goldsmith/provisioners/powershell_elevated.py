"""Running a command with all the rights of a user of Windows: as a task of its scheduler.

A session over the network lacks rights that even an administrator has only at the console, so a
task is registered, started, followed by its log, and removed. The XML is that of the Task Scheduler
(schema 1.2); LogonType 1 is TASK_LOGON_PASSWORD, 5 TASK_LOGON_SERVICE_ACCOUNT, and of the states 3
is TASK_STATE_READY, 4 TASK_STATE_RUNNING.
"""

from __future__ import annotations

from typing import Final
from xml.sax.saxutils import escape

_TASK: Final = """\
<?xml version="1.0" encoding="UTF-16"?>
<Task version="1.2" xmlns="http://schemas.microsoft.com/windows/2004/02/mit/task">
  <RegistrationInfo><Description>goldsmith elevated task</Description></RegistrationInfo>
  <Principals>
    <Principal id="Author">
      <UserId>{user}</UserId>{logon}
      <RunLevel>HighestAvailable</RunLevel>
    </Principal>
  </Principals>
  <Settings>
    <MultipleInstancesPolicy>IgnoreNew</MultipleInstancesPolicy>
    <DisallowStartIfOnBatteries>false</DisallowStartIfOnBatteries>
    <StopIfGoingOnBatteries>false</StopIfGoingOnBatteries>
    <AllowStartOnDemand>true</AllowStartOnDemand>
    <Enabled>true</Enabled>
    <ExecutionTimeLimit>PT0S</ExecutionTimeLimit>
    <Priority>4</Priority>
  </Settings>
  <Actions Context="Author">
    <Exec>
      <Command>cmd</Command>
      <Arguments>/c {command} &gt; {log} 2&gt;&amp;1</Arguments>
    </Exec>
  </Actions>
</Task>"""

_SCRIPT: Final = """\
$name = "{name}"
$log = [System.Environment]::ExpandEnvironmentVariables("{log}")
$password = {password}
$xml = @'
{task}
'@
$scheduler = New-Object -ComObject "Schedule.Service"
$scheduler.Connect()
$folder = $scheduler.GetFolder("\\")
$task = $folder.RegisterTask($name, $xml, 6, "{user}", $password, {logon_type}, $null)
$shown = 0
function Show-New {{
  if (Test-Path $log) {{
    $lines = @(Get-Content $log -ErrorAction SilentlyContinue)
    while ($script:shown -lt $lines.Count) {{
      Write-Output $lines[$script:shown]
      $script:shown++
    }}
  }}
}}
try {{
  $task.Run($null) | Out-Null
  $waited = 0
  while ($task.State -ne 4 -and $task.State -ne 3 -and $waited -lt 100) {{
    Start-Sleep -Milliseconds 100
    $waited++
  }}
  do {{
    Start-Sleep -Milliseconds 100
    Show-New
  }} while ($task.State -ne 3)
  Show-New
  $status = $task.LastTaskResult
}} finally {{
  $folder.DeleteTask($name, 0)
  Remove-Item $log -Force -ErrorAction SilentlyContinue
  Remove-Item "{path}" -Force -ErrorAction SilentlyContinue
}}
exit $status
"""

_TO_SCREEN: Final = str.maketrans({"$": "`$", '"': '`"', "`": "``", "'": "`'"})


def escaped(text: str) -> str:
    """A text as it stands within double quotes of PowerShell, as Packer escapes it."""
    return text.translate(_TO_SCREEN)


def elevated_script(command: str, user: str, password: str, identity: str, path: str) -> str:
    """The script that runs a command as a task; it lies at `path` and removes itself.

    `identity` names task and log. Without a password the user is a service account.
    """
    name = f"packer-{identity}"
    log = f"%SYSTEMROOT%/Temp/{name}.out"
    logon = "\n      <LogonType>Password</LogonType>" if password else ""
    entities = {'"': "&#34;", "'": "&#39;"}
    task = _TASK.format(
        user=escape(user, entities), logon=logon, command=escape(command, entities), log=log
    )
    return _SCRIPT.format(
        name=name, log=log, task=task, user=escaped(user), path=path,
        password=f'"{escaped(password)}"' if password else "$null",
        logon_type=1 if password else 5,
    )  # fmt: skip
