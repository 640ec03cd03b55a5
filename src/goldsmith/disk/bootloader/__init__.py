"""Boot loaders: GRUB for BIOS and UEFI, put into an image file without loop or mount."""
