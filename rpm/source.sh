#!/usr/bin/env bash
# Makes the source archive of the packages, with the modules in vendor/: rpm/source.sh VERSION DIR. It is reproducible.
set -eu
cd "$(dirname "$0")/.."
umask 022
version=$1
mkdir -p "$2"
dir=$(cd "$2" && pwd)
name=palisade-$version
: "${GO:=go}" "${SOURCE_DATE_EPOCH:=$(rpm/version.sh --date)}"

tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
mkdir "$tree/$name"
# The files of the work tree, committed or not.
git -c safe.directory='*' ls-files -z --cached --others --exclude-standard | while IFS= read -r -d '' file; do
	[ ! -e "$file" ] || printf '%s\0' "$file"
done | tar --null -T - -cf - | tar -C "$tree/$name" -xf -
GOFLAGS= $GO mod vendor -o "$tree/$name/vendor"
(
	# The licenses must be distributed with the programs.
	cd "$tree/$name/vendor"
	find . -type f \( -iname 'LICENSE*' -o -iname 'COPYING*' -o -iname 'NOTICE*' \) | LC_ALL=C sort | while IFS= read -r file; do
		printf '\n===== %s\n\n' "${file#./}"
		cat "$file"
	done >../LICENSE.modules
)
tar -C "$tree" --sort=name --format=gnu --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner --mode=u=rwX,go=rX \
	-cf - "$name" | gzip -n >"$dir/$name.tar.gz"
