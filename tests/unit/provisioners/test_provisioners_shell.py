"""The options of the `shell` provisioner, and what it says of itself."""

from goldsmith.provisioners.shell import ShellOptions, ShellProvisioner


def test_the_label_is_whole_for_whoever_redacts_it():
    command = "curl --header 'Authorization: Bearer 0123456789abcdef0123456789abcdef' http://h/"
    label = ShellProvisioner(ShellOptions(inline=(f"  {command}\nsecond line",))).label
    assert label == f"Provisioning with shell: {command}"


def test_the_label_names_scripts():
    assert ShellProvisioner(ShellOptions(scripts=("a.sh", "b.sh"))).label == (
        "Provisioning with shell script: a.sh, b.sh"
    )
