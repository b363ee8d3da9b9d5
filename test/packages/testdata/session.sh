#!/bin/bash
# What an operator does, under systemd: install, start, crash, upgrade, restart, stop, remove, while a container reads in a loop.
# In /packages are the debs of two versions, and a bundle for runc; in /packages/bundle/rootfs/tmp the container leaves its notes.
notes=/packages/bundle/rootfs/tmp
failed() { echo "FAILED: $*"; }
must() { "$@" || failed "$*: $?"; }
mustnot() { ! "$@" || failed "$* succeeds"; }
healthy() { # VERSION
	for ((i = 0; i < 100; i++)); do
		if [[ $(lxcfs-toolkit check-lxcfs) == *"version $1"* ]]; then
			return 0
		fi
		sleep 0.1
	done
	return 1
}
reads() { # the container goes on reading, and what it has read is its own
	local before
	before=$(cat $notes/count)
	for ((i = 0; i < 100; i++)); do
		[ ! -e $notes/bad ] || { cat $notes/bad; return 1; }
		[ "$(cat $notes/count)" = "$before" ] || return 0
		sleep 0.1
	done
	return 1
}

must dpkg --log=/dev/null -i /packages/first/*.deb
mustnot systemctl is-active --quiet lxcfs
mustnot systemctl is-enabled --quiet lxcfs
must systemctl enable --quiet --now lxcfs authz-broker
must systemctl is-active --quiet lxcfs
must systemctl is-active --quiet authz-broker
must grep -q ' /var/lib/lxc/lxcfs .*fuse.lxcfs' /proc/1/mountinfo
must healthy FIRST

must runc run --detach --bundle /packages/bundle reader </dev/null >/dev/null 2>&1
must reads
for _ in 1 2; do
	must kill -9 "$(systemctl show --property MainPID --value lxcfs)"
	must healthy FIRST
	must reads
done

before=$(systemctl show --property MainPID --value authz-broker)
must dpkg --log=/dev/null -i /packages/later/*.deb
must healthy LATER
must reads
must systemctl is-active --quiet authz-broker
[ "$before" != "$(systemctl show --property MainPID --value authz-broker)" ] || failed "the broker is the old one"
must systemctl restart lxcfs
must healthy LATER
must reads
touch /upgraded # the broker is asked, from outside
for ((i = 0; i < 200; i++)); do [ -e /asked ] && break; sleep 0.1; done

# What is open when lxcfs is stopped for good cannot be read to its end.
touch $notes/pause
for ((i = 0; i < 100; i++)); do [ -e $notes/paused ] && break; sleep 0.1; done
must [ -e $notes/paused ]
must systemctl stop lxcfs
mustnot grep -q fuse.lxcfs /proc/1/mountinfo
mustnot grep -q fuse.lxcfs "/proc/$(runc list --format json | grep -o '"pid":[0-9]*' | cut -d: -f2)/mountinfo"
must systemctl start lxcfs
must healthy LATER
rm $notes/pause
must reads

echo '{"name":"mine","users":["alice"],"actions":[""]}' >/var/lib/authz-broker/policy.json
must dpkg --log=/dev/null -r palisade-lxcfs palisade-lxcfs-toolkit palisade-userns-shift palisade-authz-broker
mustnot systemctl is-active --quiet lxcfs
mustnot systemctl is-active --quiet authz-broker
mustnot grep -q fuse.lxcfs /proc/1/mountinfo
must grep -q mine /var/lib/authz-broker/policy.json
must runc kill reader KILL
echo DONE
