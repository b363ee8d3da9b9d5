#!/bin/bash
# Executes /run/session/NUMBER.sh one after the other in this shell, with the output in NUMBER.out,
# until a command fails.
testdata=$(realpath "$(dirname "$0")")
trap 'kill -9 -1 || true' EXIT # all but this process and systemd
set -eE -o pipefail

root_fs() { # DIR...: root file systems of busybox
	local dir
	for dir; do
		mkdir -p "$dir"/{bin,dev,etc,home,proc,root,sbin,sys,tmp,usr/bin,var}
		cp /usr/bin/busybox "$dir/usr/bin"
		busybox --install -s "$dir/bin" # links to /usr/bin/busybox
		ln -s /usr/bin/busybox "$dir/sbin/init"
		printf 'root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/home:/bin/sh\n' >"$dir/etc/passwd"
		printf 'root:x:0:\nuser:x:1000:\n' >"$dir/etc/group"
		printf '::sysinit:/bin/true\n::respawn:/bin/sleep 1000\n' >"$dir/etc/inittab"
	done
}

bundle() { # DIR...: bundles that sleep, with 256 MiB, in a cgroup that systemd leaves alone
	local dir
	for dir; do
		root_fs "$dir/rootfs"
		(cd "$dir" && runc spec)
		jq --arg cgroup "/system.slice/session.service/${dir##*/}" '.process.terminal = false
			| .process.args = ["sleep", "1000"] | .linux.cgroupsPath = $cgroup
			| .linux.resources.memory.limit = 268435456' "$dir/config.json" >new.json
		mv new.json "$dir/config.json"
	done
}

repository() { # as one that has just been fetched
	cd "$testdata/../../.."
	echo 'APT::Get::Assume-Yes "true";' >/etc/apt/apt.conf.d/99yes
}

drop_in() { # UNIT SETTING
	mkdir -p "/etc/systemd/system/$1.d"
	printf '[Unit]\n%s\n' "$2" >"/etc/systemd/system/$1.d/test.conf"
	systemctl daemon-reload
}

with_docker() { # without a bridge, and with the image busybox
	echo 'DOCKER_OPTS="--iptables=false --ip-masq=false --bridge=none --storage-driver=overlay2"' \
		>/etc/default/docker
	drop_in docker.service StartLimitIntervalSec=0
	systemctl start docker
	root_fs image
	tar -C image -c . | docker import - base
	printf 'FROM base\nSTOPSIGNAL KILL\n' | docker build --quiet --tag busybox - # sleep ignores TERM
}

with_podman() { # without a network and systemd's units for containers
	printf '%s\n' '[containers]' 'netns = "none"' 'log_driver = "k8s-file"' \
		'[engine]' 'cgroup_manager = "cgroupfs"' 'events_logger = "file"' >/etc/containers/containers.conf
	printf '%s\n' '[storage]' 'driver = "vfs"' 'runroot = "/run/containers/storage"' \
		'graphroot = "/var/lib/containers/storage"' >/etc/containers/storage.conf
}

with_lxc() { # without a network and AppArmor
	printf 'lxc.%s\n' 'include = /usr/share/lxc/config/common.conf' 'net.0.type = empty' \
		'apparmor.profile = unconfined' >/etc/lxc/default.conf
}

with_distribution_lxcfs() { # Debian's, which serves a container of LXC
	with_lxc
	drop_in lxcfs.service ConditionVirtualization= # systemd takes this machine for a container
	systemctl enable --now lxcfs
	until [ -e /var/lib/lxcfs/proc/meminfo ]; do sleep 0.02; done
	lxc-create --name web --template busybox
	echo 'lxc.cgroup.memory.limit_in_bytes = 256M' >>/var/lib/lxc/web/config
	lxc-start --name web
	lxc-attach --name web -- grep '/proc/meminfo fuse.lxcfs' /proc/mounts
}

with_isulad() {
	install -m 755 "$testdata/isulad.sh" /usr/bin/isulad
	ln -s isulad /usr/bin/isula
	mkdir -p /etc/isulad /etc/default/isulad/hooks
	echo '{"hook-spec": "/etc/default/isulad/hooks/default.json"}' >/etc/isulad/daemon.json
	echo '{"prestart":[],"poststop":[],"poststart":[]}' >/etc/default/isulad/hooks/default.json
	printf '%s\n' '[Service]' Type=oneshot RemainAfterExit=yes ExecStart=/usr/bin/isulad \
		'ExecStopPost=rm -f /run/isulad/daemon.json' >/etc/systemd/system/isulad.service
	drop_in isulad.service StartLimitIntervalSec=0
	systemctl start isulad
}

with_open_isulad() { # with directories that the root of containers can search
	with_isulad
	chmod o+x /var/lib/isulad
	mkdir -p -m 711 /var/lib/isulad/engines/lcr
}

. "$testdata/symptoms.sh"
cd /root
for script in /run/session/*.sh; do
	. "$script" >"${script%.sh}.out" 2>&1 </dev/null
done
