"""What cloud-init is given: the facts of the deployment, whatever characters they have."""

import email
import json

import pytest
import yaml

from goldsmith.deploy import cloud_texts
from goldsmith.deploy.cloud_texts import (
    boothook,
    cloud_config,
    meta_data_json,
    meta_data_yaml,
    template_values,
    user_data,
)
from goldsmith.deploy.scheme import ConfigDriveData, Interface, UserAccount
from goldsmith.errors import GoldsmithError

KEYS = ("ssh-ed25519 AAAA a@b", "ssh-rsa BBBB 'quoted' # x")
DATA = ConfigDriveData(
    "node-1", "node-1.test", name_servers=("10.0.0.1", "10.0.0.2"), search_domain="test",
    ssh_auth_keys=KEYS, timezone="Etc/UTC", gateway="10.0.0.254", master_ip="10.0.0.1",
    master_url="http://10.0.0.1:8000/api", admin=Interface("eth0", "00:00:00:00:00:01", "10.0.0.9"),
    users=(UserAccount("ops", "$6$salt$hash", "/home/ops", sudo=("ALL=(ALL) ALL",),
                       ssh_keys=("ssh-rsa C",)),),
    values=(("puppet", {"enable": 1, "master": "puppet.test"}),
            ("mcollective", {"enable": 1, "pskey": "k", "vhost": "v", "host": "h", "user": "u",
                             "password": "p", "connector": "rabbitmq", "identity": "node-1"})),
)  # fmt: skip


def read(text):
    assert text.startswith("#cloud-config\n")
    return yaml.safe_load(text)


def test_the_cloud_config_says_who_may_come_in_and_who_it_is():
    config = read(cloud_config(DATA))
    assert config["ssh_authorized_keys"] == list(KEYS)
    assert (config["hostname"], config["fqdn"]) == ("node-1", "node-1.test")
    assert config["growpart"] == {"mode": "off"}
    assert config["resize_rootfs"] is False
    assert config["timezone"] == "Etc/UTC"
    assert config["users"] == [
        {"name": "ops", "shell": "/bin/bash", "homedir": "/home/ops", "sudo": ["ALL=(ALL) ALL"],
         "ssh_authorized_keys": ["ssh-rsa C"], "lock_passwd": False, "passwd": "$6$salt$hash"}
    ]  # fmt: skip
    files = {file["path"]: file["content"] for file in config["write_files"]}
    assert yaml.safe_load(files["/etc/nailgun-agent/config.yaml"]) == {"url": DATA.master_url}
    assert config["puppet"]["conf"]["agent"]["server"] == "puppet.test"
    assert config["mcollective"]["conf"]["plugin.rabbitmq.pool.1.password"] == "p"


def test_services_that_are_not_enabled_are_not_configured():
    off = (("puppet", {"enable": 0, "master": "m"}), ("mcollective", {"enable": "0"}))
    config = read(cloud_config(ConfigDriveData("n", "n", values=off)))
    assert not {"puppet", "mcollective", "users", "write_files"} & set(config)


def test_a_value_never_becomes_more_than_a_value():
    evil = "x\nruncmd: [reboot]\n#"
    config = read(cloud_config(ConfigDriveData(evil, evil, ssh_auth_keys=(evil,))))
    assert config["hostname"] == evil
    assert "runcmd" not in config
    hook = boothook(ConfigDriveData("a'; reboot; '", "", gateway="$(reboot)"))
    assert "'a'\"'\"'; reboot; '\"'\"''" in hook
    assert "'$(reboot)'" in hook


def test_a_plain_password_is_hashed_and_never_written():
    user = UserAccount("ops", "secret word")
    config = cloud_config(ConfigDriveData("n", "n", users=(user,)))
    assert "secret word" not in config
    assert read(config)["users"][0]["passwd"].startswith("$6$")


