#!/bin/sh
# Process 1 on the host's file system: runs the command with its output going to the host and reports how it ended.
. /run/lvsd-lab/settings
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PATH
hostname lvsd-guest
ip link set lo up
modprobe -a $preload || echo "lab: not every module was loaded"
ulimit -n 65536

# The ports to the host are found by name; they appear a little after the driver.
port() {
	for try in 1 2 3 4 5 6 7 8 9 10; do
		for entry in /sys/class/virtio-ports/*; do
			if read -r name <"$entry/name" && [ "$name" = "$1" ]; then
				echo "/dev/${entry##*/}"
				return
			fi
		done 2>/dev/null
		sleep 0.2
	done
	echo "lab: no port $1" >/dev/console
}
exec 3<>"$(port lvsd-control)" 4>"$(port lvsd-stdout)" 5>"$(port lvsd-stderr)" </dev/null

# "ready" asks the host whether it is ready too; every line says that the guest is alive.
echo ready >&3
read -r answer <&3
while :; do
	sleep 5
	echo alive
done >&3 4>&- 5>&- &

(
	exec >&4 2>&5 3>&- 4>&- 5>&-
	. /run/lvsd-lab/command
)
status=$?
# The host ends the guest when it has the status and has read both outputs to their end mark.
printf '%s' "$mark" >&4
printf '%s' "$mark" >&5
echo "exit $status" >&3
sleep 30
busybox poweroff -f
