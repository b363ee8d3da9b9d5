#!/bin/sh
# Sets up the namespaces of this process as a host, and runs a program in them:
# host.sh DIR MOUNT_CGROUPS PROGRAM ARGUMENT... DIR is a directory for the changes to /usr and /etc.
set -eu
dir=$1 mount_cgroups=$2
shift 2
mount --make-rprivate /
mount -t proc proc /proc
# Mounts of other tests on this machine.
while read -r _ point type _; do
	[ "$type" != fuse.lxcfs ] || umount --lazy "$point"
done </proc/mounts
mount -t tmpfs -o mode=755 tmpfs /run
mkdir /run/lock
mkdir -p /var/lib # a virtual machine has none
mount -t tmpfs -o mode=755 tmpfs /var/lib
mkdir -p "$dir/changes"
mount -t tmpfs -o mode=755 tmpfs "$dir/changes"
for tree in usr etc; do
	changes=$dir/changes/$tree
	mkdir -p "$changes/upper" "$changes/work"
	mount -t overlay -o "lowerdir=/$tree,upperdir=$changes/upper,workdir=$changes/work" overlay "/$tree"
done
# A user, and subordinate ids for the user and root.
echo palisade-lxc:x:4001:4001::/nonexistent:/bin/sh >>/etc/passwd
echo palisade-lxc:x:4001: >>/etc/group
for file in subuid subgid; do
	printf '%s:200000:65536\n' root palisade-lxc >>/etc/$file
done
# Debian's lxcfs, which the tests replace.
mkdir /usr/lib/palisade-lxc-rival
cp -p /usr/bin/lxcfs /usr/lib/palisade-lxc-rival/lxcfs
# The cgroups of LXC's containers and monitors are siblings of this process's.
umount --recursive /sys/fs/cgroup
sh -c "$mount_cgroups" sh /sys/fs/cgroup
if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
	mkdir /sys/fs/cgroup/init.scope
	while read -r pid; do
		[ "$pid" = 0 ] || echo "$pid" >/sys/fs/cgroup/init.scope/cgroup.procs
	done </sys/fs/cgroup/cgroup.procs
	for controller in $(cat /sys/fs/cgroup/cgroup.controllers); do
		echo "+$controller" >/sys/fs/cgroup/cgroup.subtree_control
	done
fi
hostname palisade-lxc
mount --make-rshared /
# Stay: the shell, as init, reaps the orphans of LXC.
"$@"
exit $?
