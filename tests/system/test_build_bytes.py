"""What the user writes arrives in the tree byte for byte, and nothing of it runs on the host."""

from __future__ import annotations

import os
import re
import stat
import subprocess
from pathlib import Path

import pytest
from small_image import Project, file, hcl, shell

pytestmark = pytest.mark.root


@pytest.fixture
def project(tmp_path, goldsmith, small_tree):
    return Project(tmp_path, small_tree, goldsmith)


@pytest.fixture
def canary(tmp_path):
    """The path of a file that must never be made: words that a host's shell would run make it."""
    path = tmp_path / "canary"
    yield path
    assert not path.exists()


def texts(canary):
    """Texts that some shell, template language or printf on the way might take apart."""
    return [
        "$HOME ${HOME} $$ $0 $(touch CANARY) `touch CANARY` $((1+1))",
        "'; touch CANARY; '",
        '"; touch CANARY; "',
        "'\"'\"'",
        "a'b\"c\\d\\\\e\\",
        "line one\nline two\n\n  indented\ttab\n$(touch CANARY)\n",
        "{{ .Path }} {{.Vars}} {{ build `ID` }} {{",
        "}} }} %{ if true }yes%{ endif } ${var.x} $${ %%{",
        "%s %d %% \\n \\0 \\x41 !history ~ * ? [a-z] #comment & | ; < > ( )",
        "Grüße, 世界, \u0416, \U0001f511",
        " leading and trailing ",
        "-n -e --help",
        "x" * 5000,
    ]


def canaried(text, canary):
    return text.replace("CANARY", str(canary))


def escaped(text):
    """For an option, which is a template of Go's as well: braces are to stay as they are."""
    return text.replace("{{", "{{`{{`}}")


def shell_quoted(text):
    return "'" + text.replace("'", "'\\''") + "'"


def read_all(names):
    def body(root):
        return {name: (root / name).read_bytes() for name in names}

    return body


def test_inline_commands(project, canary):
    given = [canaried(text, canary) for text in texts(canary)]
    commands = [f"cat > /t{i} << 'END OF IT'\n{text}\nEND OF IT" for i, text in enumerate(given)]
    project.write(shell(*map(escaped, commands)))
    project.built()
    found = project.look(read_all([f"t{i}" for i in range(len(given))]))
    assert found == {f"t{i}": f"{text}\n".encode() for i, text in enumerate(given)}


def test_environment_values(project, canary):
    given = {f"T{i}": canaried(text, canary) for i, text in enumerate(texts(canary))}
    pairs = list(given.items())
    as_pairs, as_map = pairs[::2], pairs[1::2]
    listed = ", ".join(hcl(escaped(f"{name}={value}")) for name, value in as_pairs)
    mapped = "\n".join(f"      {name} = {hcl(escaped(value))}" for name, value in as_map)
    more = f"    environment_vars = [{listed}]\n    env = {{\n{mapped}\n    }}"
    commands = [f'printf %s "${name}" > /{name}' for name in given]
    project.write(shell(*commands, more=more))
    project.built()
    found = project.look(read_all(list(given)))
    assert found == {name: value.encode() for name, value in given.items()}


def test_content_of_a_file(project, canary):
    given = [canaried(text, canary) for text in texts(canary)]
    blocks = [file(content=escaped(text), destination=f"/t{i}") for i, text in enumerate(given)]
    project.write("".join(blocks))
    project.built()
    found = project.look(read_all([f"t{i}" for i in range(len(given))]))
    assert found == {f"t{i}": text.encode() for i, text in enumerate(given)}


def test_a_secret_is_shown_nowhere(project):
    before = 'variable "secret" {\n  type = string\n  sensitive = true\n}\n'
    commands = [
        "echo $SECRET ${var.secret} > /secret", "cat /secret", "echo ${var.secret} >&2",
        "for p in /proc/[0-9]*; do cat $p/cmdline; done > /lines",
    ]  # fmt: skip
    # Here the template is to put the value in.
    block = shell(*commands, more="    env = { SECRET = var.secret }").replace("$${", "${")
    project.write(block, before=before)
    result = project.built("-var", "secret=hunter2-and-more")
    assert "hunter2" not in result.stdout + result.stderr
    assert result.stdout.count("<sensitive>") >= 3
    assert "hunter2" not in (project.output / "small.manifest.json").read_text()
    found = project.look(read_all(["secret", "lines"]))
    assert found["secret"] == b"hunter2-and-more hunter2-and-more\n"
    assert b"script_0.sh" in found["lines"]
    assert b"hunter2" not in found["lines"]


