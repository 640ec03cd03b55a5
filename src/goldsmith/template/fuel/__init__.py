"""What fuel-agent reads: its input for building and for provisioning, its configuration."""
