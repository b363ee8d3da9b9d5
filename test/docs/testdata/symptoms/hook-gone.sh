provoke() { # Docker has been told by the symptom before
	grep -q lxcfs-toolkit /etc/docker/daemon.json
	mv /usr/bin/lxcfs-toolkit /usr/bin/gone
}
seen() { { docker run --rm busybox true 2>&1 || true; } | grep -q 'lxcfs-toolkit.*no such file'; }
found() { grep -qx lxcfs; }
after() {
	mv /usr/bin/gone /usr/bin/lxcfs-toolkit
	jq --exit-status '.labels == ["rack=7"] and (.runtimes | keys) == ["other"]' /etc/docker/daemon.json
}
