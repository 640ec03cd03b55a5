bios /dev/cciss/c0d0 1
bios /dev/sdb 1
kernel vmlinuz-2.6.32 initramfs-2.6.32.img
fstab / ext4 defaults,errors=panic 0 1
fstab /boot ext4 defaults 0 2
fstab /srv xfs defaults 0 0
