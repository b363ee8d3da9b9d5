#!/bin/sh
# Creates a root file system in which systemd runs few units when the host's /usr is mounted:
# root.sh ROOT
set -eu
mkdir -p "$1" && cd "$1"
mkdir -p dev etc/systemd/system proc root run sys tmp usr var/lib/lxc/lxcfs var/lib/lxcfs var/log
for link in bin sbin lib lib64; do ln -s usr/$link $link; done
cp /etc/passwd /etc/group etc/
cp /etc/os-release etc/ 2>/dev/null || echo ID=palisade >etc/os-release
echo 0123456789abcdef0123456789abcdef >etc/machine-id
# The host's /usr has the units of all installed packages.
ln -s /dev/null etc/systemd/system/lxcfs.service
units=/usr/lib/systemd/system
for unit in $units/multi-user.target.wants/* $units/*.wants/systemd-udev* \
	$units/sysinit.target.wants/systemd-sysusers.service; do
	[ ! -e "$unit" ] || ln -sf /dev/null "etc/systemd/system/${unit##*/}"
done
# Generators would inspect the host's devices.
mkdir etc/systemd/system-generators
for generator in /usr/lib/systemd/system-generators/*; do
	ln -s /dev/null "etc/systemd/system-generators/${generator##*/}"
done
