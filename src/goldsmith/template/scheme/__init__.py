"""Our own language for target disks: what a scheme file says, and the scheme that it means."""
