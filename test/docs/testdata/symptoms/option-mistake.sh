provoke() {
	local reader
	runc exec web rm -f /dev/shm/enough
	timeout 60 runc exec web sh -c 'until [ -e /dev/shm/enough ]; do cat /proc/meminfo; done' >/dev/null 2>&1 &
	reader=$!
	echo LXCFS_OPTIONS=--disable-swapp >/etc/default/lxcfs
	if systemctl restart lxcfs; then return 1; fi
	systemctl is-failed lxcfs
	timeout 10 runc exec web touch /dev/shm/enough
	wait $reader # nobody waits, neither who has read meanwhile
	timeout 10 runc exec web cat /proc/meminfo
}
seen() { ! runc exec web grep -q ' 262144 kB' /proc/meminfo; }
found() { grep -q 'disable-swapp'; }
after() {
	rm /etc/default/lxcfs
	systemctl restart lxcfs
}
