provoke() { systemctl stop lxcfs; }
seen() { ! runc exec web grep -q ' 262144 kB' /proc/meminfo; }
found() { grep -q 'not mounted'; }
