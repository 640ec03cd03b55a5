bios /dev/nvme0n1 1
bios /dev/sda 1
bios /dev/sdb 1
bios /dev/sdc 1
kernel vmlinuz-6.1 initrd.img-6.1
fstab / ext4 defaults,errors=panic 0 1
fstab /boot ext2 defaults 0 2
fstab /fast ext4 defaults 0 2
fstab /srv xfs defaults 0 0
fstab swap swap sw 0 0
