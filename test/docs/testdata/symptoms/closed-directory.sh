provoke() {
	with_isulad
	chmod o+x /var/lib/isulad
	mkdir -p -m 711 /var/lib/isulad/engines/lcr
	root_fs /home/closed/root-fs
	chmod 700 /home/closed
	userns-shift shift --user-remap 100000:100000:65535 /home/closed/root-fs
}
seen() { { isula run --name closed --runtime lcr --system-container --user-remap 100000:100000:65535 --external-rootfs /home/closed/root-fs none true 2>&1 || true; } | grep -qi 'permission denied'; }
found() { grep -q '/home/closed'; }
