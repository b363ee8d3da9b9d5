#!/bin/bash
# Becomes the systemd of a machine that is this one with the files of LAYER, and is thrown away. It
# only starts session.sh, with the directory SESSION as /run/session, and ends with its exit code:
# boot.sh SESSION LAYER, in new namespaces for pids, mounts, cgroups and the network.
set -eu
session=$1 layer=$2 base=$1/base
repository=$(realpath "$(dirname "$0")/../../..")
{ read -r cache && read -r modules && read -r go; } < <(go env GOCACHE GOMODCACHE GOROOT)
mount --make-rprivate /
mkdir "$base"
mount -t tmpfs -o mode=755 tmpfs "$base"
cd "$base"
mkdir upper work root
mount -t overlay -o lowerdir=/,upperdir=upper,workdir=work overlay root
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
# They may be hidden now, or on another file system.
for dir in "$repository" "$cache" "$modules" "$go"; do
	changes=$base/changes$dir
	mkdir -p ".$dir" "$changes"/{upper,work}
	mount -t overlay -o "lowerdir=$dir,upperdir=$changes/upper,workdir=$changes/work" overlay ".$dir"
done
mkdir run/session
mount --bind "$session" run/session
sh "$repository/test/engine/cgroups.sh" "$PWD/sys/fs/cgroup"
[ ! -e sys/fs/cgroup/unified ] || umount sys/fs/cgroup/unified # crun refuses both versions

units=usr/lib/systemd/system
rm -rf etc/fstab etc/systemd/system/* $units/sockets.target.wants/*udev* \
	$units/sysinit.target.wants/{proc-,sys-kernel-,systemd-[!j],systemd-journal-flush}*
[ -e usr/bin/sudo ] || install -m 755 <(printf '#!/bin/sh\nexec "$@"\n') usr/bin/sudo
ip link set lo up
cat >etc/systemd/system/session.service <<UNIT
[Unit]
DefaultDependencies=no
SuccessAction=exit-force
FailureAction=exit-force
[Service]
Type=oneshot
ExecStart=/bin/bash $repository/test/docs/testdata/session.sh
Environment=HOME=/root USER=root TERM=dumb LC_ALL=C.UTF-8 PATH=/usr/sbin:/usr/bin:/sbin:/bin:$go/bin
Environment=GOPROXY=off GOCACHE=$cache GOMODCACHE=$modules
StandardOutput=file:/run/session/log
StandardError=inherit
TimeoutStartSec=300
Delegate=yes
UNIT
# No chroot: a process in one cannot make user namespaces.
mkdir run/outside
pivot_root . run/outside
cd /
umount -l run/outside
rmdir run/outside
exec env -i container=other PATH=/usr/sbin:/usr/bin:/sbin:/bin \
	/usr/lib/systemd/systemd --system --unit=session.service --log-target=console --show-status=no
