#!/bin/sh
# Builds the debs from the archive of source.sh: rpm/deb.sh VERSION DIR. Nothing is downloaded.
set -eu
cd "$(dirname "$0")/.."
version=$1
dir=$(cd "$2" && pwd)
: "${SOURCE_DATE_EPOCH:=$(rpm/version.sh --date)}" "${ARCH:=$(dpkg --print-architecture)}"
export SOURCE_DATE_EPOCH
umask 022

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
tar -C "$work" -xzf "$dir/palisade-$version.tar.gz"
cd "$work/palisade-$version"
GOFLAGS=-mod=vendor GOPROXY=off GOTOOLCHAIN=local make --silent build man VERSION="$version"
for package in lxcfs lxcfs-toolkit tools lxc nri userns-shift authz-broker; do
	name=palisade-$package
	root=$work/$name
	mkdir -p "$root/DEBIAN"
	chmod 755 "$root"
	ZSHDIR=/usr/share/zsh/vendor-completions rpm/install.sh "$package" "$root"
	mkdir -p "$root/usr/share/doc/$name"
	cat LICENSE LICENSE.modules >"$root/usr/share/doc/$name/copyright"
	size=$(du -sk --apparent-size "$root" | cut -f1)
	sed -e "s/@VERSION@/$version/g; s/@ARCH@/$ARCH/; s/@SIZE@/$size/" "rpm/deb/$package.control" >"$root/DEBIAN/control"
	for script in preinst postinst prerm postrm conffiles; do
		[ ! -e "rpm/deb/$package.$script" ] || cp "rpm/deb/$package.$script" "$root/DEBIAN/$script"
	done
	find "$root/DEBIAN" -type f -exec chmod 644 {} +
	for script in preinst postinst prerm postrm; do
		[ ! -e "$root/DEBIAN/$script" ] || chmod 755 "$root/DEBIAN/$script"
	done
	(cd "$root" && find . -path ./DEBIAN -prune -o -type f -printf '%P\n' | LC_ALL=C sort | xargs -d '\n' md5sum >DEBIAN/md5sums)
	arch=$(sed -n 's/^Architecture: //p' "$root/DEBIAN/control")
	dpkg-deb --root-owner-group -Zgzip --build "$root" "$dir/${name}_${version}_$arch.deb" >/dev/null
done
