#!/bin/sh
# Builds the packages that ours obsolete, in DIR/RPMS/noarch: obsolete.sh DIR
set -eu
for package in lxcfs=6.0.4 lxcfs-tools=0.3 authz=0.1; do
	rpmbuild -bb --quiet --define "_topdir $1" --define "old ${package%=*}" --define "number ${package#*=}" "$(dirname "$0")/obsolete.spec"
done
