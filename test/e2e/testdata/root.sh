#!/bin/sh
# Creates a clean root whose /usr is an overlay on this machine's: root.sh ROOT
set -eu
root=$1
mount -t tmpfs -o mode=755 tmpfs "$root"
cd "$root"
mkdir -p usr etc/systemd/system etc/docker var/lib/dpkg/info var/lib/dpkg/updates var/lib/dpkg/triggers var/log run tmp proc sys dev root upper work
touch var/lib/dpkg/status
for link in bin sbin lib lib64; do ln -s usr/$link $link; done
mount -t overlay -o "lowerdir=/usr,upperdir=$root/upper,workdir=$root/work" overlay usr
# Without this machine's lxcfs and files installed by hand.
rm -rf usr/bin/lxcfs usr/lib/systemd/system/lxcfs.service usr/lib/*/lxcfs usr/share/lxcfs usr/share/lxc/config/common.conf.d/00-lxcfs.conf usr/local/*
cp /etc/passwd /etc/group etc/
cp /etc/os-release etc/ 2>/dev/null || echo ID=palisade >etc/os-release
echo 0123456789abcdef0123456789abcdef >etc/machine-id
echo '127.0.0.1 localhost' >etc/hosts
# Units that need a real machine, or would change this machine's kernel.
for unit in dbus.service dbus.socket getty.target systemd-logind.service systemd-user-sessions.service systemd-ask-password-wall.path \
	systemd-ask-password-console.path systemd-initctl.socket systemd-update-utmp.service systemd-update-utmp-runlevel.service \
	cryptsetup.target integritysetup.target veritysetup.target dev-hugepages.mount dev-mqueue.mount kmod-static-nodes.service \
	proc-sys-fs-binfmt_misc.automount sys-kernel-config.mount sys-kernel-debug.mount sys-kernel-tracing.mount systemd-binfmt.service \
	systemd-firstboot.service systemd-machine-id-commit.service systemd-modules-load.service systemd-pcrphase-sysinit.service \
	systemd-pcrphase.service systemd-random-seed.service systemd-repart.service systemd-sysctl.service systemd-sysusers.service \
	systemd-tmpfiles-setup-dev.service systemd-tmpfiles-clean.timer systemd-remount-fs.service systemd-udevd.service \
	systemd-udevd-control.socket systemd-udevd-kernel.socket systemd-udev-trigger.service systemd-journal-flush.service tmp.mount; do
	ln -s /dev/null etc/systemd/system/$unit
done
# Generators would inspect this machine.
mkdir -p etc/systemd/system-generators etc/containerd
for generator in usr/lib/systemd/system-generators/*; do
	ln -s /dev/null etc/systemd/system-generators/"${generator##*/}"
done
# Docker does not need these plugins.
cat >etc/containerd/config.toml <<'END'
version = 2
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.devmapper"]
END
