#!/bin/busybox sh
# The init of the guest. It copies the initramfs to a tmpfs: runtimes need pivot_root, which an
# initramfs does not support.
if [ "$1" != moved ]; then
	/bin/busybox mkdir -p /new
	/bin/busybox mount -t tmpfs -o size=90% tmpfs /new
	for f in /*; do
		[ $f = /new ] || /bin/busybox cp -a $f /new/
	done
	exec /bin/busybox switch_root /new /init moved
fi
/bin/busybox --install -s /bin
export PATH=/bin:/sbin:/usr/bin HOME=/root TERM=dumb PALISADE_LXCFS=/bin/lxcfs PALISADE_TOOLKIT=/bin/lxcfs-toolkit PALISADE_PALISADE=/bin/palisade PALISADE_USERNS_SHIFT=/bin/userns-shift PALISADE_LOAD=/bin/load PALISADE_LOAD32=/bin/load32 PALISADE_EVIL=/bin/evil PALISADE_ENGINES=@ENGINES@ PALISADE_VM=1 CI=true
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /tmp
ln -s /proc/self/fd /dev/fd
@MODULES@
case @MODE@ in
v2)
	mount -t cgroup2 cgroup2 /sys/fs/cgroup
	for c in $(cat /sys/fs/cgroup/cgroup.controllers); do echo +$c >/sys/fs/cgroup/cgroup.subtree_control; done
	;;
*)
	mount -t tmpfs tmpfs /sys/fs/cgroup
	for c in memory cpu,cpuacct cpuset blkio pids devices freezer; do
		mkdir /sys/fs/cgroup/$c
		mount -t cgroup -o $c cgroup /sys/fs/cgroup/$c
	done
	ln -s cpu,cpuacct /sys/fs/cgroup/cpu
	ln -s cpu,cpuacct /sys/fs/cgroup/cpuacct
	mkdir /sys/fs/cgroup/systemd
	mount -t cgroup -o none,name=systemd cgroup /sys/fs/cgroup/systemd
	if [ @MODE@ = hybrid ]; then
		mkdir /sys/fs/cgroup/unified
		mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified
	fi
	;;
esac
# 512 MiB of swap.
if [ -e /sys/block/zram0 ]; then
	echo 512M >/sys/block/zram0/disksize
	mkswap /dev/zram0 >/dev/null && swapon /dev/zram0
fi
hostname guest
@TESTS@
poweroff -f
