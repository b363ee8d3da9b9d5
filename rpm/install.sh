#!/bin/sh
# Installs the files of one package, as they were built, below a root: rpm/install.sh PACKAGE DESTDIR
set -eu
cd "$(dirname "$0")/.."
package=$1 root=$2
: "${UNITDIR:=/usr/lib/systemd/system}" "${ZSHDIR:=/usr/share/zsh/site-functions}"
hooks=usr/share/palisade/hooks

put() { # MODE FILE TARGET
	install -D -m "$1" "$2" "$root/$3"
}
keep() { # MODE FILE TARGET: keeps an existing file
	[ -e "$root/$3" ] || put "$@"
}
alias_of() { # TARGET NAME...: other names of a program, and their man pages
	program=$1
	shift
	for name; do
		ln -sf "$program" "$root/usr/bin/$name"
		ln -sf "$program.8.gz" "$root/usr/share/man/man8/$name.8.gz"
	done
}

program() { # NAME
	put 755 "bin/$1" "usr/bin/$1"
	put 644 "dist/man/$1.8" "usr/share/man/man8/$1.8"
	gzip -n9 -f "$root/usr/share/man/man8/$1.8"
	put 644 "completions/bash/$1" "usr/share/bash-completion/completions/$1"
	put 644 "completions/zsh/_$1" "$ZSHDIR/_$1"
	# Pages link to each other, and each package can be installed alone.
	for page in README.md CHANGELOG.md CONTRIBUTING.md docs/*.md docs/*.svg docs/engines/*.md; do
		put 644 "$page" "usr/share/doc/palisade-$package/$page"
	done
}

case $package in
lxc)
	for hook in lxc.mount.hook lxc.reboot.hook; do
		put 755 "hooks/lxc/$hook" "usr/share/lxcfs/$hook"
	done
	put 755 hooks/lxc/start-host "$hooks/lxc/start-host"
	put 644 hooks/lxc/00-lxcfs.conf usr/share/lxc/config/common.conf.d/00-lxcfs.conf
	put 644 rpm/palisade-lxc.conf "$UNITDIR/lxcfs.service.d/palisade-lxc.conf"
	;;
lxcfs)
	program lxcfs
	put 755 bin/lxcfs-metrics usr/libexec/palisade/lxcfs-metrics
	put 644 rpm/lxcfs.service "$UNITDIR/lxcfs.service"
	put 644 rpm/lxcfs.modules usr/lib/modules-load.d/palisade-lxcfs.conf
	;;
lxcfs-toolkit)
	program lxcfs-toolkit
	alias_of lxcfs-toolkit lxcfs-tools lxcfs-hook lxcfs-runc
	ln -sf lxcfs-toolkit "$root/usr/share/bash-completion/completions/lxcfs-tools"
	for file in hookspec.json containerd/config.toml docker/daemon.json oci/lxcfs.json runc/config.json; do
		put 644 "hooks/$file" "$hooks/$file"
	done
	for engine in isulad lcrd; do
		keep 644 hooks/hookspec.json "var/lib/$engine/hooks/hookspec.json"
		ln -sf /usr/bin/lxcfs-toolkit "$root/var/lib/$engine/hooks/lxcfs-hook"
	done
	;;
nri)
	program palisade-nri
	put 644 rpm/palisade-nri.service "$UNITDIR/palisade-nri.service"
	;;
tools)
	program palisade
	;;
userns-shift)
	program userns-shift
	alias_of userns-shift userns-shift-runc
	for file in hooks/userns/*; do
		put 644 "$file" "$hooks/userns/${file##*/}"
	done
	;;
authz-broker)
	program authz-broker
	put 644 rpm/authz-broker.service "$UNITDIR/authz-broker.service"
	put 644 rpm/authz-broker.socket "$UNITDIR/authz-broker.socket"
	put 644 rpm/authz-front@.service "$UNITDIR/authz-front@.service"
	put 644 rpm/authz-front@.socket "$UNITDIR/authz-front@.socket"
	put 644 rpm/authz-broker.sysusers usr/lib/sysusers.d/palisade-authz-broker.conf
	put 644 rpm/authz-broker.tmpfiles usr/lib/tmpfiles.d/palisade-authz-broker.conf
	mkdir -p "$root/etc/palisade/front"
	ln -sf authz-broker.service "$root$UNITDIR/authz.service"
	keep 600 internal/authz/policy/default.json var/lib/authz-broker/policy.json
	put 644 rpm/policy.README var/lib/authz-broker/README
	chmod 750 "$root/var/lib/authz-broker"
	mkdir -p "$root/usr/lib/isulad"
	ln -sf ../../bin/authz-broker "$root/usr/lib/isulad/authz-broker"
	;;
*)
	echo "install.sh: unknown package $package" >&2
	exit 2
	;;
esac
