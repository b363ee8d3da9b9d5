#!/bin/sh
# Prints the version of the packages, or with --date when it was committed, in seconds: by a tag v1.2.3, and before the first of them
# by the time and the id of the commit.
set -eu
cd "$(dirname "$0")/.."
git() { command git -c safe.directory='*' "$@"; }

if [ "${1:-}" = --date ]; then
	git log -1 --format=%ct
	exit
fi
if tag=$(git describe --tags --match 'v[0-9]*' 2>/dev/null); then
	# v1.2.3 is 1.2.3, four commits later it is 1.2.3^4.gabcdef0 to rpm; dpkg knows no ^.
	echo "${tag#v}" | sed 's/-\([0-9]*\)-g/+\1.g/; s/-/~/g'
else
	TZ=UTC git log -1 --format='0.1~git%cd.%h' --date=format-local:%Y%m%d%H%M%S --abbrev=7
fi
