provoke() {
	with_podman
	root_fs /home/of-podman
	mkdir -p /etc/containers/oci/hooks.d /usr/share/containers/oci/hooks.d
	lxcfs-toolkit hook-spec podman >/etc/containers/oci/hooks.d/lxcfs.json
}
seen() { podman run --rm --memory 256m --rootfs /home/of-podman grep MemTotal /proc/meminfo | grep -v ' 262144 kB'; }
found() { grep -A 1 '^/etc' | grep -q lxcfs.json; }
