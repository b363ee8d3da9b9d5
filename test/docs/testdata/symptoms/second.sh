provoke() {
	systemctl stop lxcfs
	lxcfs-toolkit prestart
	lxcfs /var/lib/lxc/lxcfs &
	lxcfs-toolkit remount --all
	! systemctl start lxcfs
}
seen() { ! systemctl is-active --quiet lxcfs; }
found() { grep -q 'process [0-9]* holds /run/lxcfs/.*lock already'; }
