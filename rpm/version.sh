#!/bin/sh
# Prints the version of the packages, or with --date the time of the commit, in seconds. The version is that of the tag v1.2.3; without any
# tag it consists of the time and the id of the commit.
set -eu
cd "$(dirname "$0")/.."
git() { command git -c safe.directory='*' "$@"; }

if [ "${1:-}" = --date ]; then
	git log -1 --format=%ct
	exit
fi
dirty=
[ -z "$(git status --porcelain)" ] || dirty=.dirty
if tag=$(git describe --tags --match 'v[0-9]*' 2>/dev/null); then
	# Four commits after v1.2.3 it is 1.2.3+4.gabcdef0.
	echo "${tag#v}" | sed "s/-\([0-9]*\)-g/+\1.g/; s/-/~/g; s/\$/$dirty/"
else
	TZ=UTC git log -1 --format="0.1~git%cd.%h$dirty" --date=format-local:%Y%m%d%H%M%S --abbrev=7
fi
