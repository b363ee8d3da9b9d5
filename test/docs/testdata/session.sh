#!/bin/bash
# Executes its standard input in this shell, until a command fails.
testdata=$(dirname "$(realpath "$0")")
trap 'kill -9 -1 || true' EXIT # all but this process and systemd
set -eE -o pipefail

root_fs() { # DIR...: root file systems of busybox
	for root; do
		mkdir -p "${root%/*}"
		cp -a /rootfs "$root"
	done
}

bundle() { # DIR...: bundles that sleep, with 256 MiB
	for dir; do
		root_fs "$dir/rootfs"
		(cd "$dir" && runc spec)
		jq '.process.terminal = false | .process.args = ["sleep", "1000"]
			| .linux.resources.memory.limit = 268435456' "$dir/config.json" >new.json
		mv new.json "$dir/config.json"
	done
}

with_new_runc() { # with time namespaces, which Debian's lacks
	install "$(go env GOCACHE)/palisade-engines/runtimes/runc" /usr/local/bin
	PATH=/usr/local/bin:$PATH
}

with_docker() { # with the image busybox
	systemctl start docker
	tar -C /rootfs -c . | docker import - base
	printf 'FROM base\nSTOPSIGNAL KILL\n' | docker build --quiet --tag busybox - # sleep ignores TERM
}

with_distribution_lxcfs() { # Debian's, which serves a container of LXC
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
	printf '%s\n' '[Service]' Type=forking KillMode=process ExecStart=/usr/bin/isulad \
		>/etc/systemd/system/isulad.service
	systemctl daemon-reload
	systemctl start isulad
}

with_front() { # what the packages' scripts do, and two users
	systemd-sysusers palisade-authz-broker.conf
	systemd-tmpfiles --create palisade-authz-broker.conf
	useradd --create-home alice
	useradd --create-home bob
}

with_kubernetes_node() { # containerd 2 with an image, and a pod for crictl
	engines=$(go env GOCACHE)/palisade-engines
	install "$engines"/{containerd,containerd-shim-runc-v2,ctr,crictl} /usr/local/bin
	PATH=/usr/local/bin:$PATH
	printf '%s\n' 'runtime-endpoint: unix:///run/containerd/containerd.sock' >/etc/crictl.yaml
	mkdir -p /etc/containerd /etc/systemd/system/containerd.service.d
	printf '%s\n' 'version = 3' '[plugins."io.containerd.cri.v1.images".pinned_images]' \
		'sandbox = "localhost/base:1"' '[plugins."io.containerd.cri.v1.runtime"]' \
		'restrict_oom_score_adj = true' 'disable_apparmor = true' >/etc/containerd/config.toml
	printf '%s\n' '[Service]' 'Environment=PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' ExecStart= \
		'ExecStart=/usr/local/bin/containerd' >/etc/systemd/system/containerd.service.d/version.conf
	systemctl daemon-reload
	systemctl start containerd
	mkdir /home/image
	tar -C /rootfs -cf /home/image/layer.tar .
	digest=$(sha256sum /home/image/layer.tar | cut -d ' ' -f 1)
	jq -n --arg layer "sha256:$digest" --arg arch "$(go env GOARCH)" '{architecture: $arch, os: "linux",
		config: {Cmd: ["sleep", "1000000"], Env: ["PATH=/bin"]},
		rootfs: {type: "layers", diff_ids: [$layer]}}' >/home/image/config.json
	jq -n '[{Config: "config.json", RepoTags: ["localhost/base:1"], Layers: ["layer.tar"]}]' \
		>/home/image/manifest.json
	tar -C /home/image -c . | ctr --namespace k8s.io images import -
	jq -n '{metadata: {name: "web", uid: "web", namespace: "default"}, linux: {
		security_context: {namespace_options: {network: 2, pid: 1}}}}' >/home/pod.json # 2: the node
	jq -n '{metadata: {name: "box"}, image: {image: "localhost/base:1"}, linux: {
		security_context: {namespace_options: {network: 2, pid: 1}},
		resources: {memory_limit_in_bytes: 268435456}}}' >/home/container.json
}

open_isulad() { # opens directories to the root of containers
	mkdir -p /var/lib/isulad/engines/lcr
	chmod o+x /var/lib/isulad{,/engines,/engines/lcr}
}

. /etc/go.sh
. "$testdata/symptoms.sh"
cd "$testdata/../../.."
. /dev/stdin
