#!/bin/sh
# Replaces Debian's lxcfs in a root with an overlay of this machine's /usr, and goes back:
# merged.sh ROOT DEBIANS-LXCFS DEBS... Run it in a new mount namespace.
set -eu
root=$1 theirs=$2
shift 2
mount --make-rprivate /
mount -t tmpfs -o mode=755 tmpfs "$root"
cd "$root"
mkdir -p usr etc var/lib/dpkg/info var/lib/dpkg/updates var/lib/dpkg/triggers var/log run tmp proc dev upper work
touch var/lib/dpkg/status
for link in bin sbin lib lib64; do ln -s usr/$link $link; done
mount -t overlay -o "lowerdir=/usr,upperdir=$root/upper,workdir=$root/work" overlay usr
mount -t proc proc proc
mount --rbind /dev dev
cp -r /etc/passwd /etc/group /etc/alternatives etc/
in_root() { dpkg --root="$root" --log=/dev/null "$@" >/dev/null 2>&1 || { echo "dpkg $*: $?"; exit 1; }; }
enabled() { [ "$(chroot . systemctl is-enabled lxcfs)" = enabled ] || { echo "$1, lxcfs.service is not enabled"; exit 1; }; }
# Its libraries and scripts are in /usr.
in_root --force-depends --force-overwrite -i "$theirs"
enabled "with Debian's lxcfs"
in_root -i "$@"
grep -q ExecReload.*lxcfs-toolkit usr/lib/systemd/system/lxcfs.service || { echo "the unit is not ours"; exit 1; }
enabled "in place of Debian's lxcfs"
in_root -P lxcfs
enabled "after the purge of Debian's lxcfs"
[ -d var/lib/lxcfs ] || { echo "after the purge of Debian's lxcfs, /var/lib/lxcfs is gone"; exit 1; }
[ -z "$(chroot . dpkg-divert --list 'lxcfs*')" ] || { echo "a diversion remains"; exit 1; }
chroot . dpkg -V palisade-lxcfs palisade-lxc
in_root -P palisade-lxc palisade-lxcfs
[ ! -e var/lib/lxcfs ] || { echo "/var/lib/lxcfs remains"; exit 1; }
[ ! -e usr/lib/systemd/system/lxcfs.service ] || { echo "the unit remains"; exit 1; }
in_root --unpack "$@" # without configuration
in_root -P palisade-lxc palisade-lxcfs
[ -z "$(chroot . dpkg-divert --list 'lxcfs*')" ] || { echo "a diversion of an unconfigured package remains"; exit 1; }
find etc var/lib/systemd -name '*lxcfs*'
# Back to Debian's.
in_root -i "$@"
in_root -r palisade-lxc palisade-lxcfs
in_root --force-depends -i "$theirs"
chroot . dpkg -V lxcfs
[ -d var/lib/lxcfs ] || { echo "Debian's /var/lib/lxcfs is missing"; exit 1; }
