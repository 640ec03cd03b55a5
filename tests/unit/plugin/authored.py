"""Components as authors write them, for the tests of what runs them."""

from pathlib import Path

from goldsmith.plugin import (
    Artifact,
    Builder,
    Command,
    DataSource,
    Field,
    Finding,
    Hook,
    Options,
    PluginError,
    PostProcessor,
    Provisioner,
    Secret,
    pause,
)


class Disk(Options):
    size: int = 1


class ImageOptions(Options):
    greeting: str = Field(min_length=2)
    times: int = Field(1, ge=1)
    items: tuple[str, ...] = ()
    tags: dict[str, str] = Field(default_factory=dict)
    token: Secret = ""
    disk: tuple[Disk, ...] = ()
    target: str = "out.txt"


class ImageBuilder(Builder[ImageOptions]):
    generated = ("Greeting",)

    def check(self):
        if self.options.greeting == "wrong":
            yield "the greeting is wrong"
        if self.options.times > 9:
            yield Finding("that often?", ("times",))

    def run(self, ui, hooks):
        ui.say(f"{self.options.greeting} with {self.options.token}")
        if self.options.greeting == "defect":
            return {}["nothing"]
        if self.options.greeting == "refused":
            raise PluginError(f"refused, {self.options.token}", hint="say please")
        if self.options.greeting == "slow":
            pause(300)
        Path(self.options.target).write_text(self.options.greeting)
        hooks.provision(None, {"Greeting": self.options.greeting, "Number": 3})
        return Artifact(
            builder_id="test.image", id="image-1", string="an image",
            files=(self.options.target,), state={"generated_data": {"Greeting": "hi"}},
        )  # fmt: skip


class LineOptions(Options):
    line: str = "a line"


class LineProvisioner(Provisioner[LineOptions]):
    def provision(self, ui, communicator, data):
        ui.say(f"{self.options.line} of {data.get('Greeting')}")


class SameOptions(Options):
    label: str = ""


class SamePostProcessor(PostProcessor[SameOptions]):
    def post_process(self, ui, artifact):
        ui.say(f"{self.options.label} {artifact.id} {artifact.state.get('generated_data')}")
        return artifact, True


class NewPostProcessor(PostProcessor[SameOptions]):
    def post_process(self, ui, artifact):
        return Artifact(builder_id="test.new", id=f"new-{artifact.id}", string="new"), False


class Question(Options):
    name: str


class Answer(Options):
    text: str
    number: int = 0
    parts: tuple[str, ...] = ()


class AnswerSource(DataSource[Question, Answer]):
    def execute(self):
        return Answer(text=f"for {self.options.name}", number=7, parts=("a", "b"))


class TellingHook(Hook):
    def run(self, name, ui, communicator, data):
        ui.say(f"{name}: {dict(data)}")


class TellingCommand(Command):
    help = "Usage: tell WORDS"
    synopsis = "tell words"

    def run(self, args):
        self.ui.say(" ".join(args))
        return len(args)
