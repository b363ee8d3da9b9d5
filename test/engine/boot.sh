set -eu
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
sh -c "$2" sh "$PWD/sys/fs/cgroup"
# The kernel refuses user namespaces in a chroot.
mkdir -p old
pivot_root . old
exec env -i container=other PATH=/usr/sbin:/usr/bin:/sbin:/bin chroot . /bin/sh -c 'umount -l /old && rmdir /old &&
exec /usr/lib/systemd/systemd --system --unit="$0" --log-target=console --show-status=no' "$3"
