"""A plugin with a component of every kind that Packer knows, for builds of the real program."""

import shutil
from pathlib import Path

from goldsmith.plugin import (
    Artifact,
    Builder,
    Command,
    DataSource,
    Field,
    Hook,
    Options,
    PluginError,
    PluginSet,
    PostProcessor,
    Provisioner,
    Secret,
    pause,
    this_host,
)


class Disk(Options):
    name: str
    sizes: tuple[int, ...] = ()


class MachineOptions(Options):
    text: str = Field(min_length=2)
    directory: str = "machine"
    count: int = Field(1, ge=1)
    secret: Secret = ""
    switch: bool = False
    tags: dict[str, str] = Field(default_factory=dict)
    disk: tuple[Disk, ...] = ()
    fail: str = ""


class MachineBuilder(Builder[MachineOptions]):
    """Its machine is a directory of this host."""

    generated = ("Directory", "Number")

    def check(self):
        if self.options.text == "wrong":
            yield "wrong is no text"

    def run(self, ui, hooks):
        options = self.options
        print("a print goes to the log")  # noqa: T201
        ui.say(f"text {options.text}, secret {options.secret}, count {options.count}")
        ui.message(f"tags {sorted(options.tags.items())}, switch {options.switch}")
        ui.message(f"disks {[(disk.name, disk.sizes) for disk in options.disk]}")
        ui.machine("compat", "one", "two")
        with ui.progress("copying", 10) as bar:
            bar.add(4)
            bar.add(6)
        if options.fail == "ask":
            ui.say(f"the answer was {ui.ask('Which one?')}")
            told = self.build
            ui.say(f"debug {told.debug}, on error {told.on_error}, force {told.force}")
        if options.fail == "error":
            raise PluginError(f"the machine refuses {options.secret}", hint="ask it nicely")
        if options.fail == "defect":
            raise KeyError("nothing")
        if options.fail == "nothing":
            return None
        place = Path(options.directory)
        place.mkdir(exist_ok=True)
        if options.fail == "slow":
            try:
                ui.say("sleeping")
                pause(600)
            finally:
                shutil.rmtree(place)
        try:
            hooks.provision(this_host(place), {"Directory": str(place), "Number": 7, "ID": "m-1"})
        except BaseException:
            shutil.rmtree(place)
            raise
        files = tuple(str(path) for path in sorted(place.iterdir()) if path.is_file())
        return Artifact(
            builder_id="compat.machine", id=f"id-{options.text}",
            string=f"a machine of {len(files)} file(s)", files=files,
            state={"generated_data": {"ID": "m-1", "Directory": str(place)}},
        )  # fmt: skip


class WorkOptions(Options):
    note: str = ""
    fail: str = ""


class WorkProvisioner(Provisioner[WorkOptions]):
    """Uses every method of the communicator."""

    def provision(self, ui, communicator, data):
        ui.say(f"note {self.options.note}, number {data.get('Number')}")
        if self.options.fail == "slow":
            communicator.run("echo waiting; sleep 600", ui=ui)
        if self.options.fail == "status":
            communicator.run("echo broken >&2; exit 9")
        counted = communicator.run("cat | wc -c; exit 3", stdin="x" * 300_000, check=False)
        ui.say(f"status {counted.status}, stdin {counted.stdout.strip()}")
        content = bytes(range(256)) * 2_000
        communicator.upload(content, "uploaded.bin", mode=0o640)
        ui.say(f"same bytes {communicator.read('uploaded.bin') == content}")
        Path("tree/inner").mkdir(parents=True)
        Path("tree/inner/leaf").write_text("leaf")
        communicator.upload_directory("tree/", "copied")
        communicator.download_directory("copied/", "back")
        ui.say(f"directory {Path('back/inner/leaf').read_text()}")


class NameOptions(Options):
    suffix: str = ".copy"
    fail: str = ""
    keep: bool = True


class CopyPostProcessor(PostProcessor[NameOptions]):
    """Copies the first file."""

    def post_process(self, ui, artifact):
        ui.say(f"{artifact.builder_id} {artifact.id}: {artifact.string}")
        data = artifact.state.get("generated_data") or {}
        ui.say(f"generated {sorted(data)}, unknown state {artifact.state.get('nothing')}")
        if self.options.fail:
            raise PluginError(self.options.fail)
        target = artifact.files[0] + self.options.suffix
        shutil.copyfile(artifact.files[0], target)
        made = Artifact(builder_id="compat.copy", id=target, string=f"copy {target}",
                        files=(target,))  # fmt: skip
        return made, self.options.keep


class Question(Options):
    name: str


class Answer(Options):
    text: str
    number: int
    parts: tuple[str, ...]
    table: dict[str, str]


class AnswerSource(DataSource[Question, Answer]):
    def execute(self):
        name = self.options.name
        if name == "nobody":
            raise PluginError("nobody answers")
        return Answer(text=f"for {name}", number=7, parts=("a", "b"), table={"k": name})


class WatchHook(Hook):
    """Says what happens, and looks at the machine."""

    def run(self, name, ui, communicator, data):
        ui.say(f"{name} with {data.get('ID')}")
        if name == "packer_provision":
            communicator.run("echo watched >watched")


class SumCommand(Command):
    help = "Usage: goldsmith py-sum NUMBER..."
    synopsis = "add numbers"

    def run(self, args):
        if "fail" in args:
            raise PluginError("cannot add that", hint="give numbers")
        total = sum(int(one) for one in args)
        self.ui.say(f"sum {total}")
        return 0 if total < 100 else 3


plugins = PluginSet(
    version="1.0.0",
    builders={"machine": MachineBuilder},
    provisioners={"work": WorkProvisioner},
    post_processors={"copy": CopyPostProcessor},
    datasources={"answer": AnswerSource},
    hooks={"watch": WatchHook},
    commands={"sum": SumCommand},
)
