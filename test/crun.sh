#!/usr/bin/env bash
# crun.sh FILE writes a program that executes the newest crun of Debian, that of sid, with the libraries of sid, which are put into
# FILE.sid. apt verifies the packages; this machine's own sources and lists stay as they are.
set -eu
umask 022

file=$(realpath -m "$1")
sid=$file.sid
rm -rf "$sid"
mkdir -p "$sid/lists/partial"
cd "$sid"
echo 'deb [arch=amd64 signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian sid main' >sources
apt() {
	apt-get -qq -o Dir::Etc::SourceList="$sid/sources" -o Dir::Etc::SourceParts=- -o Dir::State::Lists="$sid/lists" \
		-o Dir::Cache::PkgCache= -o Dir::Cache::SrcPkgCache= -o Acquire::Retries=3 -o Acquire::Languages=none \
		-o APT::Update::Error-Mode=any -o APT::Sandbox::User=root "$@"
}
apt update
apt download crun libblake3-0 libc6 libcap2 libgcc-s1 libjson-c5 libseccomp2 libsystemd0 libtbb12 libstdc++6
for package in *.deb; do
	dpkg -x "$package" .
done
rm -r lists -- *.deb
find . -type f ! -path '*/bin/crun' ! -name '*.so*' -delete
find . -type d -empty -delete

libraries=$sid/usr/lib/x86_64-linux-gnu
cat >"$file.new" <<END
#!/bin/sh
exec $libraries/ld-linux-x86-64.so.2 --library-path $libraries $sid/usr/bin/crun "\$@"
END
chmod 755 "$file.new"
"$file.new" --version >/dev/null
mv "$file.new" "$file"
