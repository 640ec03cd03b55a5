"""How far APT and dpkg are, by the lines that mmdebstrap --verbose passes on."""

from goldsmith.packages.apt_progress import AptProgress, AptStage

LINES = """\
I: running apt-get update...
Get:1 http://deb.example.invalid/debian bookworm InRelease [151 kB]
Fetched 9415 kB in 2s (4997 kB/s)
Reading package lists...
I: downloading packages with apt...
0 upgraded, 2 newly installed, 0 to remove and 0 not upgraded.
Need to get 2.8 MB of archives.
After this operation, 139 MB of additional disk space will be used.
Get:1 http://deb.example.invalid/debian bookworm/main amd64 gcc-12-base amd64 12.2.0 [37.6 kB]
Get:2 http://deb.example.invalid/debian bookworm/main amd64 libc6 amd64 2.36-9 [2759 kB]
I: installing essential packages...
Selecting previously unselected package libc6:amd64.
Preparing to unpack .../libc6_2.36-9_amd64.deb ...
Unpacking gcc-12-base:amd64 (12.2.0) ...
Unpacking libc6:amd64 (2.36-9) ...
Setting up gcc-12-base:amd64 (12.2.0) ...
Setting up libc6:amd64 (2.36-9) ...
I: installing remaining packages inside the chroot...
1 upgraded, 0 newly installed, 0 to remove and 0 not upgraded.
Need to get 1,234 B/20.9 MB of archives.
Get:1 copy:/pool ./ one 1.0 [20.0 kB]
Unpacking one (1.0) over (0.9) ...
Setting up one (1.0) ...
Setting up one (1.0) ...
Processing triggers for libc-bin (2.36-9) ..."""


def test_downloads_are_told_in_bytes_and_installs_in_steps():
    progress = AptProgress()
    assert [stage for line in LINES.splitlines() if (stage := progress.read(line))] == [
        AptStage("Downloading", 37_600, 2_800_000, "bytes"),
        AptStage("Downloading", 2_796_600, 2_800_000, "bytes"),
        AptStage("Unpacking gcc-12-base", 1, 4),
        AptStage("Unpacking libc6", 2, 4),
        AptStage("Setting up gcc-12-base", 3, 4),
        AptStage("Setting up libc6", 4, 4),
        # More than the plan said is never more than all.
        AptStage("Downloading", 1_234, 1_234, "bytes"),
        AptStage("Unpacking one", 1, 2),
        AptStage("Setting up one", 2, 2),
        AptStage("Setting up one", 2, 2),
    ]


def test_without_a_plan_nothing_is_known():
    progress = AptProgress()
    assert progress.read("Unpacking x (1) ...") is None
    assert progress.read("Get:1 http://deb.example.invalid x [1 kB]") is None
    assert progress.read("") is None