def test_output_that_is_no_text(project):
    project.write(
        shell("printf '\\377\\000\\033[31mred\\r\\nnext\\n'", "head -c 100000 /dev/urandom; echo",
              "head -c 1000000 /dev/zero | tr '\\000' x; printf 'no newline at the end'")
    )  # fmt: skip
    result = project.built()
    assert "==> image.small: next\n" in result.stdout
    assert "no newline at the end\n" in result.stdout
    assert result.stdout.count("x") > 1_000_000


NAMES = [
    "plain", "with blank", "-dash", "--help", "$HOME", "$(touch CANARY)", "`touch CANARY`",
    "it's", 'a "quote"', "back\\slash", "new\nline", "tab\there", "Grüße 世界", "semi;colon&",
    "star*", "{{.Path}}", "%s", "#hash", "~", ".hidden", "\U0001f511",
]  # fmt: skip
# The template language brings strings to Unicode's normal form C, as cty does; files keep theirs.
DECOMPOSED = "e\u0301"


def named(name):
    # A file's name has no slash: the canary would be made in the working directory.
    return name.replace("CANARY", "canary")


def test_names_of_files(project, canary):
    blocks = []
    for i, name in enumerate(map(named, NAMES)):
        (project.path / name).write_text(f"content {i}")
        for source, destination in ((name, f"/{name}"), (f"./{name}", "/place/")):
            given = {"source": escaped(source), "destination": escaped(destination)}
            blocks.append(file(**given))
    project.write(shell("mkdir /place") + "".join(blocks))
    project.built()
    expected = {f"{folder}{named(name)}": f"content {i}".encode()
                for folder in ("", "place/") for i, name in enumerate(NAMES)}  # fmt: skip
    assert project.look(read_all(list(expected))) == expected


def test_a_script_and_its_name(project, canary):
    script = project.path / "it's $(touch canary).sh"
    script.write_bytes(
        b"#!/bin/sh\nprintf '%s' \"$0\" > /name\nprintf '\\377\\0\\1$HOME' > /bytes\n"
    )
    project.write(
        f'  provisioner "shell" {{\n    script = {hcl(script.name)}\n'
        f"    remote_path = {hcl('/run/goldsmith/odd name')}\n"
        "    execute_command = \"{{.Vars}} /bin/sh '{{.Path}}'\"\n  }\n"
    )
    project.built()
    found = project.look(read_all(["name", "bytes"]))
    assert found == {"name": b"/run/goldsmith/odd name", "bytes": b"\xff\0\1$HOME"}


# ---- directories, modes, links, both ways


def make_directory_of_oddities(top):
    (top / "sub/deep").mkdir(parents=True)
    for i, name in enumerate(map(named, [*NAMES, DECOMPOSED])):
        (top / "sub" / name).write_bytes(bytes([i]) * 3 + DECOMPOSED.encode())
    (top / "sub" / os.fsdecode(b"\xff\xfe is no UTF-8")).write_bytes(b"\xff")
    (top / "sub/deep").chmod(0o2751)
    (top / "empty").mkdir(mode=0o700)
    for mode in (0o400, 0o755, 0o4755, 0o640, 0o1666):
        path = top / f"mode{mode:o}"
        path.write_text("x")
        path.chmod(mode)
    (top / "relative").symlink_to("sub/deep")
    (top / "absolute").symlink_to("/etc/passwd")
    (top / "dangling").symlink_to("no where")


def shape(top):
    """Names, kinds, modes, contents and targets of all below a directory."""
    found = {}
    for folder, names, files in os.walk(top):
        for name in names + files:
            path = Path(folder, name)
            status = os.lstat(path)
            what = os.readlink(path) if path.is_symlink() else None
            if path.is_file() and what is None:
                what = path.read_bytes()
            # A link has no mode of its own.
            mode = 0 if path.is_symlink() else stat.S_IMODE(status.st_mode)
            found[os.path.relpath(path, top)] = (stat.S_IFMT(status.st_mode), mode, what)
    return found


