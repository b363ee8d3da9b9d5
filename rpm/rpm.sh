#!/bin/sh
# Builds the rpms from the archive of source.sh: rpm/rpm.sh VERSION DIR. The packages do not depend on the place, time and user of the build.
set -eu
cd "$(dirname "$0")/.."
version=$1
dir=$(cd "$2" && pwd)
: "${SOURCE_DATE_EPOCH:=$(rpm/version.sh --date)}"
export SOURCE_DATE_EPOCH
umask 022

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
sed "s/^Version:.*/Version:        $version/" rpm/palisade.spec >"$work/palisade.spec"
ln -s "$dir/palisade-$version.tar.gz" "$work/"
cd "$work"
# rpm does not know a Go that was installed without it.
nodeps=
rpm -q golang >/dev/null 2>&1 || nodeps=--nodeps
build() {
	# The name of the option for file times differs by version of rpm; the last one is that of 4.20.
	rpmbuild $nodeps --quiet --define '_buildhost palisade' \
		--define 'use_source_date_epoch_as_buildtime 1' --define 'clamp_mtime_to_source_date_epoch 1' \
		--define 'build_mtime_policy clamp_to_source_date_epoch' --define 'source_date_epoch_from_changelog 0' \
		--define '_binary_payload w9.gzdio' --define '_source_payload w9.gzdio' --define "_rpmdir $work/rpms" --define "_srcrpmdir $work/rpms" "$@"
}
build -bb --define "_topdir $work" --define "_sourcedir $work" palisade.spec
# A source package contains the paths of the build: these are the same everywhere.
build -bs --define '_topdir .' --define '_sourcedir .' palisade.spec
find rpms -name '*.rpm' -exec mv {} "$dir" \;
