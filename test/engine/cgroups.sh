set -eu
mount -t tmpfs -o mode=755 tmpfs "$1"
cd "$1"
while IFS=: read -r _ controllers _; do
	case $controllers in
	'') mkdir -p unified && mount -t cgroup2 cgroup2 unified ;;
	name=*) mkdir "${controllers#name=}" && mount -t cgroup -o "none,$controllers" cgroup "${controllers#name=}" ;;
	*) mkdir "$controllers" && mount -t cgroup -o "$controllers" cgroup "$controllers" ;;
	esac
done </proc/self/cgroup
if [ "$(wc -l </proc/self/cgroup)" = 1 ]; then # only v2
	umount unified
	cd /
	umount "$1"
	mount -t cgroup2 cgroup2 "$1"
elif [ ! -e systemd ]; then
	mkdir systemd
	mount -t cgroup -o none,name=systemd cgroup systemd
fi
