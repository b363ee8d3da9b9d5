#!/bin/sh
# Creates the image of a file system with the files of packages in this machine's /usr, and the
# libraries that they need: usr.sh IMAGE PACKAGE... The directories in the variable ADD are copied
# to its share.
set -eu
image=$1
shift
packages="$* bash dash coreutils diffutils findutils grep gzip libc-bin mount procps sed tar util-linux"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# shellcheck disable=SC2086
{
	dpkg -L $packages
	for program in busybox java sar; do # of another package, or a link of update-alternatives
		command -v $program || true
	done
} | sed -n 's,^/\(bin\|sbin\|lib\|lib64\)/,/usr/\1/,; /^\/usr\/\(bin\|sbin\|lib\|lib64\)\//p' | sort -u |
	grep -v -e '/usr/bin/\(ctr\|containerd-stress\|docker-proxy\)$' -e /locale/ | while read -r file; do
	[ -d "$file" ] && [ ! -L "$file" ] || [ ! -e "$file" ] && [ ! -L "$file" ] || echo "$file"
done >"$work/files"
# The libraries by the names by which they are looked up, and the targets of these links.
while read -r file; do
	[ -L "$file" ] || [ ! -x "$file" ] || echo "$file"
done <"$work/files" | xargs ldd 2>/dev/null | sed -n 's,.*=> \(/[^ ]*\) .*,\1,p; s,^\t\(/[^ ]*\) (.*,\1,p' | sort -u | while read -r library; do
	realpath -s "$library"
	realpath "$library"
done | sed 's,^/lib,/usr/lib,' >>"$work/files"
mkdir "$work/usr"
sort -u "$work/files" | sed 's,^/usr/,,' | tar -C /usr -cT - | tar -C "$work/usr" -x
mkdir -p "$work/usr/share"
for dir in ${ADD:-}; do
	cp -r "$dir" "$work/usr/share/"
done
size=$(du -sm "$work/usr" | cut -f1)
rm -f "$image"
mke2fs -q -t ext4 -O ^has_journal -m 0 -d "$work/usr" "$image" "$((size * 5 / 4 + 32))M"
