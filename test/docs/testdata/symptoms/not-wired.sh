provoke() {
	with_docker
	echo '{"labels":["rack=7"],"runtimes":{"other":{"path":"/usr/bin/crun"}}}' >/etc/docker/daemon.json # which is to stay
	systemctl restart docker
}
seen() { docker run --rm --memory 256m busybox grep MemTotal /proc/meminfo | grep -v ' 262144 kB'; }
found() { grep -qx runc; }
after() { jq --exit-status '.labels == ["rack=7"] and .runtimes.other.path == "/usr/bin/crun"' /etc/docker/daemon.json; }
