bios /dev/sda 1
efi /dev/sda 3
kernel vmlinuz-6.1 initrd.img-6.1
fstab / ext4 defaults,errors=panic 0 1
fstab /boot ext2 defaults 0 2
fstab /boot/efi vfat umask=0077 0 2
