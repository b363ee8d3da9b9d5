# The symptoms of docs/operations.md, in its order, on one machine. Each function provokes one, and
# defines seen, which succeeds while the symptom is there.

run_symptom() ( # NAME: check and remedy are functions with the commands of the row
	seen() { ! runc exec web grep -q ' 262144 kB' /proc/meminfo; }
	"$1"
	seen
	echo '== check'
	journalctl --sync || true
	check || true
	echo '== remedy'
	remedy
	for ((i = 0; i < 100; i++)); do seen || return 0; sleep 0.1; done
	echo 'the symptom is still there'
	exit 1
)

not-remounted() {
	bundle /home/web
	runc run --detach --bundle /home/web web
	systemctl start lxcfs # which mounts its files in running containers
	lxcfs-toolkit umount --all
}

stopped() {
	systemctl stop lxcfs
}

by_hand() { # starts lxcfs without its unit
	systemctl stop lxcfs
	lxcfs-toolkit prestart
	lxcfs "$@" /var/lib/lxc/lxcfs &
	lxcfs-toolkit remount --all
}

dead-mount() {
	seen() { (runc exec web cat /proc/meminfo 2>&1 || true) | grep -q 'not connected'; }
	by_hand --pidfile /run/other.pid
	kill -9 $!
	wait $! || true
	until seen; do sleep 0.05; done
}

second() {
	seen() { ! systemctl is-active --quiet lxcfs; }
	by_hand
	! systemctl start lxcfs
}

option-mistake() {
	runc exec web rm -f /dev/shm/enough
	timeout 60 runc exec web \
		sh -c 'until [ -e /dev/shm/enough ]; do cat /proc/meminfo; done' >/dev/null 2>&1 &
	echo LXCFS_OPTIONS=--disable-swapp >/etc/default/lxcfs
	! systemctl restart lxcfs
	systemctl is-failed lxcfs
	timeout 10 runc exec web touch /dev/shm/enough
	wait $! # no read hangs
}

shows_host() { # COMMAND...: a command that runs another in a container
	"$@" grep MemTotal /proc/meminfo | grep -v ' 262144 kB'
}

not-wired() {
	seen() { shows_host docker run --rm --memory 256m busybox; }
	with_docker
	echo '{"labels":["rack=7"],"runtimes":{"other":{"path":"/usr/bin/crun"}}}' >/etc/docker/daemon.json
	systemctl restart docker
}

hook-gone() { # after not-wired
	seen() { (docker run --rm busybox true 2>&1 || true) | grep -q 'lxcfs-toolkit.*no such file'; }
	mv /usr/bin/lxcfs-toolkit /usr/bin/gone
}

hooks-dir() { # after hook-gone, whose remedy has kept other keys
	seen() { shows_host podman run --rm --memory 256m --rootfs /home/of-podman; }
	jq --exit-status '.labels == ["rack=7"] and .runtimes == {other: {path: "/usr/bin/crun"}}' \
		/etc/docker/daemon.json
	mv /usr/bin/gone /usr/bin/lxcfs-toolkit
	root_fs /home/of-podman
	mkdir -p /etc/containers/oci/hooks.d /usr/share/containers/oci/hooks.d
	lxcfs-toolkit hook-spec podman >/etc/containers/oci/hooks.d/lxcfs.json
}

no-broker() {
	seen() { ! timeout 3 docker version; } # systemd holds the socket
	systemctl stop authz-broker.socket authz-broker
	echo '{"authorization-plugins":["authz-broker"]}' >/etc/docker/daemon.json
	systemctl restart --no-block docker
	until journalctl --unit docker --lines 50 | grep "plugin.*authz-broker"; do sleep 0.1; done
}

stop_denied() { # USER
	curl --silent --unix-socket /run/docker/plugins/authz-broker.sock \
		http://localhost/AuthZPlugin.AuthZReq --data "{\"User\":\"$1\",\"RequestMethod\":\"POST\",
		\"RequestUri\":\"/v1.41/containers/web/stop\"}" | grep '"Allow":false'
}

denied() {
	seen() { stop_denied bob; }
	echo '{"name":"watchers","users":["bob"],"actions":["container"],"readonly":true}
{"name":"host","local":true,"actions":[""]}' >/var/lib/authz-broker/policy.json
	systemctl reload authz-broker
}

policy-mistake() {
	seen() { stop_denied carol; }
	echo '{"name":"all","users":["carol"],"actions":["*"]}' >>/var/lib/authz-broker/policy.json
}

policy-restart() { # after no-broker
	seen() { ! timeout 3 docker version; }
	echo '{"name":"more","users":["dave"],"actions":["*"]}' >>/var/lib/authz-broker/policy.json
	! systemctl restart authz-broker
}

tcp-only() {
	seen() { lxcfs-toolkit list 2>&1 | grep 'Can not connect'; }
	with_isulad
	root_fs /home/in-files
	isula run -tid --name in-files --external-rootfs /home/in-files none sleep 1000
	jq '.hosts = ["tcp://127.0.0.1:2375"]' /etc/isulad/daemon.json >new.json
	mv new.json /etc/isulad/daemon.json
	systemctl restart isulad
	for command in list 'remount --all' 'remount --container-id in-files' 'top --once'; do
		lxcfs-toolkit $command 2>&1 | grep -Ez 'in-files.*are read|are read.*in-files'
	done
}

start_denied() { # ROOTFS
	(isula run --user-remap 100000:100000:65535 --external-rootfs "$1" none true 2>&1 || true) |
		grep -i 'permission denied'
}

half-shifted() {
	seen() { start_denied /home/root-fs; }
	open_isulad
	root_fs /home/root-fs
	mkdir /home/root-fs/many
	(cd /home/root-fs/many && seq 30000 | xargs touch)
	until [[ $(userns-shift status /home/root-fs) == partial* ]]; do
		userns-shift unshift /home/root-fs || true
		timeout --signal KILL 0.$((RANDOM % 3))$RANDOM userns-shift shift \
			--user-remap 100000:100000:65535 /home/root-fs || true
	done
}

closed-directory() {
	seen() { start_denied /home/closed/root-fs; }
	root_fs /home/closed/root-fs
	chmod 700 /home/closed
	userns-shift shift --user-remap 100000:100000:65535 /home/closed/root-fs
}
