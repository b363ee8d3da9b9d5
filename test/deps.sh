#!/usr/bin/env bash
# Installs with apt or dnf what build, demo, tests and benchmark need and the machine lacks.
set -eu

# program:package of Debian:package of Fedora and openEuler
needed='
gcc:gcc libc6-dev:gcc glibc-devel
git:git:git
curl:curl:curl
runc:runc:runc
crun:crun:crun
lxc-start:lxc:lxc
newuidmap:uidmap:shadow-utils
podman:podman:podman
dockerd:docker.io:moby-engine
docker:docker.io:docker-cli
containerd:containerd:containerd
docker-compose:docker-compose:docker-compose
docker-registry:docker-registry:docker-distribution
haproxy:haproxy:haproxy
script:bsdutils:util-linux-script
nsenter:util-linux:util-linux
losetup:mount:util-linux
strace:strace:strace
systemd-analyze:systemd:systemd
ps:procps:procps-ng
jq:jq:jq
openssl:openssl:openssl
ip:iproute2:iproute
cpio:cpio:cpio
xz:xz-utils:xz
insmod:kmod:kmod
mke2fs:e2fsprogs:e2fsprogs
mkfs.xfs:xfsprogs:xfsprogs
mkfs.btrfs:btrfs-progs:btrfs-progs
busybox:busybox-static:busybox
rpmbuild:rpm:rpm-build
rpmlint:rpmlint:rpmlint
dpkg-deb:dpkg:dpkg
zsh:zsh:zsh
bwrap:bubblewrap:bubblewrap
getconf:libc-bin:glibc-common
setpriv:util-linux:util-linux
node:nodejs:nodejs
python3:python3:python3
rsync:rsync:rsync
tmux:tmux:tmux
htop:htop:htop
java:default-jre-headless:java-headless
mpstat:sysstat:sysstat
numactl:numactl:numactl
prometheus:prometheus:golang-github-prometheus
prometheus-node-exporter:prometheus-node-exporter:golang-github-prometheus-node-exporter
qemu-aarch64-static:qemu-user-static:qemu-user-static
qemu-system-x86_64:qemu-system-x86:qemu-system-x86-core
'
missing=
manager=
command -v dnf >/dev/null && manager=dnf
command -v apt-get >/dev/null && manager=apt

while IFS=: read -r program debian fedora; do
	[ -n "$program" ] || continue
	PATH="$PATH:/sbin:/usr/sbin" command -v "$program" >/dev/null && continue
	case $manager in
	apt) missing="$missing $debian" ;;
	dnf) missing="$missing $fedora" ;;
	*) echo "deps: $program is missing, and there is neither apt-get nor dnf to install it" >&2; exit 1 ;;
	esac
done <<<"$needed"

# Libraries have no program.
for module in psutil docker; do
	if [ -n "$manager" ] && ! /usr/bin/python3 -c "import $module" 2>/dev/null; then
		missing="$missing python3-$module"
	fi
done

# Nor has a package of configurations.
if [ -n "$manager" ] && [ ! -e /usr/share/lxc/config/debian.common.conf ]; then
	missing="$missing lxc-templates"
fi

# The rival of the benchmark. Its daemon must not be started (below).
if [ "$manager" = apt ] && [ ! -x /usr/bin/lxcfs ]; then
	missing="$missing lxcfs"
fi

# The gRPC library of iSulad, for a server that behaves like it.
if [ -n "$manager" ] && ! /usr/bin/python3 -c 'import grpc' 2>/dev/null; then
	missing="$missing python3-grpcio"
fi

# runc is built with it.
if [ "$manager" = apt ] && [ ! -e /usr/include/seccomp.h ]; then
	missing="$missing libseccomp-dev"
elif [ "$manager" = dnf ] && [ ! -e /usr/include/seccomp.h ]; then
	missing="$missing libseccomp-devel"
fi

# The kernel of the virtual machine is a package that is downloaded later, which needs the lists.
if [ "$manager" = apt ] && [ -z "$(find /var/lib/apt/lists -maxdepth 1 -name '*_Packages*' -print -quit)" ]; then
	echo "deps: getting the package lists"
	apt-get update
fi
if [ -z "$missing" ]; then
	echo "deps: nothing is missing"
	exit 0
fi
echo "deps: installing$missing"
if [ "$(id -u)" != 0 ]; then
	echo "deps: only root can install packages: run sudo make deps" >&2
	exit 1
fi
if [ "$manager" = dnf ]; then
	# shellcheck disable=SC2086
	dnf install -y $missing
	exit 0
fi
export DEBIAN_FRONTEND=noninteractive
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then # packages must not start services
	printf '#!/bin/sh\nexit 101\n' >$policy
	chmod 755 $policy
	trap 'rm -f $policy' EXIT
fi
# shellcheck disable=SC2086
apt-get install -o Acquire::Retries=3 -y --no-install-recommends $missing || {
	apt-get update # the lists may be too old
	# shellcheck disable=SC2086
	apt-get install -o Acquire::Retries=3 -y --no-install-recommends $missing
}
