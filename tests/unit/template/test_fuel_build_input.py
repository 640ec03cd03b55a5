"""The input of fa-build-image: what is taken, what is refused, and what nobody is told."""

import copy

import pytest

from goldsmith.template.fuel.build import template_of
from goldsmith.template.fuel.build_input import (
    InputError,
    plain_passwords,
    read_build_input,
    repository_name,
)
from goldsmith.template.fuel.command_line import BuildCommand, is_fuel_command, parse_command
from goldsmith.template.fuel.config import DEFAULT_FILE
from goldsmith.values.value import to_python

GOOD = {
    "image_data": {
        "/": {"uri": "http://x/y/env_1_amd64.img.gz", "format": "ext4", "container": "gzip"},
        "/boot": {"uri": "env_1_amd64-boot.img.gz?x=1", "format": "ext2", "container": "gzip"},
    },
    "output": "/var/www/targetimages",
    "repos": [
        {"name": "debian", "type": "deb", "uri": "http://u:pass-word@h/debian", "suite": "bookworm",
         "section": "main contrib", "priority": None},
        {"name": "mos 9.0", "uri": "http://m/mos", "suite": "mos/", "priority": "1050"},
    ],
    "codename": "bookworm",
    "packages": ["less", "linux-image-amd64"],
    "root_password": "very secret",
    "proxies": {"protocols": {"http": "http://me:hidden-one@p:3128"},
                "direct_repo_addr_list": ["m"]},
}  # fmt: skip


def with_change(*path, value):
    data = copy.deepcopy(GOOD)
    place = data
    for part in path[:-1]:
        place = place[part]
    place[path[-1]] = value
    return data


def options_of(data, password_hash=None):
    given = read_build_input(data, "in.json")
    template = template_of("p", "in.json", given, build_directory="/b",
                           password_hash=password_hash, secrets=frozenset())  # fmt: skip
    (build,) = template.builds
    body = build.source.config.resolve(None)
    return build, {name: to_python(value) for name, value in body.attributes.items()}


def test_what_it_becomes():
    build, options = options_of(GOOD, "$6$salt$hashhash")
    assert build.name == "env_1_amd64"
    assert options["output_directory"] == "/var/www/targetimages"
    assert options["image_set"] == {
        "metadata": "env_1_amd64",
        "image": {
            "/": {"filesystem": "ext4", "container": "gzip", "file": "env_1_amd64.img.gz"},
            "/boot": {"filesystem": "ext2", "container": "gzip", "file": "env_1_amd64-boot.img.gz"},
        },
    }
    bootstrap = options["bootstrap"]
    assert (bootstrap["suite"], bootstrap["base"]) == ("bookworm", "debian")
    assert bootstrap["packages"] == ["less", "linux-image-amd64", "ca-certificates"]
    assert bootstrap["repository"]["debian"]["components"] == ["main", "contrib"]
    assert bootstrap["repository"]["mos-9-0"]["priority"] == 1050
    assert not any(block["trusted"] for block in bootstrap["repository"].values())
    assert bootstrap["direct_hosts"] == ["m"]
    assert build.post_processors == ()
    (target,) = build.provisioners
    assert target.type == "fuel-target"


def test_an_output_elsewhere_is_published():
    build, options = options_of(with_change("output", value="http://h/images"))
    assert options["output_directory"] == "/b/env_1_amd64.fuel-agent-image-set"
    ((publish,),) = build.post_processors
    assert publish.type == "publish"
    _, options = options_of(with_change("output", value="file:///srv/images"))
    assert options["output_directory"] == "/srv/images"


def test_the_sources_of_this_host():
    data = with_change("repos", 0, "uri", value="")
    _, options = options_of(data)
    assert "base" not in options["bootstrap"]
    assert options["bootstrap"]["components"] == ["main", "contrib"]
    assert list(options["bootstrap"]["repository"]) == ["mos-9-0"]


