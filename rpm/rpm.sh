#!/bin/sh
# Builds the source that source.sh has made: rpm/rpm.sh VERSION DIR. Nothing in the packages depends on where, when and by whom.
set -eu
cd "$(dirname "$0")/.."
version=$1
dir=$(cd "$2" && pwd)
: "${SOURCE_DATE_EPOCH:=$(rpm/version.sh --date)}"
export SOURCE_DATE_EPOCH

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# Where Go was not installed as an rpm, rpm knows of none.
nodeps=
rpm -q golang >/dev/null 2>&1 || nodeps=--nodeps
# Each version of rpm has its own name for the times of files; 4.20 has the last of these.
rpmbuild -ba $nodeps --quiet \
	--define "_topdir $work" --define "_sourcedir $dir" --define "_rpmdir $work/rpms" --define "_srcrpmdir $work/rpms" \
	--define "palisade_version $version" --define '_buildhost palisade' --define 'use_source_date_epoch_as_buildtime 1' \
	--define 'clamp_mtime_to_source_date_epoch 1' --define 'build_mtime_policy clamp_to_source_date_epoch' \
	--define 'source_date_epoch_from_changelog 0' --define '_binary_payload w9.gzdio' --define '_source_payload w9.gzdio' rpm/palisade.spec
find "$work/rpms" -name '*.rpm' -exec mv {} "$dir" \;
