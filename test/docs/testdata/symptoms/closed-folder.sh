provoke() {
	root_fs /home/closed/root-fs
	chmod 700 /home/closed
	userns-shift shift --user-remap 100000:100000:65535 /home/closed/root-fs
}
seen() { { isula run --name closed --user-remap 100000:100000:65535 --external-rootfs /home/closed/root-fs none true 2>&1 || true; } | grep -qi 'permission denied'; }
found() { grep -q '/home/closed'; }
