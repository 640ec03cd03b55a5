bios /dev/sda 1
bios /dev/sdb 1
kernel vmlinuz-6.1 initrd.img-6.1
fstab / ext4 defaults,errors=panic 0 1
fstab /boot ext2 defaults 0 2
fstab /var/lib/glance xfs defaults 0 0
fstab swap swap sw 0 0
