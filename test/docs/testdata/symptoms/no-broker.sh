provoke() {
	systemctl stop authz-broker.socket authz-broker
	echo '{"authorization-plugins":["authz-broker"]}' >/etc/docker/daemon.json
	systemctl restart --no-block docker
	for ((i = 0; i < 100; i++)); do ! found < <(journalctl --unit docker --lines 50) || return 0; sleep 0.1; done
}
seen() { ! timeout 3 docker version; } # the socket is there, and nobody answers
found() { grep -q 'plugin.*authz-broker'; }
after() {
	rm /etc/docker/daemon.json
	systemctl stop docker.socket docker
}
