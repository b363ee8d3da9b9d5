# Debian's lxcfs runs, also in this world, which systemd takes for a container, and serves a container of LXC.
with_lxc
mkdir -p /etc/systemd/system/lxcfs.service.d
printf '[Unit]\nConditionVirtualization=\n' >/etc/systemd/system/lxcfs.service.d/world.conf
systemctl daemon-reload
systemctl enable --now lxcfs
until [ -e /var/lib/lxcfs/proc/meminfo ]; do sleep 0.02; done
lxc-create --name web --template busybox
echo 'lxc.cgroup.memory.limit_in_bytes = 256M' >>/var/lib/lxc/web/config
lxc-start --name web
lxc-attach --name web -- grep '/proc/meminfo fuse.lxcfs' /proc/mounts
repository
