"""The directory of connection plugins that Ansible is pointed to."""
