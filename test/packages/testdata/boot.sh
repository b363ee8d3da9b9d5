#!/bin/sh
# Becomes a systemd in a root of its own, which has this machine's /usr and runs session.sh: boot.sh ROOT TESTDATA. It wants namespaces
# for pids, mounts and cgroups.
set -eu
root=$1
mount --make-rprivate /
mount -t tmpfs -o mode=755 tmpfs "$root"
cd "$root"
mkdir -p usr etc/systemd/system var/lib/dpkg/info var/lib/dpkg/updates var/lib/dpkg/triggers var/log run tmp proc sys dev root upper work packages
touch var/lib/dpkg/status
for link in bin sbin lib lib64; do ln -s usr/$link $link; done
mount -t overlay -o "lowerdir=/usr,upperdir=$root/upper,workdir=$root/work" overlay usr
mount -t proc proc proc
mount -t sysfs sysfs sys
mount --rbind /dev dev
mount -t tmpfs -o mode=755 tmpfs run
mount --rbind "$2" packages

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

cp /etc/passwd /etc/group /etc/os-release etc/
echo 0123456789abcdef0123456789abcdef >etc/machine-id
cat >etc/systemd/system/session.service <<'END'
[Unit]
DefaultDependencies=no
[Service]
Type=oneshot
ExecStart=/bin/bash /packages/session.sh
StandardOutput=file:/out
StandardError=file:/out
TimeoutStartSec=120
END
exec env -i container=other PATH=/usr/sbin:/usr/bin:/sbin:/bin chroot . /usr/lib/systemd/systemd --system --unit=session.service --log-target=console --show-status=no