def owners(top):
    return {(os.lstat(Path(f, n)).st_uid, os.lstat(Path(f, n)).st_gid)
            for f, names, files in os.walk(top) for n in names + files}  # fmt: skip


@pytest.mark.parametrize(
    ("source", "destination", "arrives"),
    [
        ("stuff", "/place", "place/stuff"),
        ("stuff/", "/place", "place"),
        ("stuff/", "/new/deep", "new/deep"),
    ],
)
def test_directories_go_up(project, canary, source, destination, arrives):
    make_directory_of_oddities(project.path / "stuff")
    os.chown(project.path / "stuff/mode640", 12345, 12345)
    project.write(shell("mkdir /place") + file(source=source, destination=destination))
    project.built()

    def body(root):
        return shape(root / arrives), owners(root / arrives)

    assert project.look(body) == (shape(project.path / "stuff"), {(0, 0)})


def test_directories_come_down(project, canary, tmp_path):
    make_directory_of_oddities(tmp_path / "stuff")
    archive = tmp_path / "with-stuff.tar"
    archive.write_bytes(project.tree.read_bytes())
    subprocess.run(["tar", "-rf", archive, "-C", tmp_path, "stuff"], check=True)
    project.write(
        file(direction="download", source="/stuff/", destination="down")
        + file(direction="download", source="/stuff/mode4755", destination="one/file"),
        tree=archive,
    )
    project.built()
    assert shape(project.path / "down") == shape(tmp_path / "stuff")
    assert (project.path / "one/file").read_text() == "x"


# ---- confined


@pytest.mark.parametrize("up", ["/", "../../../../../../..", "/..//../", "/proc/1/root"])
def test_an_upload_through_a_link_stays_in_the_tree(project, up):
    outside = project.path / "outside"
    outside.mkdir()
    inside = str(outside).lstrip("/")
    (project.path / "stuff").mkdir()
    (project.path / "stuff/file").write_text("from a directory")
    project.write(
        shell(f"mkdir -p /{inside}", f"ln -s {up} /evil", "ln -s /evil/etc/passwd /alias")
        + file(content="x", destination=f"/evil/{inside}/file")
        + file(source="stuff/", destination=f"/evil/{inside}/d")
        + file(content="mine", destination="/alias")
        # /tmp, in which all this may be, is emptied at the end.
        + shell(f"cat /{inside}/file /{inside}/d/file /etc/passwd > /seen")
    )
    before = Path("/etc/passwd").read_bytes()
    result = project.build()
    assert Path("/etc/passwd").read_bytes() == before
    assert list(outside.iterdir()) == []
    assert project.leftovers() == []
    assert result.status == 0, result
    assert project.look(read_all(["seen"]))["seen"].endswith(b"xfrom a directorymine")


@pytest.mark.parametrize("way", ["/..{}", "/evil{}", "/relative{}", "/../../../..{}"])
def test_a_download_is_confined_to_the_tree(project, way):
    secret = project.path / "secret"
    secret.write_text("the host's")
    project.write(
        shell("ln -s / /evil", "ln -s ../../../../.. /relative")
        + file(direction="download", source=way.format(secret), destination="got")
    )
    said = project.failed()
    assert "no such file in the tree" in said
    assert not (project.path / "got").exists()


def test_a_moved_etc_is_written_where_it_is(project):
    before = Path("/etc/fstab").read_bytes() if Path("/etc/fstab").exists() else None
    project.write(shell("mv /etc /real", "ln -s ../../../../../real /etc"))
    project.built()
    found = project.look(
        lambda root: ((root / "real/fstab").read_text(), os.readlink(root / "etc"))
    )
    assert "UUID=" in found[0]
    assert found[1] == "../../../../../real"
    assert (Path("/etc/fstab").read_bytes() if Path("/etc/fstab").exists() else None) == before


