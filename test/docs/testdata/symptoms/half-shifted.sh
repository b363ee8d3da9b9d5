provoke() {
	with_isulad
	chmod o+x /var/lib/isulad
	mkdir -p -m 711 /var/lib/isulad/engines/lcr
	root_fs /home/root-fs
	mkdir /home/root-fs/many
	(cd /home/root-fs/many && seq 30000 | xargs touch)
	for delay in {,,,,}{0.02,0.04,0.06,0.08,0.1,0.12,0.15,0.2,0.25,0.3,0.4,0.5,0.7,1}; do # until it has begun, and not ended
		timeout --signal KILL $delay userns-shift shift --user-remap 100000:100000:65535 /home/root-fs || true
		case $(userns-shift status /home/root-fs) in
		partial*) return 0 ;;
		shifted*) userns-shift unshift /home/root-fs ;;
		esac
	done
	return 1
}
seen() { { isula run --name half --runtime lcr --system-container --user-remap 100000:100000:65535 --external-rootfs /home/root-fs none true 2>&1 || true; } | grep -qi 'permission denied'; }
found() { grep -q '^partial 100000:100000:65535'; }
