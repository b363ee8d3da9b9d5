#!/bin/sh
# Becomes the systemd of a root that root.sh has made: boot.sh ROOT. It wants namespaces for pids, mounts, the network and cgroups.
set -eu
mount --make-rprivate /
cd "$1"
mount -t proc proc proc
mount -t sysfs sysfs sys
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs -o mode=755 tmpfs dev
for node in null zero full random urandom tty fuse; do cp -a /dev/$node dev/; done
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=666 devpts dev/pts
mount -t tmpfs -o mode=1777 tmpfs dev/shm
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
busybox ip link set lo up

# The same hierarchies as outside, each from this process's cgroup on.
mount -t tmpfs -o mode=755 tmpfs sys/fs/cgroup
while IFS=: read -r _ controllers _; do
	case $controllers in
	'') mkdir -p sys/fs/cgroup/unified && mount -t cgroup2 cgroup2 sys/fs/cgroup/unified ;;
	name=*) mkdir "sys/fs/cgroup/${controllers#name=}" && mount -t cgroup -o "none,$controllers" cgroup "sys/fs/cgroup/${controllers#name=}" ;;
	*) mkdir "sys/fs/cgroup/$controllers" && mount -t cgroup -o "$controllers" cgroup "sys/fs/cgroup/$controllers" ;;
	esac
done </proc/self/cgroup
if [ "$(wc -l </proc/self/cgroup)" = 1 ]; then # only v2
	umount sys/fs/cgroup/unified sys/fs/cgroup
	mount -t cgroup2 cgroup2 sys/fs/cgroup
elif [ ! -e sys/fs/cgroup/systemd ]; then
	mkdir sys/fs/cgroup/systemd
	mount -t cgroup -o none,name=systemd cgroup sys/fs/cgroup/systemd
fi
# In a chroot nobody may make a user namespace.
mkdir -p old
pivot_root . old
exec env -i container=other PATH=/usr/sbin:/usr/bin:/sbin:/bin chroot . /bin/sh -c 'umount -l /old && rmdir /old &&
exec /usr/lib/systemd/systemd --system --unit=multi-user.target --log-target=console --show-status=no'
