bios /dev/sda 1
bios /dev/sdb 1
bios /dev/sdc 1
bios /dev/sdd 1
bios /dev/sde 1
bios /dev/sdf 1
kernel vmlinuz-6.1 initrd.img-6.1
fstab / ext4 defaults,errors=panic 0 1
fstab /boot ext2 defaults 0 2
