# What Debian's template busybox needs, without a network and AppArmor.
cat >/etc/lxc/default.conf <<'CONF'
lxc.include = /usr/share/lxc/config/common.conf
lxc.net.0.type = empty
lxc.apparmor.profile = unconfined
CONF
