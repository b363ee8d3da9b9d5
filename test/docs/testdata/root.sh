#!/bin/bash
# Creates a root that is this machine's with the files of LAYER, and is thrown away:
# root.sh ROOT LAYER
set -eu
root=$1 layer=$2
repository=$(realpath "$(dirname "$0")/../../..")
{ read -r cache && read -r modules && read -r go; } < <(go env GOCACHE GOMODCACHE GOROOT)
mount -t tmpfs -o mode=755 tmpfs "$root"
cd "$root"
over() { # DIR: mounts an overlay on it in the root
	local changes=changes${1//\//-}
	mkdir -p "$changes"/{upper,work} "$root$1"
	mount -t overlay -o "lowerdir=$1,upperdir=$changes/upper,workdir=$changes/work" overlay "$root$1"
}
over /
cp -a "$layer/." "$root"
for dir in tmp home var/log var/cache/apt/archives var/lib/{docker,containerd,containers}; do
	mkdir -p "$root/$dir"
	mount -t tmpfs -o mode=755 tmpfs "$root/$dir"
done
chmod 1777 "$root/tmp"
for dir in "$repository" "$cache" "$modules" "$go"; do
	over "$dir" # may be hidden now, or on another file system
done
units=$root/usr/lib/systemd/system
rm -rf "$root"/etc/fstab "$root"/etc/systemd/system/* "$units"/sockets.target.wants/*udev* \
	"$units"/sysinit.target.wants/{proc-,sys-kernel-,systemd-[!j],systemd-journal-flush}*
# The pages restart services often, and Debian's lxcfs does not start in a container.
mkdir "$root/etc/systemd/system/service.d"
printf '%s\n' '[Unit]' StartLimitIntervalSec=0 ConditionVirtualization= \
	>"$root/etc/systemd/system/service.d/test.conf"
[ -e "$root/usr/bin/sudo" ] || install -m 755 <(printf '#!/bin/sh\nexec "$@"\n') "$root/usr/bin/sudo"
# Engines without a network, and without systemd's units for containers and AppArmor.
echo 'DOCKER_OPTS="--iptables=false --ip-masq=false --bridge=none --storage-driver=overlay2"' \
	>"$root/etc/default/docker"
printf '%s\n' '[containers]' 'netns = "none"' 'log_driver = "k8s-file"' '[engine]' \
	'cgroup_manager = "cgroupfs"' 'events_logger = "file"' >"$root/etc/containers/containers.conf"
printf '%s\n' '[storage]' 'driver = "vfs"' 'runroot = "/run/containers/storage"' \
	'graphroot = "/var/lib/containers/storage"' >"$root/etc/containers/storage.conf"
printf 'lxc.%s\n' 'include = /usr/share/lxc/config/common.conf' 'net.0.type = empty' \
	'apparmor.profile = unconfined' >"$root/etc/lxc/default.conf"
ln -s "$repository/test/docs/testdata/session.sh" "$root/session.sh"
echo 'APT::Get::Assume-Yes "true";' >"$root/etc/apt/apt.conf.d/99yes"
echo "export PATH=\$PATH:$go/bin GOPROXY=off GOCACHE=$cache GOMODCACHE=$modules" >"$root/etc/go.sh"
