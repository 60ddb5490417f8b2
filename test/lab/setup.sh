#!/bin/sh
# Installs the Debian packages that the tests and the demonstration need and that are missing. Says nothing when there
# is nothing to do. Needs root or sudo for the rest.
export DEBIAN_FRONTEND=noninteractive
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

# One line for each: the program that is looked for, the package that has it.
needed='modprobe kmod
ip iproute2
nft nftables
ipvsadm ipvsadm
nginx nginx-light
keepalived keepalived'
# Without IPVS in this machine's kernel, or without root, the tests run in a virtual machine.
if [ "$(id -u)" != 0 ] || ! { [ -e /proc/net/ip_vs ] || modprobe -q ip_vs 2>/dev/null; }; then
	guest=yes
	needed="$needed
qemu-system-x86_64 qemu-system-x86
busybox busybox-static
xz xz-utils"
fi

# missing prints the packages of the programs that are not there.
missing() {
	echo "$needed" | while read -r program package; do
		command -v "$program" >/dev/null || printf '%s ' "$package"
	done
}

packages=$(missing)
# The virtual machine's kernel is downloaded as an ordinary user, by lists that only root can fetch.
if [ "$guest" ] && ! [ -e "${XDG_CACHE_HOME:-$HOME/.cache}/lvsd/kernel" ] && command -v apt-cache >/dev/null &&
	! apt-cache show linux-image-amd64 >/dev/null 2>&1; then
	update=yes
fi
[ "$packages$update" ] || exit 0

if [ "$(id -u)" = 0 ]; then
	sudo=
elif command -v sudo >/dev/null; then
	sudo=sudo
else
	echo "setup: run as root: apt-get install $packages" >&2
	exit 1
fi
if ! command -v apt-get >/dev/null; then
	echo "setup: no apt-get here; install by hand what has these Debian packages' programs: $packages" >&2
	exit 1
fi

# The daemons among the packages are for the tests' own hosts: this machine must not start them.
policy=/usr/sbin/policy-rc.d
if ! [ -e $policy ]; then
	trap '$sudo rm -f $policy' EXIT
	printf '#!/bin/sh\nexit 101\n' | $sudo tee $policy >/dev/null && $sudo chmod 755 $policy
fi
$sudo apt-get -qq update || echo "setup: apt-get update failed; going on with the lists that are there" >&2
if [ "$packages" ]; then
	echo "setup: installing $packages"
	# One by one if not all at once, so that one that is not to be had does not keep back the others.
	$sudo env DEBIAN_FRONTEND=noninteractive apt-get -qq -y install --no-install-recommends $packages >/dev/null 2>&1 ||
		for package in $packages; do
			$sudo env DEBIAN_FRONTEND=noninteractive apt-get -qq -y install --no-install-recommends "$package" >/dev/null
		done
fi
packages=$(missing)
if [ "$packages" ]; then
	echo "setup: could not install $packages" >&2
	exit 1
fi
