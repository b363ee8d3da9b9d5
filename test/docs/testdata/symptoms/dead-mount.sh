provoke() {
	systemctl stop lxcfs
	lxcfs-toolkit prestart
	lxcfs --pidfile /run/other.pid /var/lib/lxc/lxcfs &
	lxcfs-toolkit remount --all
	kill -9 $!
	wait $! || true
	for ((i = 0; i < 100; i++)); do ! seen || return 0; sleep 0.05; done
}
seen() { { runc exec web cat /proc/meminfo 2>&1 || true; } | grep -q 'not connected'; }
found() { grep -q 'gone'; }