def test_user_data_is_one_message_of_two_parts():
    text = user_data(DATA)
    assert text == user_data(DATA)
    message = email.message_from_string(text)
    parts = {part.get_content_type(): part for part in message.get_payload()}
    assert list(parts) == ["text/cloud-boothook", "text/cloud-config"]
    config = parts["text/cloud-config"]
    assert config.get_filename() == "cloud_config"
    assert config.get_payload(decode=True).decode() == cloud_config(DATA)
    hook = parts["text/cloud-boothook"].get_payload(decode=True).decode()
    assert hook.startswith("#cloud-boothook\n#!/bin/sh\n")
    assert "'nameserver 10.0.0.1'" in hook
    assert "ip route replace default via 10.0.0.254" in hook


def test_letters_of_all_languages_survive_the_message():
    message = email.message_from_string(user_data(ConfigDriveData("n", "n", timezone="Zürich")))
    config = message.get_payload()[1].get_payload(decode=True).decode()
    assert read(config)["timezone"] == "Zürich"


def test_meta_data_names_the_machine_the_same_way_each_time():
    document = json.loads(meta_data_json(DATA))
    seed = yaml.safe_load(meta_data_yaml(DATA))
    assert document["uuid"] == seed["instance-id"]
    assert document["hostname"] == seed["local-hostname"] == "node-1.test"
    assert sorted(document["public_keys"].values()) == sorted(KEYS)
    assert json.loads(meta_data_json(ConfigDriveData("o", "o")))["uuid"] != document["uuid"]


def own(tmp_path, text, name="cloud_config"):
    """Data with a template of its own."""
    place = tmp_path / "own.jinja2"
    place.write_text(text)
    return ConfigDriveData("node-1", "node-1.test", ssh_auth_keys=KEYS,
                           templates=((name, str(place)),))  # fmt: skip


def test_a_template_of_ones_own_takes_our_texts_place(tmp_path):
    loop = "{% for k in common.ssh_auth_keys %}\n#{{ k }}{% endfor %}"
    text = f"#cloud-config\nname: {{{{ common.hostname }}}}{loop}\n"
    assert cloud_config(own(tmp_path, text)).splitlines()[1:3] == ["name: node-1", f"#{KEYS[0]}"]
    assert boothook(own(tmp_path, "plain $x", "boothook")) == "plain $x"
    assert meta_data_json(own(tmp_path, "{{ common.fqdn }}", "meta_data")) == "node-1.test"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{{ common.hostnme }}", "cannot be rendered"),
        ("a\n{% if %}", r"own\.jinja2:2: .*cannot be rendered"),
        ("{{ ''.__class__.__mro__ }}", "cannot be rendered"),
        ("{{ nothing }}", "cannot be rendered"),
    ],
)
def test_a_template_with_a_mistake_is_an_error_with_its_place(tmp_path, text, message):
    with pytest.raises(GoldsmithError, match=message):
        cloud_config(own(tmp_path, text))


def test_a_template_that_is_not_there_or_too_large_is_an_error(tmp_path, monkeypatch):
    with pytest.raises(GoldsmithError, match="absent"):
        boothook(ConfigDriveData("n", "n", templates=(("boothook", str(tmp_path / "absent")),)))
    monkeypatch.setattr(cloud_texts, "LARGEST_TEMPLATE_BYTES", 3)
    with pytest.raises(GoldsmithError, match="larger than"):
        boothook(own(tmp_path, "12345", "boothook"))


def test_templates_see_fuel_agents_names():
    values = template_values(DATA)
    assert values["common"]["name_servers"] == "10.0.0.1,10.0.0.2"
    assert values["common"]["admin_iface_name"] == "eth0"
    assert values["puppet"] == {"enable": 1, "master": "puppet.test"}
    assert values["user_accounts"][0]["hashed_password"] == "$6$salt$hash"
    assert template_values(ConfigDriveData("n", "n"))["mcollective"] == {}
