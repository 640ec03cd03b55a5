# A small Debian that boots by BIOS and by UEFI.
#
#   goldsmith build examples/debian.pkr.hcl

variable "suite" {
  type        = string
  default     = "bookworm"
  description = "The Debian release to install."
}

variable "hostname" {
  type    = string
  default = "golden"

  validation {
    condition     = length(var.hostname) > 0
    error_message = "A machine needs a name."
  }
}

source "image" "debian" {
  bootstrap {
    method   = "apt"
    suite    = var.suite
    packages = ["linux-image-cloud-amd64", "systemd-sysv", "openssh-server"]
  }

  disk {
    label = "gpt"
    size  = "auto"

    partition "bios" {
      type = "bios-boot"
      size = "1MiB"
    }

    partition "esp" {
      type       = "esp"
      size       = "64MiB"
      filesystem = "vfat"
      mount      = "/boot/efi"
    }

    partition "root" {
      type       = "root"
      size       = "100%"
      filesystem = "ext4"
      mount      = "/"
      label      = "root"
    }
  }

  firmware         = ["bios", "uefi"]
  kernel_cmdline   = "console=ttyS0"
  hostname         = var.hostname
  formats          = ["qcow2"]
  output_directory = "output"
  image_name       = "debian"
}

build {
  sources = ["source.image.debian"]

  provisioner "file" {
    source      = "${path.root}/motd"
    destination = "/etc/motd"
  }

  provisioner "shell" {
    inline = [
      "useradd --create-home --shell /bin/bash ops",
      "echo \"built for $(hostname)\" > /etc/issue.net",
    ]
  }

  post-processor "boot-test" {
    expect = "login:"
  }

  post-processor "checksum" {
    checksum_types = ["sha256"]
    output         = "output/debian.sha256"
  }
}
