# What machines of pages have before their first block.

root_fs() { # DIR...: root file systems
	local dir
	for dir; do
		mkdir -p "$dir"
		tar -C "$dir" -xf $session/rootfs.tar
	done
}

bundle() { # DIR...: bundles of containers that sleep, with 256 MiB, below a cgroup that systemd leaves alone
	local dir
	for dir; do
		root_fs "$dir/rootfs"
		(cd "$dir" && runc spec && jq --arg name "${dir##*/}" '.linux.cgroupsPath = "/system.slice/session.service/" + $name | .process.terminal = false | .process.args = ["sleep", "1000"]
			| .linux.resources.memory.limit = 268435456' config.json >new.json && mv new.json config.json)
	done
}

with_docker() { # Docker runs, without a bridge, and has the image busybox
	echo 'DOCKER_OPTS="--iptables=false --ip-masq=false --bridge=none --storage-driver=overlay2"' >/etc/default/docker
	mkdir -p /etc/systemd/system/docker.service.d # it may be restarted as often as the page says
	printf '[Unit]\nStartLimitIntervalSec=0\n' >/etc/systemd/system/docker.service.d/often.conf
	systemctl daemon-reload
	systemctl start docker
	docker import $session/rootfs.tar base >/dev/null
	printf 'FROM base\nSTOPSIGNAL KILL\n' | docker build --quiet --tag busybox - # which a sleep does not outlast for ten seconds
}

with_podman() { # Podman without a network, and without systemd's units for containers
	cat >/etc/containers/containers.conf <<'CONF'
[containers]
netns = "none"
log_driver = "k8s-file"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
CONF
	printf '[storage]\ndriver = "vfs"\nrunroot = "/run/containers/storage"\ngraphroot = "/var/lib/containers/storage"\n' >/etc/containers/storage.conf
}

with_lxc() { # what LXC's template busybox needs, without a network and AppArmor
	cat >/etc/lxc/default.conf <<'CONF'
lxc.include = /usr/share/lxc/config/common.conf
lxc.net.0.type = empty
lxc.apparmor.profile = unconfined
CONF
}

repository() { # the repository, as one that has just been fetched, with what the machine has of Go's modules
	cd "$(cat $session/repository)"
	{ read -r GOCACHE && read -r GOMODCACHE && read -r goroot; } <$session/go
	export GOPROXY=off GOCACHE GOMODCACHE PATH=$PATH:$goroot/bin
	echo 'APT::Get::Assume-Yes "true";' >/etc/apt/apt.conf.d/99yes
}

with_isulad() { # stand-ins of iSulad 2.1.6 run, as its package configures it
	install -m 755 $session/isula $session/isulad /usr/bin
	mkdir -p /etc/isulad /etc/default/isulad/hooks
	cat >/etc/isulad/daemon.json <<'CONF'
{
    "group": "isula",
    "default-runtime": "runc",
    "graph": "/var/lib/isulad",
    "state": "/var/run/isulad",
    "hook-spec": "/etc/default/isulad/hooks/default.json",
    "storage-driver": "overlay2"
}
CONF
	echo '{"prestart":[],"poststop":[],"poststart":[]}' >/etc/default/isulad/hooks/default.json
	echo '{"linux":{"resources":{"devices":[{"allow":false,"type":"c","major":10,"minor":229,"access":"rwm"}]}}}' \
		>/etc/default/isulad/systemcontainer_config.json
	# It may be restarted as often as the page says, the real one three times a minute.
	printf '[Unit]\nStartLimitIntervalSec=0\n[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/usr/bin/isulad\nExecStopPost=rm -f /run/isulad/hosts\n' \
		>/etc/systemd/system/isulad.service
	systemctl daemon-reload
	systemctl start isulad
}
