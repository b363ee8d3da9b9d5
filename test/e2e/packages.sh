#!/bin/sh
# Builds the packages of two versions: test/e2e/packages.sh DIR makes debs in DIR/debs/first and
# DIR/debs/later, rpms in DIR/rpms/first and DIR/rpms/later, and the packages that they replace in
# DIR/debs/old and DIR/rpms/old. The programs of the later debs are those of the first with another
# version number.
set -eu
dir=$(mkdir -p "$1" && cd "$1" && pwd)
cd "$(dirname "$0")/../.."
first=0.1~e2e1 later=0.1~e2e2
rm -rf "$dir/debs" "$dir/rpms"
mkdir -p "$dir/debs/first" "$dir/debs/later" "$dir/rpms/first" "$dir/rpms/later" "$dir/rpms/old" "$dir/debs/old"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

rpm/source.sh $first "$work"
rpm/deb.sh $first "$work"
mv "$work"/*.deb "$dir/debs/first"
for deb in "$dir"/debs/first/*.deb; do
	name=$(basename "$deb" | sed "s/$first/$later/")
	rm -rf "$work/root"
	dpkg-deb -R "$deb" "$work/root"
	find "$work/root" -type f -exec env LC_ALL=C sed -i "s/$first/$later/g" {} +
	(cd "$work/root" && find . -path ./DEBIAN -prune -o -type f -printf '%P\n' | LC_ALL=C sort | xargs -d '\n' md5sum >DEBIAN/md5sums)
	dpkg-deb --root-owner-group -Znone --build "$work/root" "$dir/debs/later/$name" >/dev/null
done

rpm/source.sh $later "$work"
for version in first later; do
	eval "number=\$$version"
	rpm/rpm.sh "$number" "$work"
	rm "$work"/*.src.rpm
	mv "$work"/*.rpm "$dir/rpms/$version"
done
sh test/packages/testdata/obsolete.sh "$work"
mv "$work"/RPMS/noarch/*.rpm "$dir/rpms/old"

# Debian's lxcfs, from the files and scripts that are installed here, without dependencies, which
# the machine's dpkg database lacks.
mkdir -p "$work/lxcfs/DEBIAN"
dpkg -L lxcfs | while read -r file; do
	[ -d "$file" ] || [ ! -e "$file" ] || echo "${file#/}"
done | tar -C / -cT - | tar -C "$work/lxcfs" -x
mkdir -p "$work/lxcfs/var/lib/lxcfs"
for file in conffiles preinst postinst postrm; do
	cp -p "/var/lib/dpkg/info/lxcfs.$file" "$work/lxcfs/DEBIAN/$file"
done
dpkg-query --status lxcfs | sed -n '/^\(Package\|Architecture\|Version\|Maintainer\|Description\):/p' >"$work/lxcfs/DEBIAN/control"
dpkg-deb --root-owner-group -Znone --build "$work/lxcfs" "$dir/debs/old" >/dev/null