def test_b17_signatures_are_checked_unless_the_input_says_otherwise():
    _, options = options_of({**GOOD, "allow_unsigned": True})
    assert all(block["trusted"] for block in options["bootstrap"]["repository"].values())


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ([], "in.json: it is not a map"),
        (None, "it is not a map"),
        ({**GOOD, "image_dat": {}}, 'image_dat: there is no such key. Did you mean "image_data"?'),
        (with_change("repos", 0, "sectoin", value="x"),
         'repos.0.sectoin: there is no such key. Did you mean "section"?'),
        (with_change("image_data", "/", "formt", value="x"),
         'image_data./.formt: there is no such key. Did you mean "format"?'),
        (with_change("proxies", "protocol", value={}), 'Did you mean "protocols"?'),
        ({key: GOOD[key] for key in GOOD if key != "output"}, "output: it is missing"),
        (with_change("image_data", "/", "container", value="bz2"), "'raw', 'gzip' or 'zstd'"),
        (with_change("image_data", "/", "format", value="ext5"), "none of ext4"),
        (with_change("image_data", "/", "format", value="swap"), "'swap' is none of"),
        (with_change("image_data", "boot", value=GOOD["image_data"]["/boot"]), "not a mount point"),
        ({**GOOD, "image_data": {"/boot": GOOD["image_data"]["/boot"]}}, 'no image of "/"'),
        (with_change("image_data", "/boot", "uri", value="http://x/env_1_amd64.img.gz"),
         "same file name"),
        (with_change("image_data", "/boot", "uri", value="http://x/"), "plain file name"),
        ({**GOOD, "repos": []}, "repos: it is empty"),
        (with_change("repos", 0, "type", value="deb-src"), "repos.0.type: it is 'deb'"),
        (with_change("repos", 0, "section", value=""), "a flat one it cannot"),
        (with_change("repos", 1, "suite", value="mos"), 'a slash: "mos/"'),
        (with_change("repos", 1, "name", value="debian"), "the same name"),
        (with_change("repos", 1, "uri", value=""), "only the first repository"),
        (with_change("repos", 1, "priority", value="high"), "repos.1.priority"),
        ({**GOOD, "codename": "trusty"}, "codename: it is 'trusty'"),
        ({**GOOD, "packages": ["a b"]}, "packages.0: 'a b' is not the name of a package"),
        ({**GOOD, "hashed_root_password": "x:y"}, "hashed_root_password: it is not a hash"),
        ({**GOOD, "root_password": ""}, "root_password: a password is"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_its_path(data, words):
    with pytest.raises(InputError) as caught:
        read_build_input(data, "in.json")
    assert words in str(caught.value)


def test_everything_wrong_is_told_at_once():
    data = {**GOOD, "outptu": 1, "root_password": ["very secret"], "packages": ["-", "b c"]}
    with pytest.raises(InputError) as caught:
        read_build_input(data, "in.json")
    assert len(str(caught.value).splitlines()) == 4


def test_a_list_whose_entry_is_wrong_is_not_called_empty():
    data = {**GOOD, "repos": [{**GOOD["repos"][0], "priority": "high"}]}
    with pytest.raises(InputError) as caught:
        read_build_input(data, "in.json")
    assert [line.split(": ")[1] for line in str(caught.value).splitlines()] == ["repos.0.priority"]


@pytest.mark.parametrize("name", ["root_password", "hashed_root_password"])
@pytest.mark.parametrize("value", ["very\nsecret", ["very secret"], {"very secret": 1}])
def test_b13_no_message_tells_a_password(name, value):
    with pytest.raises(InputError) as caught:
        read_build_input({**GOOD, name: value, "packages": 3}, "in.json")
    assert "very" not in str(caught.value)
    assert "very" not in repr(caught.value.__cause__)
    assert "very" not in repr(read_build_input(GOOD, "in.json"))


def test_what_is_a_secret():
    assert plain_passwords(GOOD) == {"very secret", "pass-word", "hidden-one"}
    assert plain_passwords({"repos": 3, "proxies": [], "root_password": 1}) == frozenset()
    assert plain_passwords([]) == frozenset()


def test_names_of_repositories():
    assert [repository_name(name) for name in ("ubuntu", "mos 9.0", "_x", "ä")] == [
        "ubuntu", "mos-9-0", "x", "repository",
    ]  # fmt: skip


def test_its_command_line_stands_for_a_template():
    command = BuildCommand("/a b/in.json", "/tmp/x|y", (DEFAULT_FILE,))
    assert is_fuel_command(command.as_path())
    assert parse_command(command.as_path(), DEFAULT_FILE) == command
    short = parse_command("fa-build-image --input-data-file in.json", DEFAULT_FILE)
    assert short == BuildCommand("in.json", "", (DEFAULT_FILE,))
    for wrong in ("fa-build-image ", "fa-build-image --x y", "fa-build-image --input_data_file",
                  "fa-build-image 'x"):  # fmt: skip
        with pytest.raises(Exception, match="fa-build-image"):
            parse_command(wrong, DEFAULT_FILE)
