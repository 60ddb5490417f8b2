#!/bin/busybox sh
# The first program in the guest: loads what reaches the host's file system, lays a writable layer over it, goes there.
set -e
box=/bin/busybox
stop() { # also when a command fails
	echo "lab: the guest's init stopped: $*"
	$box poweroff -f
}
trap 'stop "status $?"' EXIT

$box mkdir -p /proc /host /layer /root
$box mount -t proc proc /proc
. /settings

for module in $($box cat /modules/order); do
	$box insmod "$module"
done
$box mount -t 9p -o "trans=virtio,version=9p2000.L,msize=512000,cache=loose,ro" host /host
$box mount -t tmpfs -o size=75% layer /layer
$box mkdir /layer/upper /layer/work
$box mount -t overlay -o lowerdir=/host,upperdir=/layer/upper,workdir=/layer/work root /root

$box mkdir -p /root/proc /root/sys /root/dev /root/run /root/tmp
$box mount -t proc proc /root/proc
$box mount -t sysfs sys /root/sys
$box mount -t devtmpfs dev /root/dev
$box mkdir -p /root/dev/pts /root/dev/shm
$box mount -t devpts -o mode=620,ptmxmode=666 pts /root/dev/pts
$box mount -t tmpfs shm /root/dev/shm
$box mount -t tmpfs -o mode=755 run /root/run
# Where test flags leave their files; the host carries them to where they belong.
$box mkdir -p /root/run/lvsd-lab/out /root/run/netns /root/run/lock
$box mount -t 9p -o "trans=virtio,version=9p2000.L,msize=512000,cache=none" out /root/run/lvsd-lab/out

if [ "$modules" != "/lib/modules/$release" ]; then
	$box mkdir -p "/root/lib/modules/$release"
	$box mount --bind "/root$modules" "/root/lib/modules/$release"
fi
$box cp /main /command /settings /root/run/lvsd-lab/
trap - EXIT
exec $box switch_root /root /run/lvsd-lab/main