def test_a_links_own_target_is_downloaded_from_the_tree(project):
    project.write(
        shell("echo of the tree > /etc/issue", "ln -s /etc/issue /link", "mkdir /d",
              "ln -s /etc/issue /d/link")
        + file(direction="download", source="/link", destination="got")
        + file(direction="download", source="/d/", destination="gotten")
    )  # fmt: skip
    project.built()
    assert (project.path / "got").read_text() == "of the tree\n"
    assert os.readlink(project.path / "gotten/link") == "/etc/issue"


def test_a_devices_content_is_not_uploaded(project):
    (project.path / "d").mkdir()
    os.mkfifo(project.path / "d/pipe")
    for source in ("d/", "d/pipe"):
        project.write(file(source=source, destination="/x"))
        assert "d/pipe is neither a file, a directory nor a link" in project.failed()


def test_a_generated_file_that_was_not_generated(project):
    project.write(file("    generated = true\n", source="later", destination="/x"))
    said = project.failed()
    assert "cannot upload later" in said
    assert "No such file" in said


# ---- the shell provisioner


def test_execute_command(project):
    command = hcl("VAR=seen {{.Vars}} /bin/sh -eu {{.Path}} 'an argument' $HOME {{ .Path }}")
    project.write(
        shell('printf "%s\\n" "$VAR" "$1" "$2" "$3" "$GIVEN" "$0" > /seen',
              more=f'    execute_command = {command}\n    environment_vars = ["GIVEN=a b"]')
    )  # fmt: skip
    project.built()
    path = "/run/goldsmith/script_0.sh"
    seen = project.look(read_all(["seen"]))["seen"].decode().splitlines()
    assert seen == ["seen", "an argument", "/root", path, "a b", path]


def test_valid_exit_codes(project):
    project.write(shell("touch /made", "exit 7", more="    valid_exit_codes = [0, 7]"))
    project.built()
    assert project.look(lambda root: (root / "made").exists())
    project.write(shell("exit 0", more="    valid_exit_codes = [7]"))
    assert "status: 0. Allowed exit codes are: [7]" in project.build().stdout


def test_scripts_run_in_order_and_line_ends_are_mended(project):
    (project.path / "b").write_bytes(b"#!/bin/sh -e\r\necho b >> /order\r\n")
    (project.path / "a").write_bytes(b"#!/bin/sh -e\necho a >> /order\n")
    project.write('  provisioner "shell" {\n    scripts = ["b", "a", "b"]\n  }\n')
    project.built()
    assert project.look(read_all(["order"])) == {"order": b"b\na\nb\n"}


def test_env_wins_and_names_are_packers(project):
    more = (
        '    environment_vars = ["A=first", "A=second", "B=pair", "PACKER_BUILDER_TYPE=mine"]\n'
        '    env = {\n      B = "map"\n    }'
    )
    project.write(
        shell('echo "$A $B $PACKER_BUILD_NAME $PACKER_BUILDER_TYPE" > /seen', more=more)
        + shell('echo "$PACKER_BUILD_NAME $PACKER_BUILDER_TYPE ${A-unset}" > /next')
    )
    project.built()
    found = project.look(read_all(["seen", "next"]))
    assert found == {"seen": b"second map small mine\n", "next": b"small image unset\n"}


@pytest.mark.parametrize("network", [False, True])
def test_the_environment_is_clean(project, network):
    # Proxies of this host that the test does not set must not be told apart from leaks.
    leaks = {
        "LEAK": "1", "AWS_SECRET_ACCESS_KEY": "1", "PKR_VAR_x": "1", "LC_TIME": "de_DE.UTF-8",
        "LD_PRELOAD": "", "TMPDIR": str(project.path), "GOLDSMITH_LOG": "1",
        "http_proxy": "http://proxy.invalid:1/", "no_proxy": "localhost",
    }  # fmt: skip
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "ALL_PROXY", "NO_PROXY",
                 "https_proxy", "ftp_proxy", "all_proxy"):  # fmt: skip
        leaks.setdefault(name, "")
    project.write(
        shell("tr '\\0' '\\n' < /proc/self/environ > /environment",
              more=f"network = {str(network).lower()}")
    )  # fmt: skip
    project.built(env={**leaks, "SOURCE_DATE_EPOCH": "1700000000"})
    lines = project.look(read_all(["environment"]))["environment"].decode().splitlines()
    found = dict(line.split("=", 1) for line in lines)
    empty = {name for name, value in found.items() if name in leaks and not value}
    assert found.pop("PWD", "/") == "/"  # the shell's own doing
    assert {name: value for name, value in found.items() if name not in empty} == {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": "/root", "USER": "root", "LOGNAME": "root", "SHELL": "/bin/sh",
        "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8", "TERM": "dumb",
        "DEBIAN_FRONTEND": "noninteractive",
        "PACKER_BUILD_NAME": "small", "PACKER_BUILDER_TYPE": "image",
        "SOURCE_DATE_EPOCH": "1700000000",
        # A step without a network has no use for proxies, and must not depend on them.
        **({"http_proxy": "http://proxy.invalid:1/", "no_proxy": "localhost"} if network else {}),
    }  # fmt: skip


