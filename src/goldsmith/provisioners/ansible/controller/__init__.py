"""What runs in Ansible's own process, not in goldsmith's: nothing here imports goldsmith."""
