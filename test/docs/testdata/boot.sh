#!/bin/bash
# Becomes the systemd of a world of its own, which is this machine with the packages' files, and forgets what is written:
# boot.sh BASE LAYER SESSION. It wants namespaces for pids, mounts, cgroups and the network.
set -eu
base=$1 layer=$2 session=$3
mount --make-rprivate /
mount -t tmpfs -o mode=755 tmpfs "$base"
cd "$base"
mkdir upper work root
mount -t overlay -o "lowerdir=/,upperdir=upper,workdir=work" overlay root
cd root
cp -a "$layer/." .
mount -t proc proc proc
mount -t sysfs sysfs sys
mount --rbind /dev dev
for dir in run tmp home var/log var/cache/apt/archives var/lib/{docker,containerd,containers}; do
	mkdir -p "$dir"
	mount -t tmpfs -o mode=755 tmpfs "$dir"
done
chmod 1777 tmp
# What is hidden now, or lies on a file system of its own.
for dir in "$(cat "$session/repository")" $(cat "$session/go"); do
	[ -z "$(ls -A ".$dir" 2>/dev/null)" ] || continue
	mkdir -p ".$dir" "$base/of$dir/upper" "$base/of$dir/work"
	mount -t overlay -o "lowerdir=$dir,upperdir=$base/of$dir/upper,workdir=$base/of$dir/work" overlay ".$dir"
done
mkdir run/session
mount --rbind "$session" run/session

# The same hierarchies as outside, each from this process's cgroup on; of v2 only where there is nothing else, as crun wants it.
mount -t tmpfs -o mode=755 tmpfs sys/fs/cgroup
if [ "$(wc -l </proc/self/cgroup)" = 1 ]; then
	umount sys/fs/cgroup
	mount -t cgroup2 cgroup2 sys/fs/cgroup
else
	while IFS=: read -r _ controllers _; do
		[ -n "$controllers" ] || continue
		mkdir "sys/fs/cgroup/${controllers#name=}"
		case $controllers in
		name=*) mount -t cgroup -o "none,$controllers" cgroup "sys/fs/cgroup/${controllers#name=}" ;;
		*) mount -t cgroup -o "$controllers" cgroup "sys/fs/cgroup/$controllers" ;;
		esac
	done </proc/self/cgroup
	[ -e sys/fs/cgroup/systemd ] || { mkdir sys/fs/cgroup/systemd && mount -t cgroup -o none,name=systemd cgroup sys/fs/cgroup/systemd; }
fi

# Nothing is started but what the page says.
rm -rf etc/systemd/system/*
for unit in systemd-udevd.service systemd-udev-trigger.service systemd-timesyncd.service systemd-tmpfiles-setup.service \
	systemd-tmpfiles-setup-dev.service systemd-sysctl.service systemd-modules-load.service systemd-journal-flush.service \
	systemd-update-utmp.service systemd-random-seed.service systemd-pstore.service systemd-remount-fs.service systemd-binfmt.service \
	proc-sys-fs-binfmt_misc.automount proc-sys-fs-binfmt_misc.mount sys-kernel-debug.mount sys-kernel-tracing.mount apparmor.service \
	networking.service; do
	ln -s /dev/null "etc/systemd/system/$unit"
done
[ -e usr/bin/sudo ] || { printf '#!/bin/sh\nexec "$@"\n' >usr/bin/sudo && chmod 755 usr/bin/sudo; }
ip link set lo up
cat >etc/systemd/system/session.service <<'UNIT'
[Unit]
DefaultDependencies=no
[Service]
Type=oneshot
ExecStart=/bin/bash /run/session/session.sh
StandardOutput=file:/run/session/log
StandardError=inherit
TimeoutStartSec=300
Delegate=yes
UNIT
# Not a chroot, in which nobody may make a user namespace.
mkdir run/outside
pivot_root . run/outside
cd /
umount -l run/outside
rmdir run/outside
exec env -i container=other PATH=/usr/sbin:/usr/bin:/sbin:/bin \
	/usr/lib/systemd/systemd --system --unit=session.service --log-target=console --show-status=no
