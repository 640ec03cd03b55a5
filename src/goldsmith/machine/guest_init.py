"""The guest's own scripts: its init, which runs one step, and what it runs each command with.

They are POSIX sh for dash, and no text of a user ever stands in them: busybox would take its own
`mount` or `mke2fs` for a command of that name before it looks at PATH, so its shell runs nothing
here. `guest_protocol` says what goes over the ports.
"""

from __future__ import annotations

from typing import Final

from goldsmith.machine.guest_protocol import STEP_DIRECTORY

APPLETS: Final = "/usr/lib/goldsmith/applets"
"""Links to busybox, last on PATH: for the programs that no package of the guest brings."""

RUN_COMMAND_PATH: Final = "/usr/lib/goldsmith/run-command"

RUN_COMMAND: Final = """\
#!/usr/bin/dash
# Arguments: variables for the environment, an empty word, the command.
while [ -n "$1" ]; do
    export "$1"
    shift
done
shift
# In a subshell of its own: exec takes programs only, never a builtin of that name.
(exec "$@") </dev/null 3>&- 4>&- 5>&-
echo "$?" >/run/goldsmith/status
"""

INIT: Final = f"""\
#!/usr/bin/dash
# PID 1 of the guest: runs one step and waits for its machine to be switched off.
export PATH=/usr/sbin:/usr/bin:{APPLETS} HOME=/root LC_ALL=C.UTF-8 TERM=dumb
# There is no udev whose rules could be waited for.
export DM_DISABLE_UDEV=1 MDADM_NO_UDEV=1
busybox=/usr/bin/busybox
step=/{STEP_DIRECTORY}
run=/run/goldsmith

die() {{
    echo "goldsmith: the guest $1" >/dev/console
    # QEMU ends instead of restarting the machine.
    "$busybox" reboot -f
}}

# await PATTERN: sets $found to the file once there is one.
await() {{
    tries=0
    while :; do
        for found in $1; do
            [ ! -e "$found" ] || return 0
        done
        tries=$((tries + 1))
        [ "$tries" -lt 500 ] || die "has no $1"
        "$busybox" usleep 10000
    done
}}

prepare_devices() {{
    "$busybox" --install -s {APPLETS}
    "$busybox" mount -t devtmpfs devtmpfs /dev || die "cannot mount /dev"
    "$busybox" mount -t proc proc /proc || die "cannot mount /proc"
    "$busybox" mount -t sysfs sysfs /sys || die "cannot mount /sys"
    mkdir -p /dev/disk /dev/pts /dev/shm
    ln -s /proc/self/fd /dev/fd
    ln -s fd/0 /dev/stdin
    ln -s fd/1 /dev/stdout
    ln -s fd/2 /dev/stderr
    "$busybox" modprobe -a virtio_pci virtio_blk virtio_console || die "cannot load its drivers"
    number=0
    for block in /sys/block/vd?; do
        serial=
        read -r serial <"$block/serial"
        # Names of partitions follow the kernel's name, so that must be what was promised.
        case "$serial" in
        [0-9]*)
            [ "$serial" = "$number" ] || die "found its disks in another order"
            number=$((number + 1))
            ;;
        esac
        ln -s "../${{block##*/}}" "/dev/disk/$serial"
    done
}}

open_ports() {{
    # The first number depends on the order of the machine's devices.
    for number in 1 2 3; do
        await "/dev/vport*p$number"
    done
    port=${{found%3}}
    # A port can be opened once only, and programs open /dev/stderr again: they get a FIFO.
    mkfifo "$run/stdout" "$run/stderr"
    exec 3>"${{port}}1" 4<>"$run/stdout" 5<>"$run/stderr"
    "$busybox" cat <&4 >"${{port}}2" 3>&- 4>&- 5>&- &
    stdout_pid=$!
    "$busybox" cat <&5 >"${{port}}3" 3>&- 4>&- 5>&- &
    stderr_pid=$!
}}

join_network() {{
    "$busybox" modprobe virtio_net || die "cannot load its network driver"
    await /sys/class/net/eth0
    # The addresses of QEMU's user network are always these.
    "$busybox" ip link set lo up &&
        "$busybox" ip link set eth0 up &&
        "$busybox" ip address add 10.0.2.15/24 dev eth0 &&
        "$busybox" ip route add default via 10.0.2.2 || die "has no network"
    echo "nameserver 10.0.2.3" >/etc/resolv.conf
}}

run_commands() {{
    number=0
    while [ -e "$step/argv/$number" ]; do
        echo "begin $number" >&3
        echo 126 >"$run/status"
        "$busybox" xargs -0 -x -n 100000 -s 2000000 {RUN_COMMAND_PATH} \\
            <"$step/argv/$number" >"$run/stdout" 2>"$run/stderr"
        read -r status <"$run/status"
        echo "end $number $status" >&3
        [ "$status" = 0 ] || return
        number=$((number + 1))
    done
}}

write_results() {{
    tar --create --file=/dev/disk/result --directory=/ --dereference --no-recursion \\
        --null --verbatim-files-from --files-from="$step/results" >/dev/console 2>&1
    echo "results $?" >&3
}}

# What a step leaves running, mounted or assembled must not be cut off.
leave_disks_clean() {{
    for process in /proc/[0-9]*; do
        pid=${{process##*/}}
        case " 1 $stdout_pid $stderr_pid " in
        *" $pid "*) ;;
        *) kill -KILL "$pid" 2>/dev/null ;;
        esac
    done
    mounts=
    while read -r _ point kind _; do
        case "$kind $point" in
        "rootfs /" | "devtmpfs /dev" | "proc /proc" | "sysfs /sys") ;;
        *) mounts=yes ;;
        esac
    done </proc/mounts
    "$busybox" swapoff -a
    if [ "$mounts" ]; then
        umount --all --types noproc,nosysfs,nodevtmpfs,norootfs
    fi
    for device in /sys/block/dm-*; do
        if [ -e "$device" ]; then
            dmsetup remove_all
            break
        fi
    done
    for device in /sys/block/md*; do
        if [ -e "$device" ]; then
            mdadm --stop --scan
            break
        fi
    done
    sync
}}

umask 022
mkdir -p "$run"
prepare_devices
"$busybox" tar -x -f /dev/disk/step -C / || die "cannot read its step"
open_ports
cd /root
if [ -e "$step/network" ]; then
    join_network
fi
run_commands
cd /
if [ -e "$step/results" ]; then
    write_results
fi
leave_disks_clean </dev/null >/dev/console 2>&1
read -r marker <"$step/marker"
echo "$marker" >"$run/stdout"
echo "$marker" >"$run/stderr"
echo "done" >&3
while :; do
    "$busybox" sleep 1000
done
"""
