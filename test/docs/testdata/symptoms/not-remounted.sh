provoke() {
	bundle /home/web
	runc run --detach --bundle /home/web web
	systemctl start lxcfs # which gives its files to what runs
	lxcfs-toolkit umount --all
}
seen() { ! runc exec web grep -q ' 262144 kB' /proc/meminfo; }
found() { grep -q '^web .* runc .* - *- *$'; }
