"""Image sets onto target disks: partitioning, copying, mounting, boot loader, configuration."""
