"""`goldsmith plugins new`: the project that it writes is built, installed, tested and run."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

PACKER = "/usr/bin/packer"
ROOT = Path(__file__).parents[2]


def run(*argv, cwd, env=None, status=0):
    given = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", **(env or {})}
    done = subprocess.run(
        [str(word) for word in argv], cwd=cwd, env=given, capture_output=True, text=True,
        stdin=subprocess.DEVNULL, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == status, f"{argv}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture
def project(goldsmith, tmp_path):
    goldsmith("plugins", "new", "my-thing", check=True)
    return tmp_path / "packer-plugin-my-thing"


def test_its_own_tests_pass(project):
    own = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error")
    assert "5 passed" in run(*own, cwd=project, env={"PYTHONPATH": str(ROOT / "src")})


def test_the_wheel_is_a_plugin_of_goldsmith_and_of_packer(project, goldsmith, tmp_path):
    build = "import hatchling.build as b; print(b.build_wheel('dist'))"
    (project / "dist").mkdir()
    name = run(sys.executable, "-c", build, cwd=project).split()[-1]
    site = tmp_path / "site"
    with zipfile.ZipFile(project / "dist" / name) as wheel:
        wheel.extractall(site)
    template = (project / "example.pkr.hcl").read_text()
    (tmp_path / "t.pkr.hcl").write_text(template)
    told = goldsmith("build", "t.pkr.hcl", env={"PYTHONPATH": str(site)}, check=True).stdout
    assert "greeting in my-thing.txt" in told
    assert (tmp_path / "lines.txt").read_text() == "added while building\n"
    if not Path(PACKER).exists():
        return
    program = (
        f"#!{sys.executable} -P\nimport sys\nsys.path.insert(0, {str(site)!r})\n"
        "from packer_plugin_my_thing import main\nmain()\n"
    )
    for kind in ("builder", "provisioner", "post-processor"):
        path = tmp_path / f"packer-{kind}-my-thing"
        path.write_text(program)
        path.chmod(0o755)
    env = {"HOME": str(tmp_path), "PACKER_CONFIG_DIR": str(tmp_path), "CHECKPOINT_DISABLE": "1"}
    told = run(PACKER, "build", "t.pkr.hcl", cwd=tmp_path, env=env)
    assert "greeting in my-thing.txt" in told
    assert (tmp_path / "lines.txt").read_text() == "added while building\n" * 2


def test_names_that_are_none_and_directories_in_the_way(project, goldsmith):
    for words, told in (
        (["my-thing"], "is there already"),
        (["My Thing"], "cannot be the name of a plugin"),
        (["../up"], "cannot be the name of a plugin"),
        ([], "new takes the name"),
    ):
        result = goldsmith("plugins", "new", *words)
        assert result.status == 1
        assert told in " ".join(result.stdout.split())


def test_describe_is_quick_because_it_imports_no_component(project):
    code = (
        "import sys; sys.argv = ['p', 'describe']\n"
        "from packer_plugin_my_thing import plugins\n"
        "from goldsmith.plugin.serve import run\n"
        "run(plugins, sys.argv)\n"
        "print(sorted({'pydantic', 'msgpack', 'subprocess', 'asyncio'} & set(sys.modules)))"
    )
    places = f"{project / 'src'}:{ROOT / 'src'}"
    told = run(sys.executable, "-c", code, cwd=project, env={"PYTHONPATH": places})
    assert told.splitlines()[-1] == "[]"