def test_retries_start_from_a_clean_tree(project):
    project.write(
        '  provisioner "shell" {\n    max_retries = 2\n    pause_before = "10ms"\n'
        f"    inline = [{hcl('echo try')}, {hcl('[ ! -e /tried ] || exit 99')}, "
        f"{hcl('echo x > /tried')}, {hcl('mv /etc/passwd /etc/moved')}, {hcl('exit 5')}]\n  }}\n"
    )
    said = project.failed()
    assert said.count("==> image.small: try\n") == 3
    assert said.count("Pausing 10ms before the next provisioner...") == 3
    assert "exit status: 99" not in said
    assert "exit status: 5" in said


def cleaned_up_by(*commands):
    return shell(*commands).replace("provisioner", "error-cleanup-provisioner", 1)


FAILING = shell("echo good > /state") + shell("echo half > /state", "exit 3")


@pytest.mark.parametrize("on_error", ["cleanup", "run-cleanup-provisioner", "abort"])
def test_a_cleanup_provisioner_runs_in_the_tree_as_it_failed(project, on_error):
    project.write(FAILING + cleaned_up_by("cat /state", "echo gone > /state", "exit 4"))
    said = project.failed(f"-on-error={on_error}")
    cleans = on_error != "abort"
    assert ("==> image.small: half\n" in said) == cleans
    assert ("Running the cleanup provisioner, if present..." in said) == cleans
    assert ("exit status: 4" in said) == cleans
    assert "exit status: 3" in said
    # What it did is no part of the tree that is kept, nor of a later build.
    project.write(FAILING + cleaned_up_by("cat /state"))
    said = project.failed()
    assert "==> image.small: half\n" in said and "==> image.small: gone" not in said


def test_an_error_of_a_provisioner_that_may_fail_does_not_stop_the_build(project):
    failing = shell("echo half > /state", "exit 3", more="    continue_on_error = true")
    project.write(failing + shell("[ ! -e /state ]", "echo end > /state"))
    project.built()
    assert project.look(read_all(["state"]))["state"] == b"end\n"


def test_a_retry_that_succeeds(project):
    # What tells one try from the next must lie outside the tree: this host's clock of boots.
    project.write(
        '  provisioner "shell" {\n    max_retries = 200\n'
        f"    inline = [{hcl('touch /half-done-$$')}, "
        f"{hcl('read -r up rest < /proc/uptime; case $up in *[02468]) exit 0;; esac; exit 1')}]\n"
        "  }\n"
    )
    project.built()
    made = project.look(lambda root: [p.name for p in root.iterdir() if "half-done" in p.name])
    assert len(made) == 1


def test_without_network_there_is_only_loopback(project):
    commands = ["cat /proc/net/dev > /seen", "ls /etc/resolv.conf > /resolver 2>&1 || true"]
    project.write(shell(*commands, more="    network = false"))
    project.built()
    seen = project.look(read_all(["seen"]))["seen"].decode()
    assert re.findall(r"^\s*([^\s:|]+):", seen, re.MULTILINE) == ["lo"]


def test_the_name_of_the_build_host_is_not_seen(project):
    project.write(shell("hostname > /seen; uname -n >> /seen; cat /etc/hostname > /own"))
    project.built()
    found = project.look(read_all(["seen", "own"]))
    assert found["own"] == b"tiny\n"
    assert found["seen"] == b"tiny\ntiny\n"


