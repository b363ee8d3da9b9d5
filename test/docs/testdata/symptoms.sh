# The symptoms of docs/operations.md, in its order, on one machine. Each function provokes one, and
# sets: found, what the commands of the column "check" print; seen, which succeeds while the symptom
# is there; after, which checks or removes what is left.

run_symptom() ( # NAME: check and remedy are functions with the commands of the row
	seen() { ! runc exec web grep -q ' 262144 kB' /proc/meminfo; }
	after() { :; }
	"$1"
	seen
	echo '== check'
	journalctl --sync || true
	{ check || true; } 2>&1 | tee check.out
	grep -Pzq "(?m)$found" check.out
	echo '== remedy'
	remedy
	for ((i = 0; i < 100; i++)); do seen || break; sleep 0.1; done
	if seen; then echo 'the symptom is still there' && exit 1; fi
	after
)

not-remounted() {
	found='^web .* runc .* - *- *$'
	bundle /home/web
	runc run --detach --bundle /home/web web
	systemctl start lxcfs # which mounts its files in running containers
	lxcfs-toolkit umount --all
}

stopped() {
	found='not mounted'
	systemctl stop lxcfs
}

dead-mount() {
	found=gone
	seen() { (runc exec web cat /proc/meminfo 2>&1 || true) | grep -q 'not connected'; }
	systemctl stop lxcfs
	lxcfs-toolkit prestart
	lxcfs --pidfile /run/other.pid /var/lib/lxc/lxcfs &
	lxcfs-toolkit remount --all
	kill -9 $!
	wait $! || true
	until seen; do sleep 0.05; done
}

second() {
	found='process [0-9]* holds /run/lxcfs/.*lock already'
	seen() { ! systemctl is-active --quiet lxcfs; }
	systemctl stop lxcfs
	lxcfs-toolkit prestart
	lxcfs /var/lib/lxc/lxcfs &
	lxcfs-toolkit remount --all
	! systemctl start lxcfs
}

option-mistake() {
	found=disable-swapp
	after() {
		rm /etc/default/lxcfs
		systemctl restart lxcfs
	}
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
	found='^runc$'
	seen() { shows_host docker run --rm --memory 256m busybox; }
	with_docker
	echo '{"labels":["rack=7"],"runtimes":{"other":{"path":"/usr/bin/crun"}}}' >/etc/docker/daemon.json
	systemctl restart docker
}

hook-gone() { # after not-wired
	found='^lxcfs$'
	seen() { (docker run --rm busybox true 2>&1 || true) | grep -q 'lxcfs-toolkit.*no such file'; }
	after() { # the remedies keep other keys
		mv /usr/bin/gone /usr/bin/lxcfs-toolkit
		jq --exit-status '.labels == ["rack=7"] and .runtimes == {other: {path: "/usr/bin/crun"}}' \
			/etc/docker/daemon.json
	}
	mv /usr/bin/lxcfs-toolkit /usr/bin/gone
}

hooks-dir() {
	found='^/etc/.*:\nlxcfs.json$'
	seen() { shows_host podman run --rm --memory 256m --rootfs /home/of-podman; }
	with_podman
	root_fs /home/of-podman
	mkdir -p /etc/containers/oci/hooks.d /usr/share/containers/oci/hooks.d
	lxcfs-toolkit hook-spec podman >/etc/containers/oci/hooks.d/lxcfs.json
}

no-broker() {
	found='plugin.*authz-broker'
	seen() { ! timeout 3 docker version; } # systemd holds the socket
	after() {
		rm /etc/docker/daemon.json
		systemctl stop docker.socket docker
	}
	systemctl stop authz-broker.socket authz-broker
	echo '{"authorization-plugins":["authz-broker"]}' >/etc/docker/daemon.json
	systemctl restart --no-block docker
	until journalctl --unit docker --lines 50 | grep "$found"; do sleep 0.1; done
}

ask() { # PATH DATA
	curl --silent --max-time 3 --unix-socket /run/docker/plugins/authz-broker.sock \
		"http://localhost/$1" --data "$2"
}

stop_denied() { # USER
	ask AuthZPlugin.AuthZReq "{\"User\":\"$1\",\"RequestMethod\":\"POST\",
		\"RequestUri\":\"/v1.41/containers/web/stop\"}" | grep '"Allow":false'
}

denied() {
	found='^denied: policy "watchers" is read-only'
	seen() { stop_denied bob; }
	echo '{"name":"watchers","users":["bob"],"actions":["container"],"readonly":true}' \
		>/var/lib/authz-broker/policy.json
	systemctl start authz-broker
	systemctl reload authz-broker
}

policy-mistake() {
	found='policy.json:2.*\*'
	seen() { stop_denied carol; }
	echo '{"name":"all","users":["carol"],"actions":["*"]}' >>/var/lib/authz-broker/policy.json
}

policy-restart() {
	found='policy.json:[0-9]*: .*\*'
	seen() { ! ask Plugin.Activate ''; }
	echo '{"name":"more","users":["dave"],"actions":["*"]}' >>/var/lib/authz-broker/policy.json
	! systemctl restart authz-broker
}

start_denied() { # ROOTFS
	(isula run --user-remap 100000:100000:65535 --external-rootfs "$1" none true 2>&1 || true) |
		grep -i 'permission denied'
}

half-shifted() {
	found='^partial 100000:100000:65535'
	seen() { start_denied /home/root-fs; }
	with_open_isulad
	root_fs /home/root-fs
	mkdir /home/root-fs/many
	(cd /home/root-fs/many && seq 30000 | xargs touch)
	for delay in {,,,,}0.{02,04,06,08,1,15,2,3,5,8}; do
		timeout --signal KILL $delay userns-shift shift --user-remap 100000:100000:65535 \
			/home/root-fs || true
		[[ $(userns-shift status /home/root-fs) != partial* ]] || return 0
		userns-shift unshift /home/root-fs || true
	done
}

closed-directory() {
	found='/home/closed'
	seen() { start_denied /home/closed/root-fs; }
	root_fs /home/closed/root-fs
	chmod 700 /home/closed
	userns-shift shift --user-remap 100000:100000:65535 /home/closed/root-fs
}