def test_with_network_the_hosts_is_seen(project):
    project.write(shell("cat /proc/net/dev > /seen", "cat /etc/resolv.conf > /resolver"))
    project.built()
    found = project.look(read_all(["seen", "resolver"]))
    interfaces = re.findall(r"^\s*([^\s:|]+):", found["seen"].decode(), re.MULTILINE)
    assert set(interfaces) == set(os.listdir("/sys/class/net"))
    assert found["resolver"] == Path("/etc/resolv.conf").read_bytes()
    assert not project.look(lambda root: (root / "etc/resolv.conf").exists())


# ---- what lives from one step to the next


def test_tmp_survives_to_the_next_provisioner_and_not_into_the_image(project):
    project.write(
        shell("echo kept > /tmp/kept", "echo kept > /var/tmp/kept", "echo gone > /run/gone")
        + shell("cat /tmp/kept > /seen", "if [ -e /run/gone ]; then exit 9; fi")
    )
    project.built()

    def body(root):
        folders = [os.listdir(root / name) for name in ("tmp", "run")]
        return (root / "seen").read_text(), folders, stat.S_IMODE((root / "tmp").stat().st_mode)

    assert project.look(body) == ("kept\n", [[], []], 0o1777)


def test_a_daemon_is_gone_in_the_next_provisioner(project):
    daemon = (
        'setsid sh -c \'trap "" INT TERM HUP; echo $$ > /pid; '
        "while :; do echo tick >> /ticks; sleep 0.01; done' &"
    )
    others = "for p in /proc/[0-9]*; do cat $p/comm 2>/dev/null || true; done > /processes"
    project.write(
        shell(daemon, "until [ -s /ticks ]; do sleep 0.01; done")
        + shell("wc -c < /ticks > /before", "sleep 0.2", "wc -c < /ticks > /after", others)
    )
    project.built()
    found = project.look(read_all(["before", "after", "processes"]))
    assert found["before"] == found["after"]
    assert set(found["processes"].decode().split()) <= {
        "goldsmith-init", "sh", "script_0.sh", "cat", "nsenter", "chroot"
    }  # fmt: skip


def test_hard_links_and_privileges_survive_a_rename(project, tmp_path):
    # VFS capability of revision 2: cap_net_raw, effective and permitted; capabilities(7).
    capability = bytes.fromhex("0100000200200000000000000000000000000000")
    folder = tmp_path / "opt" / "d"
    folder.mkdir(parents=True)
    (folder / "one").write_text("same")
    os.link(folder / "one", folder / "two")
    os.link(folder / "one", folder.parent / "outside")
    (folder / "setuid").write_text("s")
    os.chown(folder / "setuid", 7, 8)
    (folder / "setuid").chmod(0o6755)
    (folder / "capable").write_text("c")
    os.setxattr(folder / "capable", "security.capability", capability)
    archive = tmp_path / "links.tar"
    archive.write_bytes(project.tree.read_bytes())
    argv = ["tar", "-rf", archive, "--xattrs", "--xattrs-include=security.*", "-C", tmp_path, "opt"]
    subprocess.run(argv, check=True)
    project.write(
        shell("echo first >> /opt/d/two") + shell("mv /opt/d /opt/e") + shell("mv /opt /place")
        + shell("chmod 600 /place/outside"), tree=archive,
    )  # fmt: skip
    project.built()

    def body(root):
        links = [os.lstat(root / "place" / name) for name in ("e/one", "e/two", "outside")]
        setuid = os.lstat(root / "place/e/setuid")
        return (
            len({status.st_ino for status in links}), {status.st_nlink for status in links},
            {stat.S_IMODE(status.st_mode) for status in links},
            (root / "place/outside").read_text(),
            (stat.S_IMODE(setuid.st_mode), setuid.st_uid, setuid.st_gid),
            os.getxattr(root / "place/e/capable", "security.capability"),
            (root / "opt").exists(),
        )  # fmt: skip

    assert project.look(body) == (
        1, {3}, {0o600}, "samefirst\n", (0o6755, 7, 8), capability, False
    )  # fmt: skip
